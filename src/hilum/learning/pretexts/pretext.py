"""What every pretext is: a question to the encoder that films answer by themselves."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from hilum.datasets.augment import Augmentation
from hilum.learning.pretexts.options import PretextLoss

FIRST, SECOND = "first view", "second view"


@dataclass(frozen=True)
class Surroundings:
    """What a pretext's head is built for: the encoder's features, and (height, width) of its map and of the films."""

    features: int
    map_size: tuple[int, int]
    size: tuple[int, int]


@dataclass
class Views:
    """The two views of each film of a batch, float (n, h, w) in [0, 1], each made when it is first asked for.

    Attributes
    ----------
    films: as prepared, on their device. augmentation: how far a view may lie from its film.
    generator: of all chance in views and pretexts, on the CPU, so that a run draws the same on any device.
    """

    films: Tensor
    augmentation: Augmentation
    generator: torch.Generator = field(repr=False)

    @cached_property
    def first(self) -> Tensor:
        return self._view()

    @cached_property
    def second(self) -> Tensor:
        return self._view()

    def _view(self) -> Tensor:
        height, width = self.films.shape[-2:]
        return self.augmentation.draw(len(self.films), (height, width), self.generator).images(self.films)


@dataclass(frozen=True)
class Question:
    """`images`: what the encoder is shown, by name, each (n, h, w); pretexts that show the same view by one name share it.
    `answer`: what `loss` holds the head's word to.
    """

    images: dict[str, Tensor]
    answer: Any = None


@dataclass(frozen=True)
class Encoded:
    """What the encoder made of images: `map` (n, features, h', w') and `embedding` (n, features)."""

    map: Tensor
    embedding: Tensor


class Pretext(nn.Module, ABC):
    """A head on the encoder, which training needs and a bundle does not carry.

    Attributes
    ----------
    pairs: whether it compares films with one another, and so needs two in a batch.
    """

    pairs: ClassVar[bool] = False

    def __init__(self, loss: PretextLoss, around: Surroundings) -> None:
        super().__init__()

    @abstractmethod
    def ask(self, views: Views) -> Question:
        """What to show the encoder, and the right answer."""

    @abstractmethod
    def answer(self, seen: Mapping[str, Encoded]) -> Tensor:
        """The head's word on what the encoder saw, by the question's names."""

    @abstractmethod
    def loss(self, answer: Tensor, right: Any) -> Tensor:
        """A scalar, of answers in float32."""
