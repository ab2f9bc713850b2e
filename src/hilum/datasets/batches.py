"""Batches straight from a pixel store's memory map: the same for the same seed and epoch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from hilum.datasets.pixel_store import PixelStore

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Batch:
    """`images` (n, h, w) uint8 or uint16 as stored; `targets` (n, ...) as given; `masks` (n, h, w) uint8 or
    None; `index` (n,) int64 positions among the films that `Batches` was given.
    """

    images: torch.Tensor
    targets: torch.Tensor | None
    masks: torch.Tensor | None
    index: torch.Tensor


@dataclass(frozen=True, eq=False)
class Batches:
    """Films of a store in batches.

    Attributes
    ----------
    store: where the pixels are. rows: (films,) rows of the store, from `PixelStore.rows`.
    targets: (films, ...) labels float32, class indices int64, or None; row for row with `rows`.
    size: films a batch. seed: with the epoch's number, decides the order.
    shuffle: a new order each epoch; False keeps the order of `rows`. drop_last: leave out
        an unfilled last batch (batch norm cannot learn from a single film).
    masks: read the store's masks too.
    weights: (films,) chance of each film to be drawn, summing to 1: an epoch then draws as many films as there
        are, with replacement; None: every film once.
    """

    store: PixelStore
    rows: NDArray[np.int64]
    targets: NDArray | None = None
    size: int = 32
    seed: int = 0
    shuffle: bool = True
    drop_last: bool = False
    masks: bool = False
    weights: NDArray[np.float64] | None = None

    def __post_init__(self) -> None:
        if self.size < 1:
            raise ValueError(f"a batch holds at least one film, got {self.size}")
        if self.targets is not None and len(self.targets) != len(self.rows):
            raise ValueError(f"{len(self.targets)} targets for {len(self.rows)} films")
        if self.masks and self.store.masks is None:
            raise ValueError(f"the store {self.store.folder} has no masks")
        if self.weights is not None and len(self.weights) != len(self.rows):
            raise ValueError(f"{len(self.weights)} weights for {len(self.rows)} films")

    def __len__(self) -> int:
        """Batches an epoch."""
        return len(self.rows) // self.size if self.drop_last else -(-len(self.rows) // self.size)

    def order(self, epoch: int) -> NDArray[np.int64]:
        """(films,) positions in the order of this epoch."""
        if not self.shuffle:
            return np.arange(len(self.rows))
        chance = np.random.default_rng((self.seed, epoch))
        if self.weights is not None:
            return chance.choice(len(self.rows), len(self.rows), p=self.weights)
        return chance.permutation(len(self.rows))

    def indices(self, epoch: int, start: int = 0) -> Iterator[NDArray[np.int64]]:
        """The positions of each of the epoch's batches, from number `start` on."""
        order = self.order(epoch)
        for number in range(start, len(self)):
            yield order[number * self.size : (number + 1) * self.size]

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """The epoch's batches from number `start` on: what a run that was killed in mid-epoch has left."""
        return map(self.take, self.indices(epoch, start))

    def take(self, index: NDArray[np.int64]) -> Batch:
        """The films at these positions, in this order."""
        import torch

        rows = self.rows[index]
        return Batch(
            torch.from_numpy(self.store.images[rows]),
            None if self.targets is None else torch.from_numpy(self.targets[index]),
            torch.from_numpy(self.store.masks[rows]) if self.masks and self.store.masks is not None else None,
            torch.from_numpy(np.ascontiguousarray(index)),
        )
