"""Batches as the trainer takes them: tuples, in the order of the epoch it is told, of the films that are this process's."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hilum.datasets.batches import Batches
from hilum.learning import group

AHEAD = 2
"""Batches that are read while the model learns from the one before them."""

Given = TypeVar("Given")
Taken = TypeVar("Taken")


def ahead(take: Callable[[Given], Taken], given: Iterable[Given], depth: int = AHEAD) -> Iterator[Taken]:
    """`map(take, given)`, `depth` of it done ahead by a thread. What `take` raises comes in its turn."""
    with ThreadPoolExecutor(1, "feed") as reader:
        waiting: deque[Future[Taken]] = deque()
        for each in given:
            waiting.append(reader.submit(take, each))
            if len(waiting) > depth:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


class Feed:
    """Iterates (images, targets), or (images, masks) where the batches carry masks.

    Batches are read ahead, into pinned memory where there is a GPU, so that it copies one while it computes another.

    parts: each batch comes in so many parts, one after another (`Phase.accumulate`). Where several processes train
    together each has its slice of every part: `Batches.size` is what all of them, and all parts, come to.
    """

    def __init__(self, batches: Batches, parts: int = 1) -> None:
        self.batches, self.parts = batches, parts
        self.rank, self.processes = group.rank(), group.size()
        self._epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """The next iteration is that of `epoch`."""
        self._epoch = epoch

    def __len__(self) -> int:
        return len(self.batches) * self.parts

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        parts = (part for index in self.batches.indices(self._epoch) for part in self._own(index))
        yield from ahead(self._taken, parts)

    def _own(self, index: NDArray[np.int64]) -> list[NDArray[np.int64]]:
        """This process's films of a batch, part by part."""
        return np.array_split(index, self.parts * self.processes)[self.rank :: self.processes]

    def _taken(self, index: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        batch = self.batches.take(index)
        targets = batch.masks if batch.targets is None else batch.targets
        targets = targets if targets is not None else torch.empty(len(batch.images), 0)
        return _pinned(batch.images), _pinned(targets)


class Dealt(Feed):
    """The same with whole batches dealt out in turn: what is looked at film by film, as in validation, in the batches that
    one process would look at. `group.interleaved` brings what came of them back into order.
    """

    def __len__(self) -> int:
        return len(range(self.rank, len(self.batches), self.processes))

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        numbered = enumerate(self.batches.indices(self._epoch))
        mine = (index for number, index in numbered if number % self.processes == self.rank)
        yield from ahead(self._taken, mine)


def _pinned(tensor: Tensor) -> Tensor:
    return tensor.pin_memory() if torch.cuda.is_available() else tensor
