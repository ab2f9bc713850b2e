"""Training checkpoints without pickles: tensors in safetensors, the rest as JSON in its header, written atomically.

Lightning hands over one tree of dicts, lists, tuples, numbers, strings and tensors. Tensors go to the file under a number;
everything else becomes JSON in which `{"$tensor": n}`, `{"$tuple": [...]}` and `{"$dict": [[key, value], ...]}` stand for
what JSON cannot say.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.plugins.io import CheckpointIO
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from hilum.errors import HilumError
from hilum.learning.writing import whole

_HEADER = "tree"


class CheckpointError(HilumError):
    """A training checkpoint cannot be read back."""


class SafetensorsIO(CheckpointIO):
    """Lightning's door to the disk."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        tensors: dict[str, torch.Tensor] = {}
        tree = json.dumps(_pack(checkpoint, tensors))
        with whole(path) as work:
            save_file(tensors, work, {_HEADER: tree})

    def load_checkpoint(
        self, path: Any, map_location: Any = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        return read(path)

    def remove_checkpoint(self, path: Any) -> None:
        Path(path).unlink(missing_ok=True)


def read(path: str | Path) -> dict[str, Any]:
    """The tree that was saved, tensors on the CPU. Raises CheckpointError."""
    try:
        with safe_open(path, "pt") as file:
            tree = json.loads(file.metadata()[_HEADER])
            return _unpack(tree, {name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"this checkpoint cannot be read ({error})", path=path, mend="Delete it and train again"
        ) from error


def _pack(value: Any, tensors: dict[str, torch.Tensor]) -> Any:
    if isinstance(value, torch.Tensor):
        name = str(len(tensors))
        tensors[name] = value.detach().cpu().clone(memory_format=torch.contiguous_format)
        return {"$tensor": name}
    if isinstance(value, dict):
        if all(isinstance(k, str) and not k.startswith("$") for k in value):
            return {k: _pack(v, tensors) for k, v in value.items()}
        return {"$dict": [[_pack(k, tensors), _pack(v, tensors)] for k, v in value.items()]}
    if isinstance(value, tuple):
        return {"$tuple": [_pack(v, tensors) for v in value]}
    if isinstance(value, list):
        return [_pack(v, tensors) for v in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"a checkpoint cannot hold a {type(value).__name__}")


def _unpack(value: Any, tensors: dict[str, torch.Tensor]) -> Any:
    if isinstance(value, list):
        return [_unpack(v, tensors) for v in value]
    if not isinstance(value, dict):
        return value
    if "$tensor" in value:
        return tensors[value["$tensor"]]
    if "$tuple" in value:
        return tuple(_unpack(v, tensors) for v in value["$tuple"])
    if "$dict" in value:
        return {_unpack(k, tensors): _unpack(v, tensors) for k, v in value["$dict"]}
    return {k: _unpack(v, tensors) for k, v in value.items()}
