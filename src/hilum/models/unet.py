"""U-Net (Ronneberger 2015) on any convolutional timm encoder: skip connections at each stride, bilinear upsampling."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import timm
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hilum.models.contract import Segmenter
from hilum.models.pretrained import load_pretrained
from hilum.models.registry import register


@register("unet")
class UNet(Segmenter):
    """A U-Net on a timm `encoder`: skip connections at each stride, bilinear upsampling.

    `encoder`: a timm name with `features_only`. `outputs`: classes, one logit map each (sigmoid).

    `widths`: decoder channels from the deepest stage up, one fewer than or as many as the encoder has strides.
    `pretrained`: None, `imagenet` or a .safetensors path for the encoder.
    """

    def __init__(
        self,
        outputs: int = 1,
        encoder: str = "mobilenetv2_100",
        widths: tuple[int, ...] = (128, 96, 64, 32, 16),
        pretrained: str | Path | None = None,
        channels: int = 3,
        size: tuple[int, int] = (256, 256),
    ) -> None:
        super().__init__()
        download = pretrained == "imagenet"
        self.encoder: Any = timm.create_model(
            encoder, pretrained=download, features_only=True, in_chans=channels
        )
        if pretrained is not None and not download:
            load_pretrained(self.encoder, pretrained)
        self.backbones = (encoder,)
        config = timm.data.resolve_model_data_config(self.encoder)
        self.channels, self.input_size = channels, tuple(size)
        self.mean, self.std = tuple(config["mean"][:channels]), tuple(config["std"][:channels])
        info: Any = self.encoder.feature_info
        skips = info.channels()[::-1]
        below = skips[0]
        stages = []
        for skip, width in zip([*skips[1:], 0], widths, strict=False):
            stages.append(Up(below, skip, width))
            below = width
        self.decoder = nn.ModuleList(stages)
        self.output = nn.Conv2d(below, outputs, 1)

    def forward(self, images: Tensor) -> Tensor:
        *skips, deepest = self.encoder(images)
        x = deepest
        for stage, skip in zip(self.decoder, [*skips[::-1], None], strict=False):
            x = stage(x, skip)
        return F.interpolate(self.output(x), size=images.shape[-2:], mode="bilinear", align_corners=False)

    def encoder_parameters(self) -> Iterator[nn.Parameter]:
        return self.encoder.parameters()


class Up(nn.Module):
    """Twice the size, joined with the skip connection, then two 3x3 convolutions."""

    def __init__(self, below: int, skip: int, width: int) -> None:
        super().__init__()
        self.blocks = two_convolutions(below + skip, width)

    def forward(self, x: Tensor, skip: Tensor | None) -> Tensor:
        size = skip.shape[-2:] if skip is not None else (x.shape[-2] * 2, x.shape[-1] * 2)
        x = F.interpolate(x, size=size, mode="bilinear", align_corners=False)
        return self.blocks(x if skip is None else torch.cat([x, skip], 1))


def two_convolutions(inputs: int, outputs: int) -> nn.Sequential:
    """Two 3x3 convolutions, each with batch norm and ReLU."""
    return nn.Sequential(_block(inputs, outputs), _block(outputs, outputs))


def _block(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)
    )
