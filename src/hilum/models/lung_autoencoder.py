"""The lung autoencoder of `degerli-recovnet` (Degerli et al. 2021, phase I): an encoder and a decoder, and nothing beside.

Without skip connections the decoder sees the encoder's last map alone, so what that map keeps must be enough to draw the
lungs from. ReCovNet (phase II) is this encoder under a linear head: the model `timm` of the same name, with `dropout` 0 and
this model's weights as `pretrained`. v1 has the encoder densenet121, v2 resnet50.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import timm
from torch import Tensor, nn
from torch.nn import functional as F

from hilum.errors import RecipeError
from hilum.models.backbones import create, last_map
from hilum.models.contract import Segmenter
from hilum.models.registry import register
from hilum.models.unet import two_convolutions


@register("lung_autoencoder")
class LungAutoencoder(Segmenter):
    """A timm `encoder` and a decoder without skip connections: phase I of `degerli-recovnet`.

    `encoder`: a timm name. `outputs`: classes, one logit map each (sigmoid). `pretrained`: None, `imagenet` or a
    .safetensors path for the encoder.

    `filters`: channels of the decoder's stages from the deepest up, each of them twice the size of the one before; as many
    stages as undo the encoder's stride (5 for 32). Images whose sides that stride does not divide are continued by their
    last row and column, and the logits cut back, so that logits and pixels stay in line.
    """

    def __init__(
        self,
        outputs: int = 1,
        encoder: str = "densenet121",
        filters: tuple[int, ...] = (256, 128, 64, 32, 16),
        pretrained: str | Path | None = None,
        channels: int = 3,
        size: tuple[int, int] = (224, 224),
    ) -> None:
        super().__init__()
        backbone: Any = create(encoder, pretrained, channels, size)
        self.encoder: Any = backbone
        self.backbones = (encoder,)
        config = timm.data.resolve_model_data_config(backbone)
        self.channels, self.input_size = channels, tuple(size)
        self.mean, self.std = tuple(config["mean"][:channels]), tuple(config["std"][:channels])
        self.stride = int(backbone.feature_info[-1]["reduction"])
        if 2 ** len(filters) != self.stride:
            raise RecipeError(
                f"the last map of {encoder!r} is {self.stride} times smaller than its image, and {len(filters)} stages make"
                f" it {2 ** len(filters)} times larger",
                mend=f"Give `filters` {self.stride.bit_length() - 1} numbers, one a stage",
            )
        widths = (int(backbone.num_features), *filters)
        self.decoder = nn.Sequential(
            *(
                nn.Sequential(nn.Upsample(scale_factor=2), two_convolutions(below, width))
                for below, width in zip(widths, filters, strict=False)
            ),
            nn.Conv2d(widths[-1], outputs, 3, padding=1),
        )

    def feature_map(self, images: Tensor) -> Tensor:
        """Images (n, channels, h, w), sides divisible by the stride, to the last map (n, features, h', w')."""
        return last_map(self.encoder, images)

    def forward(self, images: Tensor) -> Tensor:
        height, width = images.shape[-2:]
        below, beside = -height % self.stride, -width % self.stride
        if below or beside:
            images = F.pad(images, (0, beside, 0, below), mode="replicate")
        logits: Tensor = self.decoder(self.feature_map(images))
        if (
            logits.shape[-2:] != images.shape[-2:]
        ):  # Inception's convolutions have no padding: its map is smaller
            logits = F.interpolate(logits, size=images.shape[-2:], mode="bilinear", align_corners=False)
        return logits[..., :height, :width]

    def encoder_parameters(self) -> Iterator[nn.Parameter]:
        parameters: Iterator[nn.Parameter] = self.encoder.parameters()
        return parameters
