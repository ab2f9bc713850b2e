"""What cannot be: missing data, weights that do not fit, a device that is not there, a disk that is full."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import save_file

from hilum.datasets import store_files
from hilum.errors import BundleError, DataError, HilumError, ManifestError, RecipeError
from hilum.learning import checkpoints, run, writing
from hilum.learning.history import History
from hilum.learning.material import gather
from hilum.learning.recipe import Recipe
from hilum.learning.run import train
from hilum.learning.writing import WriteError
from tests.learning.conftest import same, trained_weights

Make = Callable[..., Recipe]


def full() -> OSError:
    return OSError(errno.ENOSPC, "No space left on device")


def test_a_missing_data_folder_is_named(recipe: Make, tmp_path: Path):
    with pytest.raises(DataError, match="no such folder") as caught:
        train(recipe(data={"sources": [{"source": "nih14", "root": "none"}]}), tmp_path / "run")
    assert caught.value.path is not None
    assert caught.value.path.name == "none"
    with pytest.raises(ManifestError, match="no such manifest") as missing:
        train(recipe(data={"sources": [], "manifest": str(tmp_path / "none.parquet")}), tmp_path / "other")
    assert missing.value.path == tmp_path / "none.parquet"


def test_weights_of_another_shape_are_named(recipe: Make, tmp_path: Path):
    right = run.build_model(recipe()).state_dict()
    wrong = {k: torch.zeros(2, 3) if k.endswith("conv_stem.weight") else v for k, v in right.items()}
    save_file({k: v.contiguous() for k, v in wrong.items()}, tmp_path / "wrong.safetensors")
    choice = recipe().model.model_copy(update={"pretrained": str(tmp_path / "wrong.safetensors")})
    with pytest.raises(BundleError, match=r"1 of another shape, such as conv_stem\.weight") as caught:
        train(recipe(model=choice.model_dump()), tmp_path / "run")
    assert caught.value.path == tmp_path / "wrong.safetensors"
    assert not (tmp_path / "run" / "bundle").exists()


def test_a_device_that_is_not_there(recipe: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(RecipeError, match="no CUDA device"):
        train(recipe(), tmp_path / "run", device="cuda")
    with pytest.raises(RecipeError, match="no device 'tpu'"):
        train(recipe(), tmp_path / "run", device="tpu")
    assert not (tmp_path / "run").exists()


def fill(monkeypatch: pytest.MonkeyPatch, after: int, error: Exception) -> None:
    """The disk is full when checkpoint number `after` is half written."""
    left = [after]

    def save(tensors: dict[str, torch.Tensor], path: Path, metadata: Any = None) -> None:
        left[0] -= 1
        if not left[0]:
            Path(path).write_bytes(b"half")
            raise error
        save_file(tensors, path, metadata)

    monkeypatch.setattr(checkpoints, "save_file", save)


@pytest.mark.parametrize("error", [full(), SafetensorError("I/O error: No space left on device")], ids=str)
def test_a_full_disk_names_the_file_and_the_run_goes_on_when_there_is_room(
    error: Exception, recipe: Make, tmp_path: Path
):
    """The fourth checkpoint is the second epoch's `last`, or its `best`."""
    train(recipe(), tmp_path / "undisturbed")
    with pytest.MonkeyPatch.context() as patch:
        fill(patch, 3, error)
        with pytest.raises(WriteError, match="No space left") as caught:
            train(recipe(), tmp_path / "run")
    assert caught.value.path is not None
    assert caught.value.path.suffix == ".safetensors"
    place = tmp_path / "run" / "phases" / "0-only"
    assert not list(place.glob(".*.part"))
    assert checkpoints.read(place / "last.safetensors")["epoch"] == 0
    assert not (place / "finished.json").exists()
    assert not (tmp_path / "run" / "bundle").exists()
    train(recipe(), tmp_path / "run")
    assert same(trained_weights(tmp_path / "run"), trained_weights(tmp_path / "undisturbed"))


def test_a_disk_that_fills_under_a_small_file_keeps_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    writing.write_whole(tmp_path / "a.json", "old")
    history = History(tmp_path)
    history.forget("x", 0)
    before = (tmp_path / "history.csv").read_text()
    write, replace = Path.write_text, Path.replace

    def half(path: Path, text: str, *given: Any, **options: Any) -> int:
        write(path, text[:1])
        raise full()

    def no_room(path: Path, target: Any) -> Path:
        raise full()

    monkeypatch.setattr(Path, "write_text", half)
    with pytest.raises(WriteError, match="No space left") as caught:
        writing.write_whole(tmp_path / "a.json", "new")
    assert caught.value.path == tmp_path / "a.json"
    monkeypatch.setattr(Path, "replace", no_room)
    with pytest.raises(WriteError) as second:
        history.add("x", 0, 1e-3, {"training/loss": 1, "validation/loss": 1, "validation/score": 1})
    assert second.value.path == tmp_path / "history.csv"
    monkeypatch.setattr(Path, "replace", replace)
    assert (tmp_path / "a.json").read_text() == "old"
    assert (tmp_path / "history.csv").read_text() == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.json", "history.csv"]


def test_a_disk_that_fills_under_the_bundle_leaves_no_bundle(
    recipe: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    wish = recipe(phases=[{"name": "a", "epochs": 1, "batch": 8}])
    with monkeypatch.context() as patch:

        def no_room(*_: Any) -> None:
            raise full()

        patch.setattr(run, "save", no_room)
        with pytest.raises(WriteError, match="No space left") as caught:
            train(wish, tmp_path / "run")
    assert caught.value.path == tmp_path / "run" / "bundle"
    assert run.finished(wish, tmp_path / "run") is None
    assert train(wish, tmp_path / "run").is_dir()


def test_a_disk_without_room_for_the_store_is_said_before_a_film_is_read(recipe: Make, tmp_path: Path):
    """Pages of a sparse file that find no room would kill the process (SIGBUS): room is taken first."""
    store = tmp_path / "stores"
    with pytest.MonkeyPatch.context() as patch:

        def no_room(*_: Any) -> None:
            raise full()

        patch.setattr(store_files.os, "posix_fallocate", no_room)
        with pytest.raises(HilumError, match="no room") as caught:
            train(recipe(data={"store": str(store)}), tmp_path / "run")
    assert str(store) in str(caught.value.path)
    assert not [p for p in store.rglob("*.npy")]
    train(recipe(data={"store": str(store)}), tmp_path / "run")
    shutil.rmtree(store)


def test_a_disk_that_fills_under_the_stores_header_names_the_store(
    recipe: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def no_room(*_: Any) -> None:
        raise full()

    with monkeypatch.context() as patch:
        patch.setattr(store_files, "write_header", no_room)
        with pytest.raises(WriteError, match="No space left") as caught:
            train(recipe(data={"store": str(tmp_path / "stores")}), tmp_path / "run")
    assert caught.value.path is not None
    assert caught.value.path.parent == tmp_path / "stores"
    assert train(recipe(data={"store": str(tmp_path / "stores")}), tmp_path / "run").is_dir()


def test_a_store_that_changed_since_it_was_built_is_refused(recipe: Make, tmp_path: Path):
    wish = recipe(data={"store": str(tmp_path / "stores")})
    gather(wish)
    (images,) = (tmp_path / "stores").rglob("images.npy")
    with images.open("r+b") as file:
        file.seek(-1, 2)
        last = file.read(1)
        file.seek(-1, 2)
        file.write(bytes([last[0] ^ 1]))
    with pytest.raises(DataError, match="changed after it was built") as caught:
        gather(wish)
    assert caught.value.path == images.parent
