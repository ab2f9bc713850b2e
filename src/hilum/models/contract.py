"""What every model promises, so that training, uncertainty and heatmaps work with any of them.

A classifier is two parts. `encode` is deterministic in eval mode; `head` holds every dropout layer. So T Monte Carlo
samples cost one pass of the encoder and T of the small head, and a class activation map needs no backward pass where the
head is linear.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator

import torch
from torch import Tensor, nn


class Model(nn.Module, ABC):
    """Images in, logits out.

    Attributes
    ----------
    channels: input channels, 1 or 3. input_size: the (height, width) the model was designed for.
    mean, std: per channel, on the [0, 1] scale, what the weights expect.
    """

    channels: int
    input_size: tuple[int, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @abstractmethod
    def forward(self, images: Tensor) -> Tensor:
        """Images (n, channels, h, w), normalised, to logits."""


class Classifier(Model):
    """A model whose forward is `head(encode(images))`."""

    head: nn.Module

    @abstractmethod
    def feature_map(self, images: Tensor) -> Tensor:
        """Images (n, channels, h, w) to the last spatial map (n, features, h', w')."""

    @abstractmethod
    def pool(self, features: Tensor) -> Tensor:
        """A spatial map (n, features, h', w') to an embedding (n, features)."""

    def encode(self, images: Tensor) -> Tensor:
        """Images to embeddings (n, features); deterministic in eval mode."""
        return self.pool(self.feature_map(images))

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.encode(images))

    def linear_head(self) -> nn.Linear | None:
        """The head's only layer with weights where that is one linear layer, else None."""
        weighted = [m for m in self.head.modules() if not list(m.children()) and list(m.parameters())]
        only = weighted[0] if len(weighted) == 1 else None
        return only if isinstance(only, nn.Linear) else None

    def encoder_parameters(self) -> Iterator[nn.Parameter]:
        """Every parameter outside the head."""
        head = {id(p) for p in self.head.parameters()}
        return (p for p in self.parameters() if id(p) not in head)


class Segmenter(Model):
    """Logits (n, classes, h, w) on the input's own grid."""

    @abstractmethod
    def encoder_parameters(self) -> Iterator[nn.Parameter]:
        """The parameters of the (possibly pretrained) encoder."""


def parameter_counts(model: nn.Module) -> dict[str, int]:
    """`trainable` and `frozen` parameters, and `buffers` (batch-norm statistics; integer counters left out)."""
    parameters = list(model.parameters())
    return {
        "trainable": sum(p.numel() for p in parameters if p.requires_grad),
        "frozen": sum(p.numel() for p in parameters if not p.requires_grad),
        "buffers": sum(b.numel() for b in model.buffers() if torch.is_floating_point(b)),
    }
