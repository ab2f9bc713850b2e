"""Rows of all processes, with gradients that find their way back."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, distributed

from hilum.learning import group


def gathered(rows: Tensor) -> Tensor:
    """(n, d) of this process to (n * processes, d) of all, in the order of their ranks; alone, the rows as they are.

    Every process must hand over as many rows. The gradient of a row is the sum of what all processes say of it, so that
    with gradients averaged over processes, as DistributedDataParallel does, it is the one that a single process with
    all films would have.
    """
    if group.size() == 1:
        return rows
    found: Tensor = _Gather.apply(rows)  # type: ignore[no-untyped-call]
    return found


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> Tensor:
        parts = [torch.empty_like(rows) for _ in range(distributed.get_world_size())]
        distributed.all_gather(parts, rows.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        total = gradients[0].contiguous()
        distributed.all_reduce(total)
        return total.chunk(distributed.get_world_size())[distributed.get_rank()]
