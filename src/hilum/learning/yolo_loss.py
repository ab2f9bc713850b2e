"""The loss of YOLOv5 (release 6): complete IoU of boxes, objectness balanced over strides, classes each against the rest.

A true box is learnt by every anchor that it is less than `reach` times larger or smaller than, at the cell that holds its
centre and at the two nearest neighbours of that cell. Objectness is learnt in every cell: the IoU reached where a box is
learnt, 0 elsewhere.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

BALANCE = (4.0, 1.0, 0.4)
"""How much the objectness of each stride counts: finer maps have more cells, nearly all of them empty."""


@dataclass(frozen=True)
class Gains:
    """How much each part counts, as published for 80 classes and images of 640 pixels; `scaled` fits them to others."""

    box: float = 0.05
    objectness: float = 1.0
    classes: float = 0.5
    reach: float = 4.0
    smoothing: float = 0.0

    def scaled(self, classes: int, pixels: int) -> Gains:
        """For so many classes and input pixels a side."""
        return Gains(
            self.box,
            self.objectness * (pixels / 640) ** 2,
            self.classes * classes / 80,
            self.reach,
            self.smoothing,
        )


@dataclass(frozen=True)
class Assigned:
    """Boxes that one map learns.

    `image`, `anchor`, `row`, `column` (m,): where. `classes` (m,). `box` (m, 4): centre and size, in cells from the cell's
    corner. `size` (m, 2): of the anchor, in cells.
    """

    image: Tensor
    anchor: Tensor
    row: Tensor
    column: Tensor
    classes: Tensor
    box: Tensor
    size: Tensor


def yolo_loss(
    maps: Sequence[Tensor], truth: Tensor, anchors: Tensor, strides: Sequence[int], gains: Gains
) -> tuple[Tensor, dict[str, Tensor]]:
    """The loss of a batch, summed over its images, and its parts (box, objectness, classes), each a scalar.

    Parameters
    ----------
    maps: a stride each (n, anchors, h, w, 5 + classes) of logits, as `YOLOv5` gives.
    truth: (m, 6) image number, class, then centre x, y, width and height in input pixels. Images without one are negatives.
    anchors: (strides, anchors, 2) in cells, as `Detect` holds them.
    """
    zero = maps[0].new_zeros(())
    box, objectness, classes = zero, zero, zero
    for values, sizes, stride, weight in zip(maps, anchors, strides, BALANCE, strict=True):
        wanted = torch.zeros_like(values[..., 4])
        learnt = assign(truth, sizes, stride, values.shape, gains.reach)
        if len(learnt.image):
            found = values[learnt.image, learnt.anchor, learnt.row, learnt.column]
            p = found[:, :4].sigmoid()
            predicted = torch.cat((2 * p[:, :2] - 0.5, (2 * p[:, 2:]) ** 2 * learnt.size), 1)
            overlap = complete_iou(predicted, learnt.box)
            box = box + (1 - overlap).mean()
            wanted[learnt.image, learnt.anchor, learnt.row, learnt.column] = (
                overlap.detach().clamp(0).to(wanted.dtype)
            )
            number = found.shape[1] - 5
            if number > 1:
                targets = torch.full_like(found[:, 5:], gains.smoothing / 2)
                targets[torch.arange(len(found)), learnt.classes] = 1 - gains.smoothing / 2
                classes = classes + F.binary_cross_entropy_with_logits(found[:, 5:], targets)
        objectness = objectness + weight * F.binary_cross_entropy_with_logits(values[..., 4], wanted)
    parts = {
        "box": gains.box * box,
        "objectness": gains.objectness * objectness,
        "classes": gains.classes * classes,
    }
    return maps[0].shape[0] * sum(parts.values(), zero), parts


def assign(truth: Tensor, sizes: Tensor, stride: int, shape: Sequence[int], reach: float) -> Assigned:
    """Which cells and anchors of a map of `shape` (n, anchors, h, w, ...) learn which boxes.

    `truth` as in `yolo_loss`; `sizes` (anchors, 2) of the anchors, in cells.
    """
    height, width = shape[2], shape[3]
    cells = truth.clone()
    cells[:, 2:] /= stride
    ratio = cells[None, :, 4:6] / sizes[:, None]
    anchor, row = (torch.maximum(ratio, 1 / ratio).amax(2) < reach).nonzero(as_tuple=True)
    chosen = cells[row]
    centre = chosen[:, 2:4]
    back = centre.new_tensor((width, height)) - centre
    before = (centre % 1 < 0.5) & (centre > 1)
    after = (back % 1 < 0.5) & (back > 1)
    itself = torch.ones_like(before[:, :1])
    which = torch.cat((itself, before, after), 1).T  # its own cell; left, above; right, below
    steps = centre.new_tensor(((0, 0), (0.5, 0), (0, 0.5), (-0.5, 0), (0, -0.5)))
    kind, index = which.nonzero(as_tuple=True)
    corner = (centre[index] - steps[kind]).long()
    x, y = corner[:, 0].clamp(0, width - 1), corner[:, 1].clamp(0, height - 1)
    box = torch.cat((centre[index] - torch.stack((x, y), 1), chosen[index, 4:6]), 1)
    return Assigned(
        chosen[index, 0].long(), anchor[index], y, x, chosen[index, 1].long(), box, sizes[anchor[index]]
    )


def complete_iou(one: Tensor, other: Tensor, tiny: float = 1e-7) -> Tensor:
    """Complete IoU (Zheng 2020, equation 10) of boxes (m, 4) given by centre and size, pair by pair: (m,), at most 1.

    IoU, less the distance of centres over the diagonal of the box around both, less how unlike their shapes are.
    """
    low, high = one[:, :2] - one[:, 2:] / 2, one[:, :2] + one[:, 2:] / 2
    other_low, other_high = other[:, :2] - other[:, 2:] / 2, other[:, :2] + other[:, 2:] / 2
    shared = (torch.minimum(high, other_high) - torch.maximum(low, other_low)).clamp(0).prod(1)
    # A height of 0 would make the shape's angle undefined.
    w, h, other_w, other_h = one[:, 2], one[:, 3] + tiny, other[:, 2], other[:, 3] + tiny
    joined = w * h + other_w * other_h - shared + tiny
    iou = shared / joined
    around = torch.maximum(high, other_high) - torch.minimum(low, other_low)
    diagonal = (around**2).sum(1) + tiny
    apart = ((one[:, :2] - other[:, :2]) ** 2).sum(1)
    unlike = (4 / math.pi**2) * (torch.atan(other_w / other_h) - torch.atan(w / h)) ** 2
    with torch.no_grad():
        share = unlike / (unlike - iou + (1 + tiny))
    return iou - apart / diagonal - unlike * share
