"""A small convolutional network from scratch: the plain arm of `roy-fusion`."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor, nn

from hilum.errors import RecipeError
from hilum.models.backbones import IMAGENET
from hilum.models.contract import Classifier
from hilum.models.heads import hidden_head
from hilum.models.pretrained import load_pretrained
from hilum.models.registry import register

WIDTHS = (32, 64, 128)


@register("simple_cnn")
class SimpleCNN(Classifier):
    """Unpadded 3x3 convolutions of 32, 64 and 128 channels, each with ReLU and 2x2 max-pool; average; dense 256; dense.

    129,870 parameters at 3 channels and 14 outputs, as Roy, Hirpara and Bhanushali print. `dropout` of the head is 0 there.
    `pretrained`: None or a .safetensors path of the same network.

    No weights exist that would ask for ImageNet's mean and std: it takes those that give a film's grey values a mean near 0
    and a deviation near 1, which weights drawn at random expect.
    """

    def __init__(
        self,
        outputs: int,
        dropout: float = 0.0,
        pretrained: str | Path | None = None,
        channels: int = 3,
        size: tuple[int, int] = (224, 224),
    ) -> None:
        super().__init__()
        self.channels, self.input_size = channels, tuple(size)
        self.mean, self.std = (0.5,) * channels, (0.25,) * channels
        below = (channels, *WIDTHS[:-1])
        self.encoder = nn.Sequential(
            *(layer for pair in zip(below, WIDTHS, strict=True) for layer in _stage(*pair))
        )
        if pretrained == IMAGENET:
            raise RecipeError("simple_cnn has no ImageNet weights", mend="Leave `pretrained` out")
        if pretrained is not None:
            load_pretrained(self.encoder, pretrained)
        self.head = hidden_head(WIDTHS[-1], 256, outputs, dropout)

    def feature_map(self, images: Tensor) -> Tensor:
        features: Tensor = self.encoder(images)
        return features

    def pool(self, features: Tensor) -> Tensor:
        return features.mean((2, 3))


def _stage(inputs: int, outputs: int) -> tuple[nn.Module, ...]:
    return nn.Conv2d(inputs, outputs, 3), nn.ReLU(), nn.MaxPool2d(2)
