"""Lightning's trainer over the processes of `learning.group`: what it is told, and what they cannot do together."""

from __future__ import annotations

import os
from typing import Any

import torch
from lightning.fabric.plugins.environments import ClusterEnvironment
from lightning.pytorch.strategies import DDPStrategy

from hilum.errors import RecipeError
from hilum.learning import group
from hilum.learning.recipe import Phase, Recipe


def refuse_apart(recipe: Recipe) -> None:
    """RecipeError for what several processes cannot learn together as one would."""
    if group.size() == 1:
        return
    if recipe.task == "generate" or recipe.loss.kind == "joint":
        raise RecipeError(
            "a generator and its discriminator take turns within a step, which several processes do not do together",
            mend="Train it with --devices 1",
        )
    for phase in recipe.phases:
        if phase.batch % (group.size() * phase.accumulate):
            raise RecipeError(
                f"phase '{phase.name}': a batch of {phase.batch} films cannot be split evenly over {group.size()} processes"
                + (f" in {phase.accumulate} parts" if phase.accumulate > 1 else ""),
                mend=f"Make it a multiple of {group.size() * phase.accumulate}",
            )


def trainer_options(phase: Phase) -> dict[str, Any]:
    """What Lightning's Trainer is told of devices and of the parts of a batch."""
    options: dict[str, Any] = {"devices": 1}
    if phase.accumulate > 1:
        options["accumulate_grad_batches"] = phase.accumulate
    if group.size() > 1:
        options["strategy"] = _Together(
            cluster_environment=_Place(),
            find_unused_parameters=True,  # timm's backbones carry layers past the last map
            broadcast_buffers=False,  # batch norm keeps them alike, and validation batches are not as many everywhere
        )
    return options


class _Together(DDPStrategy):
    """DistributedDataParallel over a process group that is there already."""

    @property
    def root_device(self) -> torch.device:
        assert self.parallel_devices is not None
        if self.parallel_devices[0].type == "cpu":
            return self.parallel_devices[0]
        return torch.device("cuda", local_rank() % torch.cuda.device_count())


def local_rank() -> int:
    """This process's number on its machine."""
    return int(os.environ.get("LOCAL_RANK", "0"))


class _Place(ClusterEnvironment):
    """Lightning's question of who is who, answered by the process group."""

    @property
    def creates_processes_externally(self) -> bool:
        return True

    @property
    def main_address(self) -> str:
        return os.environ.get("MASTER_ADDR", "127.0.0.1")

    @property
    def main_port(self) -> int:
        return int(os.environ.get("MASTER_PORT", "0"))

    @staticmethod
    def detect() -> bool:
        return False

    def world_size(self) -> int:
        return group.size()

    def set_world_size(self, size: int) -> None:
        """It is what it is."""

    def global_rank(self) -> int:
        return group.rank()

    def set_global_rank(self, rank: int) -> None:
        """It is what it is."""

    def local_rank(self) -> int:
        return local_rank()

    def node_rank(self) -> int:
        return int(os.environ.get("GROUP_RANK", os.environ.get("NODE_RANK", "0")))
