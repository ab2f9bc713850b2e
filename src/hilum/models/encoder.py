"""Any timm backbone as an encoder: what films without labels train, and classifiers start from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import timm
from torch import Tensor

from hilum.models.backbones import create, last_map
from hilum.models.contract import Encoder
from hilum.models.registry import register


@register("encoder")
class TimmEncoder(Encoder):
    """A timm backbone `name` and average pooling: images to embeddings, without a head.

    Its tensors are named as a `timm` classifier names its backbone's, so that the weights of its bundle are what
    `model.pretrained` of such a classifier takes.

    `outputs`: taken as every model takes it, and of no effect: an encoder has no logits. `pretrained` and `size` as for
    `timm`.
    """

    def __init__(
        self,
        outputs: int,
        name: str = "resnet18",
        pretrained: str | Path | None = None,
        channels: int = 3,
        size: tuple[int, int] | None = None,
    ) -> None:
        super().__init__()
        backbone: Any = create(name, pretrained, channels, size)
        self.backbone: Any = backbone
        self.backbones = (name,)
        config = timm.data.resolve_model_data_config(backbone)
        self.channels = channels
        self.input_size = tuple(size or config["input_size"][-2:])
        self.mean, self.std = tuple(config["mean"][:channels]), tuple(config["std"][:channels])
        self.features = int(backbone.num_features)

    def feature_map(self, images: Tensor) -> Tensor:
        return last_map(self.backbone, images)

    def pool(self, features: Tensor) -> Tensor:
        return features.mean((2, 3))
