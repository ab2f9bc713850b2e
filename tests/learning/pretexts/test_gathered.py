"""Negatives from all processes: two on the CPU say what one with all films says, and teach what it teaches."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import distributed, multiprocessing

from hilum.learning.pretexts.contrast import nt_xent
from hilum.learning.pretexts.gathered import gathered

FILMS, WIDTH, TEMPERATURE = 8, 5, 0.2


def material() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    chance = torch.Generator().manual_seed(0)
    views = torch.randn(2, FILMS, WIDTH, generator=chance)
    return views[0], views[1], torch.randn(WIDTH, 4, generator=chance)


def one_of_two(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    first, second, weights = material()
    weights.requires_grad_()
    mine = slice(rank * FILMS // 2, (rank + 1) * FILMS // 2)
    loss = nt_xent(gathered(first[mine] @ weights), gathered(second[mine] @ weights), TEMPERATURE)
    loss.backward()
    gradient: Any = weights.grad
    distributed.all_reduce(gradient)  # as DistributedDataParallel averages
    torch.save({"loss": loss.detach(), "gradient": gradient / 2}, f"{folder}/{rank}.pt")
    distributed.destroy_process_group()


def test_two_processes_are_one_batch(tmp_path: Path):
    multiprocessing.spawn(one_of_two, (str(tmp_path),), nprocs=2)  # type: ignore[no-untyped-call]
    first, second, weights = material()
    weights.requires_grad_()
    loss = nt_xent(first @ weights, second @ weights, TEMPERATURE)
    loss.backward()
    assert weights.grad is not None
    for rank in range(2):
        theirs = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        assert torch.allclose(theirs["loss"], loss.detach(), atol=1e-5)
        assert torch.allclose(theirs["gradient"], weights.grad, atol=1e-5)


def test_one_process_keeps_its_rows():
    rows = torch.randn(3, 2)
    assert gathered(rows) is rows
