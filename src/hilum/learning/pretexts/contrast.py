"""Contrast: of all views in the batch, which one is of the same film (NT-Xent, Chen 2020)?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hilum.learning.pretexts.gathered import gathered
from hilum.learning.pretexts.options import PretextLoss
from hilum.learning.pretexts.pretext import FIRST, SECOND, Encoded, Pretext, Question, Surroundings, Views


class Contrast(Pretext):
    """Both views' embeddings through a head of two layers, which is thrown away (Chen 2020, section 4.2).

    In several processes every film's negatives are the films of all.
    """

    pairs = True

    def __init__(self, loss: PretextLoss, around: Surroundings) -> None:
        super().__init__(loss, around)
        self.temperature = loss.temperature
        self.head = nn.Sequential(
            nn.Linear(around.features, around.features),
            nn.ReLU(),
            nn.Linear(around.features, loss.projection),
        )

    def ask(self, views: Views) -> Question:
        return Question({FIRST: views.first, SECOND: views.second})

    def answer(self, seen: Mapping[str, Encoded]) -> Tensor:
        return torch.stack([self.head(seen[name].embedding) for name in (FIRST, SECOND)])

    def loss(self, answer: Tensor, right: Any) -> Tensor:
        return nt_xent(gathered(answer[0]), gathered(answer[1]), self.temperature)


def nt_xent(first: Tensor, second: Tensor, temperature: float) -> Tensor:
    """The normalised temperature-scaled cross-entropy, Chen 2020, equation 1, a mean over all 2n views.

    first, second: (n, d), row for row two views of one film. With z the rows at length 1, view i and its partner j:
    `-log(exp(z_i z_j / t) / sum over k other than i of exp(z_i z_k / t))`. ValueError for one film, which has no negatives.
    """
    if len(first) < 2:
        raise ValueError("contrast needs two films in a batch: one has no negatives")
    views = F.normalize(torch.cat([first, second]), dim=1)
    logits = views @ views.T / temperature
    logits.fill_diagonal_(float("-inf"))
    films = len(first)
    partner = torch.arange(2 * films, device=logits.device).roll(films)
    return F.cross_entropy(logits, partner)
