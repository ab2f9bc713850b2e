"""Two backbones whose pooled features stand side by side under one small head: the hybrid of `nandi-hybrid`."""

from __future__ import annotations

import torch
from torch import Tensor

from hilum.models.heads import hidden_head
from hilum.models.registry import register
from hilum.models.two_backbones import Pretrained, TwoBackbones, on_one_grid


@register("concat_hybrid")
class ConcatHybrid(TwoBackbones):
    """Two timm backbones, their average-pooled features joined, dense `hidden` with ReLU, dense `outputs`.

    The defaults are the hybrid of Nandi and Mulimani 2021: ResNet50 and MobileNetV1, 3,072 features, dense 100, no dropout.

    The feature map is both maps on one grid, side by side. Its average is both averages side by side: exactly so where the
    grids are equal or one is a whole multiple of the other (any two backbones of stride 32, or 32 and 16 at a size that 32
    divides), else nearly.
    """

    def __init__(
        self,
        outputs: int,
        first: str = "resnet50",
        second: str = "mobilenetv1_100",
        hidden: int = 100,
        dropout: float = 0.0,
        pretrained: Pretrained = None,
        channels: int = 3,
        size: tuple[int, int] | None = None,
    ) -> None:
        super().__init__((first, second), (None, None), pretrained, channels, size)
        self.head = hidden_head(self.first.width + self.second.width, hidden, outputs, dropout)

    def feature_map(self, images: Tensor) -> Tensor:
        return torch.cat(on_one_grid(*self.maps(images)), 1)

    def pool(self, features: Tensor) -> Tensor:
        return features.mean((2, 3))
