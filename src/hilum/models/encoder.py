"""Any timm backbone as an encoder: what films without labels train, and classifiers start from."""

from __future__ import annotations

from pathlib import Path

from hilum.models.contract import Encoder
from hilum.models.one_backbone import OneBackbone
from hilum.models.registry import register


@register("encoder")
class TimmEncoder(OneBackbone, Encoder):
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
        self._take(name, pretrained, channels, size)
