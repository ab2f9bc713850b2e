"""Masked patches by cross-entropy: which word of a vocabulary stands behind each mask (after Bao 2022)?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from hilum.learning.pretexts import masking
from hilum.learning.pretexts.codebook import standardised, words
from hilum.learning.pretexts.grid_head import GridHead
from hilum.learning.pretexts.options import PretextLoss
from hilum.learning.pretexts.pretext import Encoded, Pretext, Question, Surroundings, Views

SHOWN = "view with a few patches masked"


class Patches(Pretext):
    """A share of the patches of the first view is masked, and the head names the words there.

    Attributes
    ----------
    codebook: (words, side * side), the vocabulary, set before training begins (see `codebook`).
    """

    codebook: Tensor

    def __init__(self, loss: PretextLoss, around: Surroundings) -> None:
        super().__init__(loss, around)
        self.side, self.share = loss.patch, loss.masked
        grid = (around.size[0] // self.side, around.size[1] // self.side)
        self.head = GridHead(around, grid, loss.vocabulary)
        self.register_buffer("codebook", torch.zeros(loss.vocabulary, self.side**2))

    def ask(self, views: Views) -> Question:
        patches = masking.to_patches(standardised(views.first), self.side)
        right = words(patches, self.codebook)
        mask = masking.drawn(len(patches), patches.shape[1], self.share, views.generator).to(patches.device)
        return Question({SHOWN: masking.covered(views.first, mask, self.side)}, (mask, right))

    def answer(self, seen: Mapping[str, Encoded]) -> Tensor:
        found: Tensor = self.head(seen[SHOWN].map)
        return found.flatten(2).transpose(1, 2)

    def loss(self, answer: Tensor, right: Any) -> Tensor:
        return masked_cross_entropy(answer, right[1], right[0])


def masked_cross_entropy(logits: Tensor, words: Tensor, mask: Tensor) -> Tensor:
    """Mean of `-log softmax(logits)[word]` over the masked patches.

    logits (n, k, words), words (n, k) integers, mask (n, k) bool.
    """
    return F.cross_entropy(logits[mask], words[mask])
