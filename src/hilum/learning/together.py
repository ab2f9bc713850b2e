"""One run by several processes of this machine, each with its share of every batch (torch's DistributedDataParallel)."""

from __future__ import annotations

import os
import tempfile
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from torch import distributed

from hilum.errors import RecipeError
from hilum.learning.children import in_processes, settle
from hilum.learning.phases import checked_device
from hilum.learning.recipe import Recipe
from hilum.learning.run import train

PATIENCE = timedelta(hours=4)  # for the others: one builds the pixel store while they wait


def train_together(
    recipe: Recipe, folder: str | Path, devices: int, device: str = "auto", **options: Any
) -> Path:
    """`run.train` by `devices` processes: with CUDA a device each, else a share of the processor's threads each.

    A phase's `batch` stays what a step learns from; each process takes its share of it. The first process writes the run
    and speaks here, the others to `process-<n>.log` in its folder. Where one fails or dies all end, with its error, and the
    same call goes on after the last whole epoch. A script calls this under `if __name__ == "__main__":`.
    """
    if devices < 1:
        raise RecipeError(f"{devices} devices cannot train anything", mend="Give --devices 1 or more")
    if devices == 1:
        return train(recipe, folder, device=device, **options)
    device = checked_device(device)
    there = torch.cuda.device_count() if device != "cpu" else 0
    if 0 < there < devices:
        raise RecipeError(
            f"there are {there} CUDA devices here, not {devices}", mend="Use fewer, or --device cpu"
        )
    with tempfile.TemporaryDirectory(prefix="hilum-") as place:
        return in_processes(devices, _work, Path(place) / "meet", recipe, Path(folder), device, options)


def _work(
    rank: int, count: int, meet: Path, recipe: Recipe, folder: Path, device: str, options: dict[str, Any]
) -> Path:
    settle(rank, count, folder / f"process-{rank}.log" if rank else None)
    os.environ["LOCAL_RANK"] = str(rank)
    join(device, rank, count, f"file://{meet}")
    try:
        return train(recipe, folder, device=device, **options)
    finally:
        distributed.destroy_process_group()


def join(device: str, rank: int, count: int, meet: str) -> None:
    """Become one of the processes that train together."""
    cuda = device != "cpu" and torch.cuda.is_available()
    backend = "cpu:gloo,cuda:nccl" if cuda else "gloo"
    distributed.init_process_group(backend, init_method=meet, rank=rank, world_size=count, timeout=PATIENCE)
