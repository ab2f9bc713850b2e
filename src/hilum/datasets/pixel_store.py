"""The pixel store: prepared films in one memory-mapped file, so that training reads at memory speed.

A folder of `images.npy` (n, h, w) uint8 or uint16, `masks.npy` (n, h, w) uint8 where asked for (0 background,
1 structure, 255 ignore), `done.npy` (n,) a flag a row, `index.parquet` and `store.json`. Rows are written in place by
worker processes and flagged after they are on disk, so a build that was killed goes on where it stopped.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from hilum.datasets import preparing
from hilum.datasets.manifest import Manifest
from hilum.errors import DataError
from hilum.images.preparation import Preparation

logger = logging.getLogger(__name__)

IGNORE = preparing.IGNORE
_PENDING, _OK = 0, 1
_FLUSH_EVERY = 512  # films between two msyncs: what a power cut costs at most
_INDEX = {"row": pl.Int64, "image_id": pl.String, "path": pl.String, "digest": pl.String, "fault": pl.String}


@dataclass(frozen=True, eq=False)
class PixelStore:
    """A finished store. `images` and `masks` are read-only memory maps; index them with `rows`.

    Attributes
    ----------
    folder: where it lies. preparation: how its films were prepared.
    index: `row`, `image_id`, `path`, `digest` (SHA-256 of the film's file) of every film that could be read.
    failures: `image_id`, `path`, `fault` of every film that could not: they are in no row that `rows` returns.
    """

    folder: Path
    preparation: Preparation
    index: pl.DataFrame
    failures: pl.DataFrame
    images: np.memmap
    masks: np.memmap | None

    def __len__(self) -> int:
        return self.index.height

    @property
    def image_ids(self) -> list[str]:
        return self.index["image_id"].to_list()

    @cached_property
    def _row_of(self) -> dict[str, int]:
        return dict(zip(self.index["image_id"], self.index["row"], strict=True))

    def __contains__(self, image_id: str) -> bool:
        return image_id in self._row_of

    def rows(self, image_ids: Sequence[str]) -> NDArray[np.int64]:
        """Row of each film in `images`. DataError names the first film that the store lacks and why."""
        lacking = [i for i in image_ids if i not in self._row_of]
        if lacking:
            fault = self.failures.filter(image_id=lacking[0])["fault"].to_list()
            why = f"it could not be read: {fault[0]}" if fault else "it was not in the manifest of the store"
            more = f" (and {len(lacking) - 1} more)" if len(lacking) > 1 else ""
            raise DataError(f"film '{lacking[0]}'{more} is not in the store: {why}", path=self.folder)
        return np.array([self._row_of[i] for i in image_ids], np.int64)

    def readable(self, manifest: Manifest) -> Manifest:
        """The manifest without the films that the store could not read."""
        return manifest.filter(~pl.col("image_id").is_in(self.failures["image_id"].to_list()))

    def verify(self) -> None:
        """Read every byte and hold it to the hash taken when the store was built; DataError where it differs."""
        written = _read_header(self.folder)
        for name, digest in written["content"].items():
            if _file_digest(self.folder / name) != digest:
                raise DataError(f"'{name}' was changed after it was built", path=self.folder, mend=_REBUILD)

    @classmethod
    def open(
        cls, folder: str | Path, *, preparation: Preparation | None = None, manifest: Manifest | None = None
    ) -> PixelStore:
        """A finished store; DataError where it is not finished, or was built by another preparation or from other files.

        `preparation`: what the store must have been prepared with. `manifest`: films that must be in it, from the
        same paths; it may name fewer films than the store holds.
        """
        folder = Path(folder)
        header = _read_header(folder)
        if not header.get("content"):
            raise DataError(
                "this store is not finished", path=folder, mend="Build it again: it goes on where it stopped."
            )
        made_by = Preparation.model_validate(header["preparation"])
        if preparation is not None and preparation.stored_digest != made_by.stored_digest:
            raise DataError("this store holds films of another preparation", path=folder, mend=_REBUILD)
        table = pl.read_parquet(folder / "index.parquet")
        good = pl.col("fault").is_null()
        masks = np.load(folder / "masks.npy", mmap_mode="r") if header["masks"] else None
        store = cls(
            folder,
            made_by,
            table.filter(good).drop("fault"),
            table.filter(~good).select("image_id", "path", "fault"),
            np.load(folder / "images.npy", mmap_mode="r"),
            masks,
        )
        if manifest is not None:
            store._hold_to(manifest, table)
        return store

    def _hold_to(self, manifest: Manifest, table: pl.DataFrame) -> None:
        joined = manifest.table.select("image_id", "path").join(
            table.select("image_id", stored="path"), on="image_id", how="left"
        )
        wrong = joined.filter(pl.col("stored").is_null() | (pl.col("stored") != pl.col("path")))
        if wrong.height:
            film, path, stored = wrong.row(0)
            fault = (
                "is not in it" if stored is None else f"was read from '{stored}', the manifest says '{path}'"
            )
            raise DataError(
                f"the store is of another manifest: film '{film}' {fault}", path=self.folder, mend=_REBUILD
            )


_REBUILD = "Remove the folder and build it again."


def build(
    manifest: Manifest,
    preparation: Preparation,
    folder: str | Path,
    *,
    masks: bool = False,
    workers: int | None = None,
    progress: bool = True,
) -> PixelStore:
    """Prepare every film of the manifest into `folder`, or finish what a killed build left, and open it.

    `masks`: prepare the manifest's masks on the same grid; a film without one is IGNORE all over. `workers`: processes
    (default: one a core; 0 works in this process). Films that cannot be read are named in `failures` and in the log,
    and are tried again by the next build. DataError where the folder holds a store of something else.
    """
    folder = Path(folder)
    if not len(manifest):
        raise DataError("the manifest has no films", path=folder)
    if masks and "mask" not in manifest.table.columns:
        raise DataError("the manifest has no masks", path=folder, mend="Build the store without masks.")
    _lay_out(manifest, preparation, folder, masks)
    done = np.load(folder / "done.npy", mmap_mode="r+")
    todo = np.flatnonzero(done != _OK)
    if not len(todo) and _read_header(folder).get("content"):
        return PixelStore.open(folder)
    if 0 < len(todo) < len(done):
        logger.info("%s: %d of %d films are there already", folder, len(done) - len(todo), len(done))
    index = {row: (digest, fault) for row, digest, fault in _read_journal(folder)}
    maps = [np.load(folder / name, mmap_mode="r+") for name in _contents(masks)]
    tasks = preparing.tasks(manifest, todo, masks)
    unflushed: list[preparing.Outcome] = []

    def commit() -> None:
        for array in maps:
            array.flush()
        with (folder / "journal.jsonl").open("a", encoding="utf-8") as journal:
            journal.writelines(json.dumps([o.row, o.digest, o.fault]) + "\n" for o in unflushed)
            journal.flush()
            os.fsync(journal.fileno())
        done[[o.row for o in unflushed if o.fault is None]] = _OK
        done.flush()
        unflushed.clear()

    workers = (os.cpu_count() or 1) if workers is None else workers
    for outcome in preparing.run(tasks, preparation, folder, workers, progress):
        if outcome.fault is not None:
            logger.warning("%s: left out: %s", manifest.table["image_id"][outcome.row], outcome.fault)
        index[outcome.row] = (outcome.digest, outcome.fault)
        unflushed.append(outcome)
        if len(unflushed) >= _FLUSH_EVERY:
            commit()
    commit()
    del done, maps
    _finish(manifest, folder, index, masks)
    return PixelStore.open(folder)


def _contents(masks: bool) -> list[str]:
    return ["images.npy", "masks.npy"] if masks else ["images.npy"]


def _lay_out(manifest: Manifest, preparation: Preparation, folder: Path, masks: bool) -> None:
    """Make the empty files of a new store, or check that the folder holds a store of exactly this."""
    identity = {
        "version": 1,
        "films": _films_digest(manifest, masks),
        "stored_digest": preparation.stored_digest,
        "masks": masks,
    }
    if (folder / "store.json").is_file():
        written = _read_header(folder)
        for key, fault in (
            ("version", "of another version of Hilum"),
            ("films", "of another manifest"),
            ("stored_digest", "of another preparation"),
            ("masks", "with masks" if written.get("masks") else "without masks"),
        ):
            if written.get(key) != identity[key]:
                raise DataError(
                    f"the folder holds a store {fault}", path=folder, mend="Choose another folder."
                )
        return
    if folder.exists() and any(p.name != "store.json.part" and p.suffix != ".npy" for p in folder.iterdir()):
        raise DataError(
            "the folder is not empty and holds no store", path=folder, mend="Choose another folder."
        )
    folder.mkdir(parents=True, exist_ok=True)
    shape = (len(manifest), *preparation.size)
    pixels = np.uint8 if preparation.bits == 8 else np.uint16
    for name, dtype, size in (
        ("images.npy", pixels, shape),
        *([("masks.npy", np.uint8, shape)] if masks else []),
        ("done.npy", np.uint8, shape[:1]),
    ):
        np.lib.format.open_memmap(folder / name, mode="w+", dtype=dtype, shape=size).flush()
    _write_header(folder, identity | {"preparation": preparation.model_dump(mode="json"), "content": {}})


def _finish(
    manifest: Manifest, folder: Path, index: dict[int, tuple[str | None, str | None]], masks: bool
) -> None:
    rows = [
        (row, image_id, path, *index[row])
        for row, (image_id, path) in enumerate(manifest.table.select("image_id", "path").rows())
    ]
    pl.DataFrame(rows, schema=_INDEX, orient="row").write_parquet(folder / "index.parquet")
    faults = sum(fault is not None for _, fault in index.values())
    if faults == len(rows):
        raise DataError(f"none of the {faults} films could be read; the first: {rows[0][4]}", path=folder)
    content = {name: _file_digest(folder / name) for name in (*_contents(masks), "index.parquet")}
    _write_header(folder, _read_header(folder) | {"content": content})
    if faults:
        logger.warning("%s: %d of %d films could not be read and are left out", folder, faults, len(rows))


def _films_digest(manifest: Manifest, masks: bool) -> str:
    columns = ["image_id", "path", *(c for c in ("mask", "mask_value", "mask_ignore") if masks)]
    sha = hashlib.sha256()
    for row in manifest.table.select(c for c in columns if c in manifest.table.columns).iter_rows():
        sha.update(repr(row).encode())
    return sha.hexdigest()


def _read_header(folder: Path) -> dict:
    try:
        return json.loads((folder / "store.json").read_text(encoding="utf-8"))
    except FileNotFoundError as fault:
        mend = "Build one with: hilum data store"
        raise DataError("no pixel store is here", path=folder, mend=mend) from fault
    except ValueError as fault:
        raise DataError("store.json is damaged", path=folder, mend=_REBUILD) from fault


def _write_header(folder: Path, header: dict) -> None:
    part = folder / "store.json.part"
    part.write_text(json.dumps(header, indent=1), encoding="utf-8")
    part.replace(folder / "store.json")  # at once: a header is whole or absent


def _read_journal(folder: Path) -> list[tuple[int, str | None, str | None]]:
    """What earlier builds wrote of the films that they finished; a last line cut by a kill is passed over."""
    path = folder / "journal.jsonl"
    if not path.is_file():
        return []
    entries = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            row, digest, fault = json.loads(line)
        except ValueError:
            continue
        entries.append((row, digest, fault))
    return entries


def _file_digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
