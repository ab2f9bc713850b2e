"""Multi-scale training: each batch of a detector at a size of its own, as YOLOv5 (Jocher et al. 2020, `train.py`)."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F


def drawn_side(side: int, within: float, stride: int, generator: torch.Generator) -> int:
    """A multiple of `stride`, at least one, drawn around `side` from -`within` to +`within` (a share) of it."""
    low, high = int(side * (1 - within)), int(side * (1 + within)) + stride
    return max(stride, int(torch.randint(low, high, (), generator=generator)) // stride * stride)


def at_some_scale(
    images: Tensor, targets: Tensor, within: float, stride: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Images (n, h, w) with the longer side as `drawn_side` draws it, the other one in proportion rounded up to `stride`;
    and targets (n, k, 5) of a class and a box each, whose boxes go with it."""
    height, width = images.shape[-2:]
    longest = max(height, width)
    scale = drawn_side(longest, within, stride, generator) / longest
    down, across = (math.ceil(side * scale / stride - 1e-9) * stride for side in (height, width))
    if (down, across) == (height, width):
        return images, targets
    images = F.interpolate(images[:, None], (down, across), mode="bilinear", align_corners=False)[:, 0]
    by = targets.new_tensor((1, across / width, down / height, across / width, down / height))
    return images, targets * by
