"""Any timm backbone as a classifier: features, pooling, dropout and one linear layer."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from hilum.models.contract import Classifier
from hilum.models.one_backbone import OneBackbone
from hilum.models.registry import register


@register("timm")
class TimmClassifier(OneBackbone, Classifier):
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
        self._take(name, pretrained, channels, size)
        self.head = nn.Sequential(nn.Dropout(dropout), nn.Linear(self.features, outputs))
