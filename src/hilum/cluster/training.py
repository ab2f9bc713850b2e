"""One run trained by processes on several nodes: Ray Train starts them, joins them, and starts all again where one dies."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hilum.cluster.session import connected
from hilum.errors import HilumError
from hilum.learning.recipe import Recipe
from hilum.learning.together import PATIENCE

FEATURE = "Training on a Ray cluster"
RESTARTS = 3


def train_on_ray(
    address: str,
    recipe: Recipe,
    folder: str | Path,
    devices: int,
    device: str = "auto",
    restarts: int = RESTARTS,
    **options: Any,
) -> Path:
    """`run.train` by `devices` processes of the Ray cluster at `address`: a GPU each, or with `device="cpu"` a processor.

    They train as those of one machine do (`learning.together`). `folder`, the recipe's data and its store, and the folder
    that this is called from, must be reachable under the same path from every node. Where a process or its node dies all
    are started again, at most `restarts` times, and go on after the last whole epoch, which `folder` holds. HilumError where
    it ends without a bundle.
    """
    folder = Path(folder).absolute()
    with connected(address, FEATURE) as ray:
        from ray.train import FailureConfig, RunConfig, ScalingConfig
        from ray.train.torch import TorchConfig, TorchTrainer

        gpus = device == "cuda" or (device == "auto" and ray.cluster_resources().get("GPU", 0) >= devices)
        trainer = TorchTrainer(
            _work,
            train_loop_config={
                "recipe": recipe.as_yaml(),
                "folder": str(folder),
                "device": "cuda" if gpus else "cpu",
                "options": options,
                "here": str(Path.cwd()),
            },
            torch_config=TorchConfig(
                backend="cpu:gloo,cuda:nccl" if gpus else "gloo", timeout_s=int(PATIENCE.total_seconds())
            ),
            scaling_config=ScalingConfig(num_workers=devices, use_gpu=gpus),
            run_config=RunConfig(
                name="ray", storage_path=str(folder), failure_config=FailureConfig(max_failures=restarts)
            ),
        )
        try:
            trainer.fit()
        except Exception as error:  # Ray wraps what a process raised in words of its own
            raise HilumError(
                f"training on the cluster ended with: {_cause(error)}",
                path=folder,
                mend="The same command goes on after the last whole epoch",
            ) from error
    bundle = folder / "bundle"
    if not bundle.exists():
        raise HilumError(
            "training ended without a bundle", path=folder, mend="Is this folder the same on every node?"
        )
    return bundle


def _work(given: dict[str, Any]) -> None:
    """Runs in each process, which Ray has joined to the others."""
    import os

    import yaml

    from hilum.learning.run import train

    os.chdir(given["here"])  # what a recipe's relative paths mean
    recipe = Recipe.model_validate(yaml.safe_load(given["recipe"]))
    train(recipe, given["folder"], device=given["device"], **given["options"])


def _cause(error: BaseException) -> str:
    failures = getattr(error, "worker_failures", None) or {}
    inner = next(iter(failures.values()), None) or error.__cause__ or error
    return f"{type(inner).__name__}: {inner}"
