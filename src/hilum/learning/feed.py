"""A store's batches as Lightning takes them: tuples, in the order of the epoch it is told."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from hilum.datasets.batches import Batches


class Feed:
    """Iterates (images, targets), or (images, masks) where the batches carry masks."""

    def __init__(self, batches: Batches) -> None:
        self.batches = batches
        self._epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """The next iteration is that of `epoch`."""
        self._epoch = epoch

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        for batch in self.batches.epoch(self._epoch):
            targets = batch.masks if batch.targets is None else batch.targets
            yield batch.images, targets if targets is not None else torch.empty(len(batch.images), 0)
