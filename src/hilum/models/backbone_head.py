"""Any timm backbone under a head with one hidden layer: the single arms of `roy-fusion` and `nandi-hybrid`."""

from __future__ import annotations

from pathlib import Path

from hilum.models.heads import hidden_head
from hilum.models.registry import register
from hilum.models.timm_classifier import TimmClassifier


@register("backbone_head")
class BackboneHead(TimmClassifier):
    """A timm backbone `name`, average pooling, dropout, dense `hidden` with ReLU, dropout, dense `outputs`.

    The defaults are the DenseNet121 arm of `roy-fusion` (Roy, Hirpara and Bhanushali); with `hidden` 100 and `dropout` 0 it
    is a single arm of `nandi-hybrid` (Nandi and Mulimani 2021). `pretrained` and `size` as for `timm`.
    """

    def __init__(
        self,
        outputs: int,
        name: str = "densenet121",
        hidden: int = 512,
        dropout: float = 0.5,
        pretrained: str | Path | None = None,
        channels: int = 3,
        size: tuple[int, int] | None = None,
    ) -> None:
        super().__init__(outputs, name, dropout, pretrained, channels, size)
        self.head = hidden_head(self.features, hidden, outputs, dropout)
