"""Segmentation of masks."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from hilum.datasets.preparing import IGNORE
from hilum.learning.tasks.task import Task


class Segment(Task):
    """Targets uint8 (n, h, w): 1 inside, 0 outside, 255 left out. Score: mean Dice over films."""

    def shrunk(self, images: Tensor, targets: Tensor, size: int) -> tuple[Tensor, Tensor]:
        images, _ = super().shrunk(images, targets, size)
        masks = F.interpolate(targets[:, None].float(), (size, size), mode="nearest-exact")[:, 0]
        return images, masks.to(targets.dtype)

    def augment(self, images: Tensor, targets: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        change = self.draw(images, generator)
        return change.images(images), as_target(change.masks(targets))

    def validation_step(self, batch: tuple[Tensor, Tensor], index: int) -> None:
        super().validation_step((batch[0], as_target(batch[1])), index)

    def score(self, logits: Tensor, targets: Tensor) -> float:
        return float(dice(logits, targets).mean())


def as_target(masks: Tensor) -> Tensor:
    """Masks uint8 (n, h, w) of 0, 1 and 255 to float (n, 1, h, w) of 0, 1 and NaN."""
    return torch.where(masks == IGNORE, torch.nan, masks.float())[:, None]


def dice(logits: Tensor, targets: Tensor) -> Tensor:
    """Dice of each film (n,) at probability 0.5, over the pixels that are known."""
    known = ~targets.isnan()
    inside, truth = (logits > 0) & known, (targets > 0.5) & known
    overlap = (inside & truth).sum((1, 2, 3)).float()
    total = inside.sum((1, 2, 3)).float() + truth.sum((1, 2, 3)).float()
    return torch.where(total > 0, 2 * overlap / total.clamp(min=1), torch.ones_like(total))
