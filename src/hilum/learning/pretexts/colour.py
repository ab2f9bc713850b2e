"""Colourisation of a greyscale film (after Zhang 2016), by pseudo-colours that the film itself defines.

A film has no colours to give back. Its pseudo-colours say how bright each place is *for its neighbourhood*, so that they
cannot be read off a pixel's grey value. With x the film in [0, 1], m and s the mean and standard deviation of x in a square
window of a sixth of the film's shorter side around each pixel (what lies outside the film takes no part):

    c = (x - m) / (s + 0.02)                 local contrast
    u = 1 / (1 + exp(-1.7 c))                its rank, were it normally distributed (the logistic close to the normal's)
    h = 270 - 240 u degrees                  hue in CIELAB: blue where dark for its place, green between, red where bright
    r = s / (s + 0.02)                       chroma, 0 to 1: what is flat stays grey
    a, b = r cos h, r sin h                  the two colour axes, as shares of the greatest chroma

Equal steps of u are equal steps along an arc of CIELAB, in which equal distances look equally great. The lightness is the
film's own grey. The head learns a and b by least squares, at a quarter of the film's size.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from hilum.learning.pretexts.grid_head import GridHead
from hilum.learning.pretexts.options import PretextLoss
from hilum.learning.pretexts.pretext import FIRST, Encoded, Pretext, Question, Surroundings, Views

WINDOW = 6  # windows a film's shorter side
FLAT = 0.02  # standard deviation of x below which a place counts as flat
SHRUNK = 4


class Colour(Pretext):
    """The colours of the first view, (n, 2, h / 4, w / 4), from its map."""

    def __init__(self, loss: PretextLoss, around: Surroundings) -> None:
        super().__init__(loss, around)
        height, width = around.size
        self.grid = (max(1, height // SHRUNK), max(1, width // SHRUNK))
        self.head = GridHead(around, self.grid, 2)

    def ask(self, views: Views) -> Question:
        right = F.interpolate(pseudo_colours(views.first), self.grid, mode="area")
        return Question({FIRST: views.first}, right)

    def answer(self, seen: Mapping[str, Encoded]) -> Tensor:
        found: Tensor = self.head(seen[FIRST].map)
        return found

    def loss(self, answer: Tensor, right: Any) -> Tensor:
        return F.mse_loss(answer, right)


def pseudo_colours(films: Tensor) -> Tensor:
    """Films (n, h, w) in [0, 1] to their colours a and b, (n, 2, h, w), each in [-1, 1], as the module says."""
    x = films[:, None]
    side = max(3, round(min(films.shape[-2:]) / WINDOW)) | 1
    mean = _local_mean(x, side)
    spread = (_local_mean(x**2, side) - mean**2).clamp(min=0).sqrt()
    rank = torch.sigmoid(1.7 * (x - mean) / (spread + FLAT))
    hue = math.radians(270) - math.radians(240) * rank
    return spread / (spread + FLAT) * torch.cat([torch.cos(hue), torch.sin(hue)], 1)


def _local_mean(x: Tensor, side: int) -> Tensor:
    """The mean in a `side` x `side` window, rows first and then columns."""
    half = side // 2
    rows = F.avg_pool2d(x, (side, 1), 1, (half, 0), count_include_pad=False)
    return F.avg_pool2d(rows, (1, side), 1, (0, half), count_include_pad=False)
