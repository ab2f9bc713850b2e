"""What a classifier and an encoder of one timm backbone have in common: the backbone, its last map and the average of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import timm
from torch import Tensor, nn

from hilum.models.backbones import create, last_map


class OneBackbone(nn.Module):
    """Beside `Classifier` or `Encoder`: what these ask of a model, by the timm model `name` in `backbone`."""

    def _take(
        self, name: str, pretrained: str | Path | None, channels: int, size: tuple[int, int] | None
    ) -> None:
        backbone: Any = create(name, pretrained, channels, size)
        self.backbone: Any = backbone
        self.backbones: tuple[str, ...] = (name,)
        config = timm.data.resolve_model_data_config(backbone)
        self.channels = channels
        self.input_size = tuple(size or config["input_size"][-2:])
        self.mean, self.std = tuple(config["mean"][:channels]), tuple(config["std"][:channels])
        self.features = int(backbone.num_features)

    def feature_map(self, images: Tensor) -> Tensor:
        """Images (n, channels, h, w) to the last spatial map (n, features, h', w')."""
        return last_map(self.backbone, images)

    def pool(self, features: Tensor) -> Tensor:
        """A spatial map to its average (n, features)."""
        return features.mean((2, 3))
