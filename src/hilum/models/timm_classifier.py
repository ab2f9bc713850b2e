"""Any timm backbone as a classifier: features, pooling, dropout and one linear layer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import timm
from torch import Tensor, nn

from hilum.models.backbones import create, last_map
from hilum.models.contract import Classifier
from hilum.models.registry import register


@register("timm")
class TimmClassifier(Classifier):
    """A timm backbone `name`, average pooling, dropout and one linear layer.

    The backbone is any timm model that gives a feature map (convolutional) or tokens on a grid (a transformer, whose patches
    are averaged; class and register tokens take part in its attention only).

    `outputs`: number of logits. `dropout`: before the linear layer, in [0, 1). `pretrained`: None, `imagenet` (timm
    downloads) or a .safetensors path. `size`: input height and width; None takes timm's.
    """

    def __init__(
        self,
        outputs: int,
        name: str = "mobilenetv2_100",
        dropout: float = 0.2,
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
        self.head = nn.Sequential(nn.Dropout(dropout), nn.Linear(self.features, outputs))

    def feature_map(self, images: Tensor) -> Tensor:
        return last_map(self.backbone, images)

    def pool(self, features: Tensor) -> Tensor:
        return features.mean((2, 3))
