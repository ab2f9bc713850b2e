from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import polars as pl
import pytest

import hilum
from hilum.datasets import pixel_store, preparing, store_files
from hilum.datasets.fingerprint import file_digest
from hilum.datasets.manifest import Manifest
from hilum.datasets.pixel_store import IGNORE, PixelStore, build
from hilum.errors import DataError
from hilum.images.preparation import Clahe, Preparation
from hilum.images.read import read
from tests.datasets.mini import film, mask

SMALL = Preparation(size=(24, 24))


def films(folder: Path, count: int, size: int = 32) -> Manifest:
    for n in range(count):
        film(folder / f"{n}.png", n, size)
    names = [str(n) for n in range(count)]
    return Manifest(pl.DataFrame({"image_id": names, "path": [f"{n}.png" for n in names]}), root=folder)


@pytest.mark.parametrize(
    "preparation",
    [SMALL, Preparation(size=(20, 30), aspect="pad", bits=16, clahe=Clahe(grid=2))],
    ids=["8 bit", "16 bit, padded, CLAHE"],
)
def test_holds_what_the_preparation_makes(preparation: Preparation, tmp_path: Path) -> None:
    manifest = films(tmp_path, 5)
    store = build(manifest, preparation, tmp_path / "s", workers=0, progress=False)
    assert store.images.dtype == (np.uint8 if preparation.bits == 8 else np.uint16)
    for row, path in zip(store.rows(manifest.image_ids), manifest.paths(), strict=True):
        np.testing.assert_array_equal(store.images[row], preparation.pixels(read(path).pixels))
    assert store.index["digest"].to_list() == [read(p).digest for p in manifest.paths()]
    store.verify()


def test_processes_make_the_same_bytes_and_name_what_they_cannot_read(tmp_path: Path) -> None:
    manifest = films(tmp_path, 24)
    (tmp_path / "5.png").write_bytes(b"")
    (tmp_path / "17.png").write_bytes((tmp_path / "17.png").read_bytes()[:90])
    alone = build(manifest, SMALL, tmp_path / "alone", workers=0, progress=False)
    pooled = build(manifest, SMALL, tmp_path / "pooled", workers=2, progress=False)
    np.testing.assert_array_equal(alone.images, pooled.images)
    for store in (alone, pooled):
        assert store.failures["image_id"].to_list() == ["5", "17"]
        assert "5.png" in store.failures["fault"][0]
        assert len(store) == 22
        assert "5" not in store
        assert len(store.readable(manifest)) == 22
        with pytest.raises(DataError, match="film '5' is not in the store: it could not be read"):
            store.rows(["4", "5"])
    film(tmp_path / "5.png", 5)  # mended: the next build takes it in
    again = build(manifest, SMALL, tmp_path / "alone", workers=0, progress=False)
    assert again.failures["image_id"].to_list() == ["17"]
    np.testing.assert_array_equal(again.images[5], SMALL.pixels(read(tmp_path / "5.png").pixels))
    again.verify()


def test_nothing_readable_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "0.png").write_bytes(b"no image")
    manifest = Manifest(pl.DataFrame({"image_id": ["0"], "path": ["0.png"]}), root=tmp_path)
    with pytest.raises(DataError, match="none of the 1 films could be read"):
        build(manifest, SMALL, tmp_path / "s", workers=0, progress=False)


def test_masks_follow_the_film_and_say_where_nothing_is_known(tmp_path: Path) -> None:
    manifest = films(tmp_path, 3)
    drawn = mask(tmp_path / "m0.png", 255, ignore=127)
    mask(tmp_path / "m1.png", 255, size=48)  # not its film's size
    columns = {"mask": ["m0.png", "m1.png", None], "mask_value": [255] * 3, "mask_ignore": [127] * 3}
    manifest = Manifest(
        manifest.table.with_columns(**{k: pl.Series(v) for k, v in columns.items()}), root=tmp_path
    )
    store = build(manifest, SMALL, tmp_path / "s", masks=True, workers=0, progress=False)
    assert store.masks is not None
    wanted = np.select([drawn == 255, drawn == 127], [1, IGNORE], 0).astype(np.uint8)
    np.testing.assert_array_equal(store.masks[0], SMALL.mask(wanted))
    assert (store.masks[2] == IGNORE).all()
    assert store.failures["image_id"].to_list() == ["1"]
    assert "(48, 48)" in store.failures["fault"][0]


def test_a_store_is_held_to_what_it_was_built_from(tmp_path: Path) -> None:
    manifest = films(tmp_path, 4)
    build(manifest, SMALL, tmp_path / "s", workers=0, progress=False)
    PixelStore.open(tmp_path / "s", preparation=SMALL, manifest=manifest.filter(image_id="2"))
    other = Preparation(size=(24, 24), clahe=Clahe())
    with pytest.raises(DataError, match="another preparation"):
        PixelStore.open(tmp_path / "s", preparation=other)
    with pytest.raises(DataError, match="a store of another preparation"):
        build(manifest, other, tmp_path / "s", workers=0, progress=False)
    moved = Manifest(manifest.table.with_columns(path=pl.lit("0.png")), root=tmp_path)
    with pytest.raises(DataError, match=r"film '1' was read from '1\.png', not from '0\.png'"):
        PixelStore.open(tmp_path / "s", manifest=moved)
    with pytest.raises(DataError, match="a store of another manifest"):
        build(moved, SMALL, tmp_path / "s", workers=0, progress=False)
    with pytest.raises(DataError, match="was not in the manifest"):
        PixelStore.open(tmp_path / "s").rows(["nobody"])
    with pytest.raises(DataError, match="not empty"):
        build(manifest, SMALL, tmp_path, workers=0, progress=False)
    with pytest.raises(DataError, match="no pixel store"):
        PixelStore.open(tmp_path / "none")


def test_films_of_the_same_names_elsewhere_are_not_taken_for_these(tmp_path: Path) -> None:
    """Two roots, one table: the second once got the first one's pixels."""
    here = films(tmp_path / "here", 4)
    for n in range(4):
        film(tmp_path / "there" / f"{n}.png", 50 + n, 32)
    there = Manifest(here.table, root=tmp_path / "there")
    assert here.digest == there.digest
    build(here, SMALL, tmp_path / "s", workers=0, progress=False)
    with pytest.raises(
        DataError, match=r"there/0\.png' is not the file .*\(nor are 3 more\).*Remove"
    ) as caught:
        build(there, SMALL, tmp_path / "s", workers=0, progress=False)
    assert caught.value.mend
    build(here, SMALL, tmp_path / "s", workers=0, progress=False)


def test_a_film_written_again_in_place_is_found(tmp_path: Path) -> None:
    manifest = films(tmp_path, 4)
    build(manifest, SMALL, tmp_path / "s", workers=0, progress=False)
    film(tmp_path / "2.png", 77, 32)
    with pytest.raises(DataError, match=r"2\.png' is not the file that it was then\."):
        build(manifest, SMALL, tmp_path / "s", workers=0, progress=False)


def test_a_half_built_store_is_held_to_its_films_too(tmp_path: Path) -> None:
    manifest = films(tmp_path, 6)
    folder = tmp_path / "s"
    kept = half_built(manifest, folder)
    assert kept == 3
    film(tmp_path / "5.png", 77, 32)  # not prepared yet: its new pixels are the ones that count
    store = build(manifest, SMALL, folder, workers=0, progress=False)
    np.testing.assert_array_equal(store.images[5], SMALL.pixels(read(tmp_path / "5.png").pixels))
    half_built(manifest, tmp_path / "t")
    film(tmp_path / "1.png", 78, 32)
    with pytest.raises(DataError, match=r"1\.png' is not the file"):
        build(manifest, SMALL, tmp_path / "t", workers=0, progress=False)


def half_built(manifest: Manifest, folder: Path) -> int:
    """A store whose build was stopped at the fourth film; the number of its rows that are done."""
    original = preparing.prepare_one

    def stop(task: preparing.Task, *rest: object) -> preparing.Outcome:
        if task.row == 3:
            raise KeyboardInterrupt
        return original(task, *rest)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(preparing, "prepare_one", stop)
        patch.setattr(pixel_store, "_FLUSH_EVERY", 1)
        with pytest.raises(KeyboardInterrupt):
            build(manifest, SMALL, folder, workers=0, progress=False)
    return int((np.load(folder / "done.npy") == 1).sum())


def test_films_that_were_copied_touched_or_put_away_are_the_same_films(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = films(tmp_path / "here", 4)
    first = build(manifest, SMALL, tmp_path / "s", workers=0, progress=False)
    shutil.copytree(tmp_path / "here", tmp_path / "there", copy_function=shutil.copyfile)
    os.utime(tmp_path / "there" / "1.png", ns=(1, 1))
    there = Manifest(manifest.table, root=tmp_path / "there")
    again = build(there, SMALL, tmp_path / "s", workers=0, progress=False)
    assert again.index.equals(first.index)
    again.verify()

    read_again: list[object] = []
    monkeypatch.setattr(store_files, "file_digest", lambda path: read_again.append(path) or "")
    build(there, SMALL, tmp_path / "s", workers=0, progress=False)
    assert read_again == [], "the new times were noted"
    shutil.rmtree(tmp_path / "there")
    assert len(build(there, SMALL, tmp_path / "s", workers=0, progress=False)) == 4


def test_a_store_of_a_version_that_took_no_times_is_held_to_its_digests(tmp_path: Path) -> None:
    manifest = films(tmp_path, 3)
    build(manifest, SMALL, tmp_path / "s", workers=0, progress=False)
    journal = tmp_path / "s" / "journal.jsonl"
    lines = [json.loads(line)[:3] for line in journal.read_text().splitlines()]
    journal.write_text("".join(json.dumps(line) + "\n" for line in lines))
    build(manifest, SMALL, tmp_path / "s", workers=0, progress=False)
    assert all(len(json.loads(line)) == 5 for line in journal.read_text().splitlines()[3:])
    journal.write_text("".join(json.dumps(line) + "\n" for line in lines))
    film(tmp_path / "1.png", 77, 32)
    with pytest.raises(DataError, match=r"1\.png' is not the file"):
        build(manifest, SMALL, tmp_path / "s", workers=0, progress=False)


def test_a_mask_drawn_again_is_found(tmp_path: Path) -> None:
    manifest = films(tmp_path, 2)
    for n in range(2):
        mask(tmp_path / f"m{n}.png", 255)
    columns = {"mask": ["m0.png", "m1.png"], "mask_value": [255] * 2}
    table = manifest.table.with_columns(**{k: pl.Series(v) for k, v in columns.items()})
    manifest = Manifest(table, root=tmp_path)
    build(manifest, SMALL, tmp_path / "s", masks=True, workers=0, progress=False)
    os.utime(tmp_path / "m0.png", ns=(1, 1))
    build(manifest, SMALL, tmp_path / "s", masks=True, workers=0, progress=False)
    mask(tmp_path / "m1.png", 200)
    with pytest.raises(DataError, match="other pixels"):
        build(manifest, SMALL, tmp_path / "s", masks=True, workers=0, progress=False)


def test_a_changed_byte_is_found(tmp_path: Path) -> None:
    store = build(films(tmp_path, 3), SMALL, tmp_path / "s", workers=0, progress=False)
    store.verify()
    with (tmp_path / "s" / "images.npy").open("r+b") as file:
        file.seek(-7, os.SEEK_END)
        byte = file.read(1)
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte[0] ^ 1]))
    with pytest.raises(DataError, match=r"'images.npy' was changed"):
        store.verify()


_BUILD = """
import sys
from pathlib import Path
from hilum.datasets import pixel_store, preparing
from hilum.datasets.manifest import Manifest
from hilum.images.preparation import Preparation

if __name__ == "__main__":
    pixel_store._FLUSH_EVERY = 4
    manifest = Manifest.load(sys.argv[1])
    wanted = Preparation(size=(24, 24))
    pixel_store.build(manifest, wanted, sys.argv[2], workers=int(sys.argv[3]), progress=False)
"""


@pytest.mark.parametrize("workers", [0, 2])
def test_a_killed_build_goes_on_where_it_stopped(workers: int, tmp_path: Path) -> None:
    manifest = films(tmp_path / "films", 400, size=64)
    manifest.save(tmp_path / "m.parquet")
    script = tmp_path / "build.py"
    script.write_text(_BUILD)
    store = tmp_path / "s"
    source = str(Path(hilum.__file__).parents[1])
    process = subprocess.Popen(
        [sys.executable, str(script), str(tmp_path / "m.parquet"), str(store), str(workers)],
        env=os.environ | {"PYTHONPATH": source},
    )
    journal = store / "journal.jsonl"
    while process.poll() is None and not (journal.is_file() and journal.stat().st_size):
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    done = int((np.load(store / "done.npy") == 1).sum())
    assert done < 400, "the build ended before it was killed"
    with pytest.raises(DataError, match="not finished"):
        PixelStore.open(store)

    with journal.open("a") as file:
        file.write('[3, "cut off in the mid')  # as a power cut would leave it
        file.write("\n")
    prepared: list[int] = []
    original = preparing.prepare_one
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            preparing, "prepare_one", lambda task, *rest: prepared.append(task.row) or original(task, *rest)
        )
        resumed = build(manifest, SMALL, store, workers=0, progress=False)
    assert len(prepared) == 400 - done, "films that were done are not done again"
    whole = build(manifest, SMALL, tmp_path / "whole", workers=0, progress=False)
    assert file_digest(store / "images.npy") == file_digest(tmp_path / "whole" / "images.npy")
    assert resumed.index.equals(whole.index)


_CRASH = """
import os, sys
from hilum.datasets import pixel_store, preparing
from hilum.datasets.manifest import Manifest
from hilum.images import read as module
from hilum.images.preparation import Preparation

plain = module.read
def read(path):
    if str(path).endswith("7.png"):
        os._exit(139)  # what a crash in a codec does to its process
    return plain(path)
module.read = read

if __name__ == "__main__":
    manifest = Manifest.load(sys.argv[1])
    store = pixel_store.build(manifest, Preparation(size=(24, 24)), sys.argv[2], workers=2, progress=False)
    print(",".join(store.failures["image_id"]))
"""


def test_a_film_that_crashes_its_process_is_named_and_the_others_are_kept(tmp_path: Path) -> None:
    manifest = films(tmp_path / "films", 20)
    manifest.save(tmp_path / "m.parquet")
    script = tmp_path / "crash.py"
    script.write_text(_CRASH)
    source = str(Path(hilum.__file__).parents[1])
    done = subprocess.run(
        [sys.executable, str(script), str(tmp_path / "m.parquet"), str(tmp_path / "s")],
        env=os.environ | {"PYTHONPATH": source},
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    assert done.stdout.strip() == "7,17"
    store = PixelStore.open(tmp_path / "s")
    assert len(store) == 18
    assert "ended the process" in store.failures["fault"][0]
