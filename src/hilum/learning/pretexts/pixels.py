"""Masked pixels by regression: a masked autoencoder (He 2022)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from hilum.learning.pretexts import masking
from hilum.learning.pretexts.grid_head import GridHead
from hilum.learning.pretexts.options import PretextLoss
from hilum.learning.pretexts.pretext import Encoded, Pretext, Question, Surroundings, Views

SHOWN = "view with most patches masked"
LEAST_VARIANCE = 1e-6


class Pixels(Pretext):
    """Most patches of the first view are masked, and the head gives their pixels, each patch standardised by itself.

    Unlike He's, the encoder sees the masks, as a grey like the rest of the film's: so one way serves transformers and
    convolutional networks.
    """

    def __init__(self, loss: PretextLoss, around: Surroundings) -> None:
        super().__init__(loss, around)
        self.side, self.share = loss.patch, loss.pixels_masked
        grid = (around.size[0] // self.side, around.size[1] // self.side)
        self.head = GridHead(around, grid, self.side**2)

    def ask(self, views: Views) -> Question:
        patches = masking.to_patches(views.first, self.side)
        mask = masking.drawn(len(patches), patches.shape[1], self.share, views.generator).to(patches.device)
        shown = masking.covered(views.first, mask, self.side)
        return Question({SHOWN: shown}, (mask, normalised_patches(patches)))

    def answer(self, seen: Mapping[str, Encoded]) -> Tensor:
        found: Tensor = self.head(seen[SHOWN].map)
        return found.flatten(2).transpose(1, 2)

    def loss(self, answer: Tensor, right: Any) -> Tensor:
        return masked_squares(answer, right[1], right[0])


def normalised_patches(patches: Tensor) -> Tensor:
    """Patches (n, k, pixels), each less its mean and over its standard deviation (He 2022, section 3)."""
    mean = patches.mean(-1, keepdim=True)
    variance = patches.var(-1, keepdim=True)
    return (patches - mean) / (variance + LEAST_VARIANCE).sqrt()


def masked_squares(found: Tensor, patches: Tensor, mask: Tensor) -> Tensor:
    """Mean squared error over the pixels of the masked patches.

    found, patches (n, k, pixels), mask (n, k) bool.
    """
    return ((found - patches) ** 2).mean(-1)[mask].mean()
