"""Veils: soft bright ellipses laid over films while training, as a consolidation or an effusion veils the lung.

A segmenter of lungs that saw few white lungs learns from them to follow the outline, not the darkness. Masks and boxes stay.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

SPOTS = 2
REACH = (0.06, 0.3)  # half axes, as a share of the film's sides
LEVEL = (0.45, 0.9)  # what a veil moves pixels towards
OPACITY = (0.3, 0.95)


@dataclass(frozen=True)
class Veil:
    """Ellipses over a batch of n films, in shares of the film's width and height.

    Attributes
    ----------
    centre, axes: (n, `SPOTS`, 2) as (x, y). angle: (n, `SPOTS`) radians. level: (n, `SPOTS`) in [0, 1].
    opacity: (n, `SPOTS`), 0 where a film has no veil.
    """

    centre: torch.Tensor
    axes: torch.Tensor
    angle: torch.Tensor
    level: torch.Tensor
    opacity: torch.Tensor

    def of(self, films: slice) -> Veil:
        """Those of some of the films."""
        parts = self.centre, self.axes, self.angle, self.level, self.opacity
        return Veil(*(values[films] for values in parts))

    def over(self, images: torch.Tensor) -> torch.Tensor:
        """Films float in [0, 1], (n, h, w) or (n, 1, h, w), to the same with each veil laid over in turn."""
        import torch

        height, width = images.shape[-2:]
        x = (torch.arange(width, device=images.device) + 0.5) / width
        y = (torch.arange(height, device=images.device) + 0.5) / height
        out = images.reshape(-1, height, width)
        centre, axes, angle, level, opacity = (
            values.to(out) for values in (self.centre, self.axes, self.angle, self.level, self.opacity)
        )
        for spot in range(centre.shape[1]):
            dx = (x[None, None] - centre[:, spot, 0, None, None]).expand(-1, height, -1)
            dy = (y[None, :, None] - centre[:, spot, 1, None, None]).expand(-1, -1, width)
            cos, sin = torch.cos(angle[:, spot])[:, None, None], torch.sin(angle[:, spot])[:, None, None]
            u = (cos * dx + sin * dy) / axes[:, spot, 0, None, None]
            v = (cos * dy - sin * dx) / axes[:, spot, 1, None, None]
            weight = opacity[:, spot, None, None] * torch.exp(
                -((u * u + v * v) ** 2)
            )  # flat, then a soft rim
            out = out + weight * (level[:, spot, None, None] - out)
        return out.reshape(images.shape)


def draw(films: int, probability: float, generator: torch.Generator) -> Veil:
    """A chance veil for each of `films` films; each of its ellipses is there with `probability`."""
    import torch

    def uniform(low: float, high: float, *shape: int) -> torch.Tensor:
        return low + (high - low) * torch.rand(
            films, SPOTS, *shape, generator=generator, device=generator.device
        )

    there = uniform(0, 1) < probability
    return Veil(
        centre=uniform(0.1, 0.9, 2),
        axes=uniform(*REACH, 2),
        angle=uniform(0, math.pi),
        level=uniform(*LEVEL),
        opacity=uniform(*OPACITY) * there,
    )
