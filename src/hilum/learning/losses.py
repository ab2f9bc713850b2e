"""Losses on logits. Unknown labels (NaN) take no part; every function returns a scalar mean over what is known."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor
from torch.nn import functional as F

Loss = Callable[[Tensor, Tensor], Tensor]


def binary_cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """BCE over known targets; `targets` in [0, 1] (soft ones allowed) or NaN, any shape equal to `logits`."""
    return _mean_known(
        F.binary_cross_entropy_with_logits(logits, targets.nan_to_num(), reduction="none"), targets
    )


def binary_focal(
    logits: Tensor,
    targets: Tensor,
    alpha: float = 0.25,
    gamma: float = 2.0,
    negatives: Literal["complement", "same"] = "complement",
) -> Tensor:
    """Focal loss, Lin 2017 equation 5: `-alpha_t (1 - p_t)^gamma log p_t`.

    `alpha` weighs positives; negatives weigh 1 - alpha (`complement`) or alpha too (`same`).
    """
    known = targets.nan_to_num()
    cross_entropy = F.binary_cross_entropy_with_logits(logits, known, reduction="none")
    p = logits.sigmoid()
    p_t = p * known + (1 - p) * (1 - known)
    weight = alpha * known + (1 - alpha if negatives == "complement" else alpha) * (1 - known)
    # The power's gradient is infinite at 0 for gamma < 1; a film that is right beyond float32's reach gives none.
    easy = (1 - p_t).clamp(min=torch.finfo(p_t.dtype).eps)
    return _mean_known(weight * easy**gamma * cross_entropy, targets)


def cross_entropy(logits: Tensor, classes: Tensor, smoothing: float = 0.0) -> Tensor:
    """Softmax cross-entropy; `logits` (n, classes), `classes` (n,) of integers, -1 where unknown."""
    if not bool((classes >= 0).any()):
        return logits.sum() * 0
    return F.cross_entropy(logits, classes, ignore_index=-1, label_smoothing=smoothing)


def soft_dice(logits: Tensor, targets: Tensor, smooth: float = 1.0) -> Tensor:
    """1 - Dice on probabilities (Milletari 2016), per image and class, then averaged.

    `logits` and `targets` (n, classes, h, w); pixels whose target is NaN take no part.
    """
    known = (~targets.isnan()).to(logits.dtype)
    p, t = logits.sigmoid() * known, targets.nan_to_num() * known
    overlap = (p * t).sum((-2, -1))
    total = p.sum((-2, -1)) + t.sum((-2, -1))
    return (1 - (2 * overlap + smooth) / (total + smooth)).mean()


class _Options(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class BinaryCrossEntropy(_Options):
    """For findings that may stand together."""

    kind: Literal["bce"] = "bce"

    def __call__(self, logits: Tensor, targets: Tensor) -> Tensor:
        return binary_cross_entropy(logits, targets)


class Focal(_Options):
    """For rare findings."""

    kind: Literal["focal"] = "focal"
    alpha: float = Field(0.25, ge=0, le=1)
    gamma: float = Field(2.0, ge=0)
    negatives: Literal["complement", "same"] = "complement"

    def __call__(self, logits: Tensor, targets: Tensor) -> Tensor:
        return binary_focal(logits, targets, self.alpha, self.gamma, self.negatives)


class CrossEntropy(_Options):
    """For classes of which exactly one holds."""

    kind: Literal["cross_entropy"] = "cross_entropy"
    smoothing: float = Field(0.0, ge=0, lt=1)

    def __call__(self, logits: Tensor, targets: Tensor) -> Tensor:
        return cross_entropy(logits, targets, self.smoothing)


class Dice(_Options):
    """For masks."""

    kind: Literal["dice"] = "dice"
    smooth: float = Field(1.0, gt=0)

    def __call__(self, logits: Tensor, targets: Tensor) -> Tensor:
        return soft_dice(logits, targets, self.smooth)


class BCEDice(_Options):
    """BCE + Dice, for masks."""

    kind: Literal["bce_dice"] = "bce_dice"
    smooth: float = Field(1.0, gt=0)

    def __call__(self, logits: Tensor, targets: Tensor) -> Tensor:
        return binary_cross_entropy(logits, targets) + soft_dice(logits, targets, self.smooth)


class FocalDice(_Options):
    """Focal + Dice, for masks (Degerli 2021)."""

    kind: Literal["focal_dice"] = "focal_dice"
    alpha: float = Field(0.25, ge=0, le=1)
    gamma: float = Field(2.0, ge=0)
    smooth: float = Field(1.0, gt=0)

    def __call__(self, logits: Tensor, targets: Tensor) -> Tensor:
        return binary_focal(logits, targets, self.alpha, self.gamma) + soft_dice(logits, targets, self.smooth)


AnyLoss = Annotated[
    BinaryCrossEntropy | Focal | CrossEntropy | Dice | BCEDice | FocalDice, Field(discriminator="kind")
]


def _mean_known(values: Tensor, targets: Tensor) -> Tensor:
    known = ~targets.isnan()
    return torch.where(known, values, 0.0).sum() / known.sum().clamp(min=1)
