"""Classification: findings that may stand together, or classes of which one holds."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from hilum.evaluation.ranking import auc
from hilum.learning.tasks.task import Task


class MultiLabel(Task):
    """Targets (n, labels) float in [0, 1], NaN where unknown. Score: mean AUC over the labels that are not auxiliary."""

    scores_training = True

    def augment(self, images: Tensor, targets: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        images = self.draw(images, generator).images(images)
        return mixed(images, targets, self.phase.mixup, generator)

    def known(self, targets: Tensor) -> Tensor:
        return (~targets.isnan()).sum().float()

    def score(self, logits: Tensor, targets: Tensor) -> float:
        keep = self.kept_outputs or targets.shape[1]
        truth, scores = targets[:, :keep], logits[:, :keep]
        return _mean_auc((truth > 0.5).float().where(~truth.isnan(), torch.nan), scores)


class MultiClass(Task):
    """Targets (n,) class numbers, -1 where unknown. Score: mean one-against-rest AUC."""

    scores_training = True

    def augment(self, images: Tensor, targets: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        return self.draw(images, generator).images(images), targets

    def known(self, targets: Tensor) -> Tensor:
        held = targets[targets >= 0]
        weights = getattr(self.loss, "class_weights", "none")
        if weights == "none":
            return held.new_tensor(len(held), dtype=torch.float32)
        return torch.as_tensor(weights, dtype=torch.float32, device=targets.device)[held].sum()

    def score(self, logits: Tensor, targets: Tensor) -> float:
        known = targets >= 0
        truth = F.one_hot(targets[known], logits.shape[1]).float()
        return _mean_auc(truth, logits[known].softmax(1))


def mixed(images: Tensor, targets: Tensor, alpha: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Mixup (Zhang 2018): each image with another of the batch, one share for all, from Beta(alpha, alpha)."""
    if not alpha:
        return images, targets
    seed = int(torch.randint(2**31, (1,), generator=generator))
    share = float(np.random.default_rng(seed).beta(alpha, alpha))
    other = torch.randperm(len(images), generator=generator).to(images.device)
    return share * images + (1 - share) * images[other], share * targets + (1 - share) * targets[other]


def _mean_auc(truth: Tensor, scores: Tensor) -> float:
    """Over the labels with films of both kinds; NaN where there is none, which `material.gather` refuses of validation."""
    areas = auc(truth.double().numpy(), scores.double().numpy())
    return float(np.nanmean(areas)) if not np.isnan(areas).all() else float("nan")
