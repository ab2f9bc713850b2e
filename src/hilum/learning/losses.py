"""Losses on logits. Unknown labels (NaN) take no part; every function returns a scalar mean over what is known."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

Loss = Callable[[Tensor, Tensor], Tensor]


def binary_cross_entropy(logits: Tensor, targets: Tensor, positive_weight: Tensor | None = None) -> Tensor:
    """BCE over known targets; `targets` in [0, 1] (soft ones allowed) or NaN, any shape equal to `logits`.

    `positive_weight`: (labels,) factor of the positives' term, for targets (n, labels); None: 1.
    """
    values = F.binary_cross_entropy_with_logits(
        logits, targets.nan_to_num(), reduction="none", pos_weight=positive_weight
    )
    return _mean_known(values, targets)


def binary_focal(
    logits: Tensor,
    targets: Tensor,
    alpha: float = 0.25,
    gamma: float = 2.0,
    negatives: Literal["complement", "same"] = "complement",
    positive_weight: Tensor | None = None,
) -> Tensor:
    """Focal loss, Lin 2017 equation 5: `-alpha_t (1 - p_t)^gamma log p_t`.

    `alpha` weighs positives; negatives weigh 1 - alpha (`complement`) or alpha too (`same`). `positive_weight`: (labels,)
    further factor of the positives' term, for targets (n, labels); None: 1.
    """
    known = targets.nan_to_num()
    cross_entropy = F.binary_cross_entropy_with_logits(logits, known, reduction="none")
    p = logits.sigmoid()
    p_t = p * known + (1 - p) * (1 - known)
    positives = alpha if positive_weight is None else alpha * positive_weight
    weight = positives * known + (1 - alpha if negatives == "complement" else alpha) * (1 - known)
    # The power's gradient is infinite at 0 for gamma < 1; a film that is right beyond float32's reach gives none.
    easy = (1 - p_t).clamp(min=torch.finfo(p_t.dtype).eps)
    return _mean_known(weight * easy**gamma * cross_entropy, targets)


def cross_entropy(
    logits: Tensor, classes: Tensor, smoothing: float = 0.0, weights: Tensor | None = None
) -> Tensor:
    """Softmax cross-entropy; `logits` (n, classes), `classes` (n,) of integers, -1 where unknown.

    `weights`: (classes,) of each class's films in the mean; None: all alike.
    """
    if not bool((classes >= 0).any()):
        return logits.sum() * 0
    return F.cross_entropy(logits, classes, weights, ignore_index=-1, label_smoothing=smoothing)


def soft_dice(logits: Tensor, targets: Tensor, smooth: float = 1.0) -> Tensor:
    """1 - Dice on probabilities (Milletari 2016), per image and class, then averaged.

    `logits` and `targets` (n, classes, h, w); pixels whose target is NaN take no part.
    """
    known = (~targets.isnan()).to(logits.dtype)
    p, t = logits.sigmoid() * known, targets.nan_to_num() * known
    overlap = (p * t).sum((-2, -1))
    total = p.sum((-2, -1)) + t.sum((-2, -1))
    return (1 - (2 * overlap + smooth) / (total + smooth)).mean()


def _mean_known(values: Tensor, targets: Tensor) -> Tensor:
    known = ~targets.isnan()
    return torch.where(known, values, 0.0).sum() / known.sum().clamp(min=1)
