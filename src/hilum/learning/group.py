"""The processes that train one model together: who this one is, which films are its own, and what they tell each other.

Whoever starts them (`learning.together` on one machine, `hilum.cluster` on several, torchrun) has joined them to torch's
default process group before `train` is called. Without one a process is alone, and every function here says so.

A batch is split over the processes in order, so that what they learn of it together is what one process learns of it:
gradients are averaged, batch norm takes its statistics of the whole batch (`learning.batch_norm`), and losses that are a
mean over what is known weigh each process by what it knows (`balance`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor, distributed

_apart: ContextVar[bool] = ContextVar("apart", default=False)


def size() -> int:
    """How many processes train together; 1 alone, or inside `apart`."""
    joined = distributed.is_available() and distributed.is_initialized() and not _apart.get()
    return distributed.get_world_size() if joined else 1


def rank() -> int:
    """This process's number, from 0."""
    return distributed.get_rank() if size() > 1 else 0


def is_first() -> bool:
    """Whether this process writes the run's files."""
    return rank() == 0


@contextmanager
def apart() -> Iterator[None]:
    """What is done inside is done alone: nothing of it waits for, or looks at, the other processes."""
    token = _apart.set(True)
    try:
        yield
    finally:
        _apart.reset(token)


@contextmanager
def first_before_others() -> Iterator[None]:
    """The first process goes through the body before the others, which then find what it wrote."""
    if size() > 1 and not is_first():
        distributed.barrier()
    yield
    if size() > 1 and is_first():
        distributed.barrier()


def interleaved(own: Sequence[Any]) -> list[Any]:
    """What was dealt out in turn (process r holds items r, r + size, ...) as one list in its first order, for everyone."""
    if size() == 1:
        return list(own)
    held: list[Any] = [None] * size()
    distributed.all_gather_object(held, list(own))
    total = sum(map(len, held))
    return [held[i % len(held)][i // len(held)] for i in range(total)]


def part(films: int) -> slice:
    """Where this process's films lie among those of all, each of which brings as many."""
    return slice(rank() * films, (rank() + 1) * films)


def balance(known: Tensor) -> Tensor:
    """What this process's mean over `known` things counts, so that the average over processes is the mean over all."""
    total = known.detach().to(torch.float32).clone()
    distributed.all_reduce(total)
    return known * size() / total.clamp(min=1)
