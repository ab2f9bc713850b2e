"""Augmentation on whole batches: one affine resampling and one pass over tones; masks and boxes keep step."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field

from hilum.datasets import veil

if TYPE_CHECKING:
    import torch


class Augmentation(BaseModel):
    """How far each film is changed; every amount is drawn uniformly and for each film alone.

    Attributes
    ----------
    flip: probability of a left-right mirror. 0 by default: it moves the heart to the wrong side.
    rotation: up to so many degrees either way. zoom: scale from 1 - zoom to 1 + zoom.
    translation: up to this share of width and of height either way.
    brightness: added, up to this share of full range either way.
    contrast: factor from 1 - contrast to 1 + contrast about the film's mean.
    gamma: exponent from 1 / (1 + gamma) to 1 + gamma, uniform in its logarithm.
    veil: probability of each of two soft bright ellipses (see `veil.py`).
    mosaic: probability that a film with boxes becomes a mosaic of itself and three others (see `mosaic.py`).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    flip: float = Field(0.0, ge=0, le=1)
    rotation: float = Field(7.0, ge=0, le=180)
    zoom: float = Field(0.1, ge=0, lt=1)
    translation: float = Field(0.05, ge=0, le=1)
    brightness: float = Field(0.05, ge=0, le=1)
    contrast: float = Field(0.15, ge=0, lt=1)
    gamma: float = Field(0.15, ge=0)
    veil: float = Field(0.0, ge=0, le=1)
    mosaic: float = Field(0.0, ge=0, le=1)

    def draw(self, films: int, size: tuple[int, int], generator: torch.Generator) -> Change:
        """Chance, drawn from `generator`: a change for each of `films` films of (height, width)."""
        import math

        import torch

        def uniform(reach: float) -> torch.Tensor:
            return (torch.rand(films, generator=generator, device=generator.device) * 2 - 1) * reach

        height, width = size
        angle = uniform(math.radians(self.rotation))
        scale = 1 + uniform(self.zoom)
        mirror = 1 - 2 * (torch.rand(films, generator=generator, device=generator.device) < self.flip).float()
        shift_x, shift_y = uniform(self.translation) * width, uniform(self.translation) * height
        cos, sin = torch.cos(angle) * scale, torch.sin(angle) * scale
        # Mirror, then turn and scale, about the film's middle; then shift.
        linear = torch.stack(
            [torch.stack([cos * mirror, -sin], -1), torch.stack([sin * mirror, cos], -1)], -2
        )
        middle = torch.tensor([width / 2, height / 2], device=generator.device)
        offset = middle - linear @ middle + torch.stack([shift_x, shift_y], -1)
        return Change(
            torch.cat([linear, offset[..., None]], -1),
            size,
            uniform(self.brightness),
            1 + uniform(self.contrast),
            torch.exp(uniform(math.log1p(self.gamma))),
            veil.draw(films, self.veil, generator) if self.veil else None,
            moves=any((self.flip, self.rotation, self.zoom, self.translation)),
            tones=any((self.brightness, self.contrast, self.gamma)),
        )


@dataclass(frozen=True)
class Change:
    """What is done to each film of a batch.

    Attributes
    ----------
    matrix: (n, 2, 3), where a point (x, y) of the film comes to lie, in pixels from the film's top left edge.
    size: (height, width). brightness, contrast, gamma: (n,). veil: None where none was asked for.
    moves, tones: whether `matrix`, and the three tones, change anything; films and masks pass what does not untouched.
    """

    matrix: torch.Tensor
    size: tuple[int, int]
    brightness: torch.Tensor
    contrast: torch.Tensor
    gamma: torch.Tensor
    veil: veil.Veil | None = None
    moves: bool = True
    tones: bool = True

    def of(self, films: slice) -> Change:
        """What is done to some of the films."""
        return replace(
            self,
            matrix=self.matrix[films],
            brightness=self.brightness[films],
            contrast=self.contrast[films],
            gamma=self.gamma[films],
            veil=None if self.veil is None else self.veil.of(films),
        )

    def images(self, images: torch.Tensor) -> torch.Tensor:
        """Films float in [0, 1], (n, h, w) or (n, 1, h, w), to the same; what comes from outside is black."""
        moved = self._resampled(images, nearest=False)
        veiled = moved if self.veil is None else self.veil.over(moved)
        return self._toned(veiled.clone() if veiled is images else veiled) if self.tones else veiled

    def masks(self, masks: torch.Tensor, outside: int = 0) -> torch.Tensor:
        """Masks uint8 (n, h, w) to the same, by nearest neighbour; `outside` comes from outside."""
        return self._resampled(masks, nearest=True, outside=outside)

    def boxes(
        self, boxes: list[torch.Tensor], *, visible: float = 0.1
    ) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """Each film's boxes (k, 4), x1 y1 x2 y2 in pixels, to (boxes (j, 4), kept (j,) of the k positions).

        A box becomes the upright hull of its four moved corners, clipped to the film; one of which less than
        `visible` of the hull's area stays inside the film is dropped.
        """
        import torch

        height, width = self.size
        out = []
        for matrix, box in zip(self.matrix, boxes, strict=True):
            box = box.reshape(-1, 4).to(matrix)
            corners = torch.stack(
                [box[:, [0, 1]], box[:, [2, 1]], box[:, [2, 3]], box[:, [0, 3]]], 1
            )  # (k, 4, 2)
            moved = corners @ matrix[:, :2].T + matrix[:, 2]
            hull = torch.cat([moved.amin(1), moved.amax(1)], -1)
            clipped = torch.stack(
                [hull[:, i].clamp(0, limit) for i, limit in enumerate((width, height, width, height))], -1
            )
            area = (hull[:, 2:] - hull[:, :2]).prod(-1)
            inside = (clipped[:, 2:] - clipped[:, :2]).clamp(min=0).prod(-1)
            kept = torch.nonzero((inside > 0) & (inside >= visible * area)).flatten()
            out.append((clipped[kept], kept))
        return out

    def _resampled(self, images: torch.Tensor, *, nearest: bool, outside: float = 0.0) -> torch.Tensor:
        import torch

        if tuple(images.shape[-2:]) != self.size or len(images) != len(self.matrix):
            raise ValueError(f"drawn for {len(self.matrix)} films of {self.size}, got {tuple(images.shape)}")
        if not self.moves:
            return images
        batch = images.reshape(len(images), *self.size)
        resample = self._by_opencv if images.device.type == "cpu" else self._by_torch
        return torch.reshape(resample(batch, nearest, outside), images.shape)

    def _by_opencv(self, batch: torch.Tensor, nearest: bool, outside: float) -> torch.Tensor:
        """(n, h, w) on the CPU, where this takes a tenth of the time of `grid_sample` for the same values."""
        import cv2
        import numpy as np
        import torch

        centres = self.matrix.double().numpy()  # OpenCV counts from the middle of the first pixel
        centres = np.concatenate([centres[:, :, :2], centres @ [[0.5], [0.5], [1]] - 0.5], -1)
        flags = cv2.INTER_NEAREST if nearest else cv2.INTER_LINEAR
        source = batch.contiguous().numpy()
        out = np.empty_like(source)
        for film, matrix, moved in zip(source, centres, out, strict=True):
            cv2.warpAffine(film, matrix, self.size[::-1], dst=moved, flags=flags, borderValue=outside)
        return torch.from_numpy(out)

    def _by_torch(self, batch: torch.Tensor, nearest: bool, outside: float) -> torch.Tensor:
        """(n, h, w) on any device."""
        from torch.nn import functional

        films = batch[:, None].float() - outside
        grid = functional.affine_grid(self._theta().to(films), list(films.shape), align_corners=False)
        mode = "nearest" if nearest else "bilinear"
        moved = functional.grid_sample(films, grid, mode=mode, padding_mode="zeros", align_corners=False)
        return (moved[:, 0] + outside).to(batch.dtype)

    def _theta(self) -> torch.Tensor:
        """(n, 2, 3) that torch's `affine_grid` wants: changed film to source, both in [-1, 1]."""
        import torch

        height, width = self.size
        half = torch.tensor([width / 2, height / 2], dtype=torch.float64, device=self.matrix.device)
        back = torch.linalg.inv(self.matrix[:, :, :2].double())
        source_of_middle = (back @ (half - self.matrix[:, :, 2].double())[..., None])[..., 0]
        linear = back * half[None, None, :] / half[None, :, None]
        offset = source_of_middle / half - 1
        return torch.cat([linear, offset[..., None]], -1)

    def _toned(self, images: torch.Tensor) -> torch.Tensor:
        """Gamma, then contrast about the mean, then brightness; in place, on films that are already a copy."""
        shape = (-1, *([1] * (images.ndim - 1)))
        gamma, contrast, brightness = (
            t.to(images).view(shape) for t in (self.gamma, self.contrast, self.brightness)
        )
        toned = images.clamp_(0, 1).pow_(gamma)
        mean = toned.mean(dim=(-2, -1), keepdim=True)
        return toned.sub_(mean).mul_(contrast).add_(mean + brightness).clamp_(0, 1)
