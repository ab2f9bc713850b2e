"""Triplets: a Siamese network whose two views of a film lie closer to one another than to other films' (Schroff 2015)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hilum.learning.pretexts.options import PretextLoss
from hilum.learning.pretexts.pretext import FIRST, SECOND, Encoded, Pretext, Question, Surroundings, Views


class Triplet(Pretext):
    """Both views' embeddings through one linear layer, the same for both."""

    pairs = True

    def __init__(self, loss: PretextLoss, around: Surroundings) -> None:
        super().__init__(loss, around)
        self.margin = loss.margin
        self.head = nn.Linear(around.features, loss.projection)

    def ask(self, views: Views) -> Question:
        return Question({FIRST: views.first, SECOND: views.second})

    def answer(self, seen: Mapping[str, Encoded]) -> Tensor:
        return torch.stack([self.head(seen[name].embedding) for name in (FIRST, SECOND)])

    def loss(self, answer: Tensor, right: Any) -> Tensor:
        return triplet_margin(answer[0], answer[1], self.margin)


def triplet_margin(first: Tensor, second: Tensor, margin: float) -> Tensor:
    """Mean over all triplets of the batch of `max(0, |a - p|^2 - |a - n|^2 + margin)`, Schroff 2015, equation 2.

    first, second: (n, d), row for row two views of one film; compared at length 1. The anchor a is a film's first view, p
    its second, n the second view of any other film. ValueError for one film, which has no negatives.
    """
    films = len(first)
    if films < 2:
        raise ValueError("triplets need two films in a batch: one has no negatives")
    likeness = F.normalize(first, dim=1) @ F.normalize(second, dim=1).T
    distance = 2 - 2 * likeness  # squared, of vectors of length 1
    over = (distance.diagonal()[:, None] - distance + margin).clamp(min=0)
    others = ~torch.eye(films, dtype=torch.bool, device=over.device)
    return over[others].mean()
