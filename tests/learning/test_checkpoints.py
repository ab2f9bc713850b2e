"""Checkpoints: what goes in comes out, whole or not at all, and never through a pickle."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from hilum.learning.checkpoints import CheckpointError, SafetensorsIO, read

DTYPES = [
    torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.uint8, torch.int8, torch.int16, torch.int32,
    torch.int64, torch.bool,
]  # fmt: skip


def equal(a: Any, b: Any) -> bool:
    if isinstance(a, torch.Tensor):
        return isinstance(b, torch.Tensor) and a.dtype == b.dtype and a.shape == b.shape and torch.equal(a, b)
    if isinstance(a, dict):
        return isinstance(b, dict) and list(a) == list(b) and all(equal(a[k], b[k]) for k in a)
    if isinstance(a, list | tuple):
        return type(a) is type(b) and len(a) == len(b) and all(map(equal, a, b))
    return type(a) is type(b) and a == b


TREE: dict[str, Any] = {
    "state_dict": {"a.weight": torch.arange(6.0).view(2, 3), "a.count": torch.tensor(3)},
    "optimizer_states": [
        {"state": {0: {"exp_avg": torch.ones(2)}, 1: {}}, "param_groups": [{"betas": (0.9, 0.999)}]}
    ],
    "none": None,
    "numbers": [1, 2.5, True, -0.0, 1e300, float("inf")],
    "text": "é\n\x00",
    "nested": ((), [], {}, ({"x": (torch.zeros(0),)},)),
    "keys": {1: "int", "1": "text", 2.5: "float", None: "none", (1, 2): "tuple"} | {"$tensor": "0"},
}


def test_a_nested_tree_comes_back(tmp_path: Path):
    SafetensorsIO().save_checkpoint(TREE, tmp_path / "sub" / "a.safetensors")
    assert equal(TREE, SafetensorsIO().load_checkpoint(tmp_path / "sub" / "a.safetensors"))
    assert [p.name for p in (tmp_path / "sub").iterdir()] == ["a.safetensors"]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_tensors_of_every_kind(dtype: torch.dtype, tmp_path: Path):
    values = torch.tensor([[0, 1, 2], [3, 100, 7]]).to(dtype)
    tree = {"plain": values, "turned": values.T, "scalar": values[0, 1], "shared": values}
    tree["last"] = torch.ones(2, 3, 4, 4).to(dtype).to(memory_format=torch.channels_last)
    SafetensorsIO().save_checkpoint(tree, tmp_path / "a")
    assert equal(tree, read(tmp_path / "a"))


def test_what_is_saved_is_not_what_changes_later(tmp_path: Path):
    weight = torch.zeros(3, requires_grad=True)
    SafetensorsIO().save_checkpoint({"w": weight}, tmp_path / "a")
    assert not read(tmp_path / "a")["w"].requires_grad


@pytest.mark.parametrize("keep", [0, 4, 100, 0.5, 0.99])
def test_a_truncated_file_is_refused(keep: float, tmp_path: Path):
    path = tmp_path / "a.safetensors"
    SafetensorsIO().save_checkpoint(TREE, path)
    whole = path.read_bytes()
    path.write_bytes(whole[: keep if isinstance(keep, int) else int(keep * len(whole))])
    with pytest.raises(CheckpointError) as caught:
        read(path)
    assert caught.value.path == path
    assert caught.value.mend


def test_other_files_and_none_are_refused(tmp_path: Path):
    from safetensors.torch import save_file

    save_file({"w": torch.zeros(1)}, tmp_path / "weights.safetensors")
    torch.save({"w": 1}, tmp_path / "pickle.ckpt")
    for name in ("weights.safetensors", "pickle.ckpt", "none"):
        with pytest.raises(CheckpointError):
            read(tmp_path / name)


def test_what_has_no_place_in_it_is_refused_and_the_old_file_stays(tmp_path: Path):
    path = tmp_path / "a"
    SafetensorsIO().save_checkpoint({"epoch": 1}, path)
    with pytest.raises(TypeError, match="object"):
        SafetensorsIO().save_checkpoint({"epoch": object()}, path)
    assert read(path) == {"epoch": 1}


def test_remove(tmp_path: Path):
    SafetensorsIO().save_checkpoint({}, tmp_path / "a")
    SafetensorsIO().remove_checkpoint(tmp_path / "a")
    SafetensorsIO().remove_checkpoint(tmp_path / "a")
    assert not (tmp_path / "a").exists()
