"""The loss of RT-DETR (Zhao et al. 2024): each true box is learnt by one query, and all others learn that there is nothing.

Which query learns which box is the assignment of least cost over all boxes of a film (Carion 2020, equation 1). The
encoder's proposals and every layer of the decoder are assigned and held to the truth one by one, and their losses added.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor
from torch.nn import functional as F

from hilum.models.contract import Denoised

COST_CLASSES, COST_BOX, COST_GIOU = 2.0, 5.0, 2.0
COST_ALPHA, COST_GAMMA = 0.25, 2.0
"""How much each part counts while boxes are assigned, and the focal loss that classes cost (Zhu 2021)."""


@dataclass(frozen=True)
class SetGains:
    """How much each part counts, and the varifocal loss of classes, as published."""

    classes: float = 1.0
    box: float = 5.0
    giou: float = 2.0
    alpha: float = 0.75
    gamma: float = 2.0


@dataclass(frozen=True)
class Pairs:
    """Who learns what: the numbers (m,) of films, of their queries, and of rows of the truth."""

    film: Tensor
    query: Tensor
    row: Tensor


def set_loss(
    maps: Sequence[Tensor],
    truth: Tensor,
    size: tuple[int, int],
    gains: SetGains,
    denoised: Denoised | None = None,
) -> tuple[Tensor, dict[str, Tensor]]:
    """The loss of a batch, a mean over its true boxes, and its parts (classes, box, giou), each a scalar.

    Parameters
    ----------
    maps: each (n, queries, 4 + classes): centre x, y, width, height in input pixels, then logits, as `RTDETR` gives.
    truth: (m, 6) image number, class, then centre x, y, width and height in input pixels. Images without one are negatives.
    size: (height, width) in pixels, by which boxes are made shares of their image.
    denoised: the same of true boxes with noise on them, who learn the boxes that they were made of.
    """
    height, width = size
    scale = truth.new_tensor((width, height) * 2)
    wanted = torch.cat((truth[:, :2], truth[:, 2:] / scale), 1)
    boxes = max(len(truth), 1)
    parts = [
        _parts(shares, wanted, matched(shares, wanted), gains) / boxes
        for shares in (_in_shares(each, scale) for each in maps)
    ]
    if denoised is not None:
        pairs = Pairs(denoised.film, denoised.query, denoised.row)
        parts += [
            _parts(_in_shares(each, scale), wanted, pairs, gains) / (boxes * denoised.groups)
            for each in denoised.maps
        ]
    summed = torch.stack(parts).sum(0) * truth.new_tensor((gains.classes, gains.box, gains.giou))
    return summed.sum(), dict(zip(("classes", "box", "giou"), summed, strict=True))


@torch.no_grad()
def matched(values: Tensor, truth: Tensor) -> Pairs:
    """The assignment of least cost (Hungarian method), film by film; boxes beyond the number of queries go without.

    `values` (n, queries, 4 + classes) and `truth` (m, 6) with boxes in shares of the image.
    """
    kinds = truth[:, 1].long()
    p = values[..., 4:].sigmoid()[..., kinds]
    absent = (1 - COST_ALPHA) * p**COST_GAMMA * -(1 - p + 1e-8).log()
    present = COST_ALPHA * (1 - p) ** COST_GAMMA * -(p + 1e-8).log()
    boxes, true = values[..., None, :4], truth[:, 2:]
    cost = COST_CLASSES * (present - absent) + COST_BOX * (boxes - true).abs().sum(-1)
    cost = cost - COST_GIOU * overlaps(boxes, true)[1]
    # A box that is no number is matched last; the run is ended by its loss, which says so.
    costs = torch.nan_to_num(cost, nan=1e6, posinf=1e6, neginf=1e6).cpu().numpy()
    films = truth[:, 0].long().cpu()
    found = []
    for film in range(len(values)):
        rows = torch.nonzero(films == film)[:, 0]
        query, column = linear_sum_assignment(costs[film][:, rows.numpy()])
        found.append(torch.stack((torch.full((len(query),), film), torch.tensor(query), rows[column])))
    return Pairs(*torch.cat(found, 1).to(values.device))


def overlaps(one: Tensor, other: Tensor, tiny: float = 1e-12) -> tuple[Tensor, Tensor]:
    """IoU, 0 to 1, and generalised IoU, -1 to 1, of boxes (..., 4) given by centre and size; broadcast.

    The latter (Rezatofighi 2019, algorithm 1) is IoU, less the share of the box around both that neither covers.
    """
    low, high = one[..., :2] - one[..., 2:] / 2, one[..., :2] + one[..., 2:] / 2
    other_low, other_high = other[..., :2] - other[..., 2:] / 2, other[..., :2] + other[..., 2:] / 2
    shared = (torch.minimum(high, other_high) - torch.maximum(low, other_low)).clamp(0).prod(-1)
    joined = (one[..., 2:].prod(-1) + other[..., 2:].prod(-1) - shared).clamp(tiny)
    around = (torch.maximum(high, other_high) - torch.minimum(low, other_low)).prod(-1).clamp(tiny)
    iou = shared / joined
    return iou, iou - (around - joined) / around


def _in_shares(values: Tensor, scale: Tensor) -> Tensor:
    return torch.cat((values[..., :4] / scale, values[..., 4:]), -1)


def _parts(values: Tensor, truth: Tensor, pairs: Pairs, gains: SetGains) -> Tensor:
    """Sums of the varifocal loss of classes (Zhang 2021, equation 2), of the L1 loss and of 1 - GIoU of boxes: (3,)."""
    boxes, true = values[pairs.film, pairs.query, :4], truth[pairs.row, 2:]
    iou, giou = overlaps(boxes, true)
    logits = values[..., 4:]
    quality, present = torch.zeros_like(logits), torch.zeros_like(logits)
    place = (pairs.film, pairs.query, truth[pairs.row, 1].long())
    present[place] = 1
    quality[place] = iou.detach().to(quality.dtype)
    weight = gains.alpha * logits.detach().sigmoid() ** gains.gamma * (1 - present) + quality
    classes = F.binary_cross_entropy_with_logits(logits, quality, weight, reduction="sum")
    return torch.stack((classes, (boxes - true).abs().sum(), (1 - giou).sum()))
