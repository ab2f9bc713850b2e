"""A light head on an encoder's map that answers on a finer grid."""

from __future__ import annotations

import math

from torch import Tensor, nn
from torch.nn import functional as F

from hilum.learning.pretexts.pretext import Surroundings

WIDTH = 128


class GridHead(nn.Module):
    """A map (n, features, h', w') to (n, outputs, *grid).

    Each cell of the map is unfolded to the cells of the grid that it covers (one 1 x 1 convolution and a pixel shuffle,
    Shi 2016), so that its features can say what lies where within it; then a 3 x 3 and a 1 x 1 convolution. Where the grid
    is no multiple of the map, the unfolded cells are averaged or interpolated to it.
    """

    def __init__(self, around: Surroundings, grid: tuple[int, int], outputs: int, width: int = WIDTH) -> None:
        super().__init__()
        self.grid = grid
        finer = max(1, *(math.ceil(g / m) for g, m in zip(grid, around.map_size, strict=True)))
        self.unfold = nn.Sequential(nn.Conv2d(around.features, width * finer**2, 1), nn.PixelShuffle(finer))
        self.rest = nn.Sequential(
            nn.GELU(), nn.Conv2d(width, width, 3, padding=1), nn.GELU(), nn.Conv2d(width, outputs, 1)
        )

    def forward(self, features: Tensor) -> Tensor:
        unfolded = self.unfold(features)
        if tuple(unfolded.shape[-2:]) != self.grid:
            unfolded = F.interpolate(unfolded, self.grid, mode="bilinear", align_corners=False)
        found: Tensor = self.rest(unfolded)
        return found
