"""Rotation: by how many quarters was the film turned (Gidaris 2018)?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hilum.learning.pretexts.options import PretextLoss
from hilum.learning.pretexts.pretext import Encoded, Pretext, Question, Surroundings, Views

QUARTERS = 4
SHOWN = "turned view"


class Rotation(Pretext):
    """A view of the whole film turned by 0, 90, 180 or 270 degrees, and one linear layer on its embedding."""

    def __init__(self, loss: PretextLoss, around: Surroundings) -> None:
        super().__init__(loss, around)
        self.head = nn.Linear(around.features, QUARTERS)

    def ask(self, views: Views) -> Question:
        turns = torch.randint(QUARTERS, (len(views.films),), generator=views.generator)
        return Question({SHOWN: turned(views.first, turns)}, turns.to(views.films.device))

    def answer(self, seen: Mapping[str, Encoded]) -> Tensor:
        found: Tensor = self.head(seen[SHOWN].embedding)
        return found

    def loss(self, answer: Tensor, right: Any) -> Tensor:
        return F.cross_entropy(answer, right)


def turned(images: Tensor, turns: Tensor) -> Tensor:
    """Images (n, h, w), each turned by its number of quarters (n,), against the clock.

    Films that are not square keep their (h, w): a quarter's turn is scaled back to it.
    """
    height, width = images.shape[-2:]
    out = torch.empty_like(images)
    for quarter in range(QUARTERS):
        chosen = (turns == quarter).to(images.device)
        part = torch.rot90(images[chosen], quarter, (1, 2))
        if part.shape[-2:] != (height, width) and len(part):
            part = F.interpolate(part[:, None], (height, width), mode="bilinear", align_corners=False)[:, 0]
        if len(part):
            out[chosen] = part
    return out
