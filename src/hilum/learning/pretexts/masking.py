"""Films in patches, some of which are masked: in the image, so that any encoder can be asked, convolutional or not."""

from __future__ import annotations

import torch
from torch import Tensor


def to_patches(images: Tensor, side: int) -> Tensor:
    """Images (n, h, w) to patches (n, k, side * side), row by row. `side` divides both h and w."""
    n, height, width = images.shape
    parted = images.reshape(n, height // side, side, width // side, side)
    return parted.permute(0, 1, 3, 2, 4).reshape(n, -1, side * side)


def from_patches(patches: Tensor, size: tuple[int, int], side: int) -> Tensor:
    """The inverse of `to_patches`: (n, k, side * side) to (n, *size)."""
    rows, columns = size[0] // side, size[1] // side
    parted = patches.reshape(len(patches), rows, columns, side, side)
    return parted.permute(0, 1, 3, 2, 4).reshape(len(patches), *size)


def drawn(films: int, patches: int, share: float, generator: torch.Generator) -> Tensor:
    """Which patches are masked, bool (films, patches): `share` of each film's, at least one and never all."""
    count = min(patches - 1, max(1, round(share * patches)))
    order = torch.rand(films, patches, generator=generator).argsort(1)
    return order < count


def covered(images: Tensor, mask: Tensor, side: int) -> Tensor:
    """Images (n, h, w) with the masked patches (n, k) at the mean of those that are left."""
    height, width = images.shape[-2:]
    patches = to_patches(images, side)
    left = (~mask)[..., None]
    mean = (patches * left).sum((1, 2)) / (left.sum((1, 2)) * patches.shape[-1])
    return from_patches(torch.where(left, patches, mean[:, None, None]), (height, width), side)
