"""What the models on two timm backbones share: one input, two maps, one grid."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Protocol

from torch import Tensor, nn
from torch.nn import functional as F

from hilum.errors import RecipeError
from hilum.models.backbones import IMAGENET, Backbone
from hilum.models.contract import Classifier

Pretrained = str | Path | Sequence[str | Path | None] | None


class TwoBackbones(Classifier):
    """Two timm backbones over the same film.

    `pretrained`: None, `imagenet` for both, or one entry a backbone (None, `imagenet` or a .safetensors path). `size`: input
    height and width; None takes the first backbone's.

    The input is normalised as the first backbone expects; the second gets it re-normalised to its own mean and std.
    """

    def __init__(
        self,
        names: tuple[str, str],
        taps: tuple[str | None, str | None],
        pretrained: Pretrained,
        channels: int,
        size: tuple[int, int] | None,
    ) -> None:
        super().__init__()
        weights = _one_each(pretrained)
        self.first = Backbone(names[0], taps[0], weights[0], channels, size)
        self.second = Backbone(names[1], taps[1], weights[1], channels, size)
        self.backbones = names
        self.channels, self.input_size = channels, self.first.input_size
        self.mean, self.std = self.first.mean, self.first.std

    def maps(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Images (n, channels, h, w) to each backbone's map (n, its width, its h', its w')."""
        return self.first(images), self.second(renormalised(images, self, self.second))

    def encoder_parameters(self) -> Iterator[nn.Parameter]:
        """The backbones' alone: what joins them starts from random weights and learns with the head."""
        return chain(self.first.parameters(), self.second.parameters())


class Normalised(Protocol):
    """What takes images normalised by a mean and a std a channel, on the [0, 1] scale."""

    mean: tuple[float, ...]
    std: tuple[float, ...]


def renormalised(images: Tensor, given: Normalised, wanted: Normalised) -> Tensor:
    """Images (n, channels, h, w) normalised as one part takes them, as another takes them."""
    if (given.mean, given.std) == (wanted.mean, wanted.std):
        return images
    channels = list(zip(given.mean, given.std, wanted.mean, wanted.std, strict=True))
    scale = images.new_tensor([s / s2 for _, s, _, s2 in channels]).view(1, -1, 1, 1)
    shift = images.new_tensor([(m - m2) / s2 for m, _, m2, s2 in channels]).view(1, -1, 1, 1)
    return images * scale + shift


def on_one_grid(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """Two maps (n, features, h, w), the coarser enlarged (bilinear) to the finer one's grid.

    A map keeps its average where one grid is a whole multiple of the other.
    """
    size = [max(pair) for pair in zip(first.shape[-2:], second.shape[-2:], strict=True)]
    return _enlarged(first, size), _enlarged(second, size)


def _enlarged(features: Tensor, size: list[int]) -> Tensor:
    if list(features.shape[-2:]) == size:
        return features
    return F.interpolate(features, size=size, mode="bilinear", align_corners=False)


def _one_each(pretrained: Pretrained) -> tuple[str | Path | None, str | Path | None]:
    if pretrained is None or pretrained == IMAGENET:
        return (IMAGENET, IMAGENET) if pretrained else (None, None)
    if isinstance(pretrained, str | Path) or len(pretrained) != 2:
        raise RecipeError(
            "a model on two backbones starts from two sets of weights",
            mend="Give `pretrained` as a list of two, one a backbone",
        )
    return pretrained[0], pretrained[1]
