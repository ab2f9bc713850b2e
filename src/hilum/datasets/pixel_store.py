"""The pixel store: prepared films in one memory-mapped file, so that training reads at memory speed.

A folder of `images.npy` (n, h, w) uint8 or uint16, `masks.npy` (n, h, w) uint8 where asked for (0 background,
1 structure, 255 ignore), `index.parquet`, `windows.parquet` where films were prepared around their lungs,
`store.json`, and the ledger by which a build that was killed goes on where it stopped.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from hilum.datasets import preparing, store_files
from hilum.datasets.fingerprint import file_digest
from hilum.datasets.manifest import Manifest
from hilum.errors import DataError
from hilum.images.crop import Window
from hilum.images.preparation import Preparation

logger = logging.getLogger(__name__)

IGNORE = preparing.IGNORE
_WINDOWS_FILE = "windows.parquet"
_FLUSH_EVERY = 512  # films between two syncs: what a kill or a power cut costs at most
_WINDOWS = {
    "image_id": pl.String,
    "height": pl.Int64,
    "width": pl.Int64,
    **dict.fromkeys(("left", "top", "across", "down"), pl.Int64),
    "lungs_found": pl.Boolean,
}
_INDEX = {"row": pl.Int64, "image_id": pl.String, "path": pl.String, "digest": pl.String, "fault": pl.String}


@dataclass(frozen=True, eq=False)
class PixelStore:
    """A finished store. `images` and `masks` are read-only memory maps; index them with `rows`.

    Attributes
    ----------
    folder: where it lies. preparation: how its films were prepared.
    index: `row`, `image_id`, `path`, `digest` (SHA-256 of the film's file) of every film that could be read.
    failures: `image_id`, `path`, `fault` of every film that could not: `rows` refuses them.
    windows: where the preparation goes by the lungs, the part of each film that was prepared: `image_id`, the film's
        `height` and `width`, `left`, `top`, `across` and `down` of the window in its pixels, and whether
        `lungs_found`; else None.
    """

    folder: Path
    preparation: Preparation
    index: pl.DataFrame
    failures: pl.DataFrame
    images: np.memmap
    masks: np.memmap | None
    windows: pl.DataFrame | None = None

    def __len__(self) -> int:
        return self.index.height

    def __contains__(self, image_id: str) -> bool:
        return image_id in self._row_of

    @property
    def image_ids(self) -> list[str]:
        return self.index["image_id"].to_list()

    @cached_property
    def _row_of(self) -> dict[str, int]:
        return dict(zip(self.index["image_id"], self.index["row"], strict=True))

    @cached_property
    def window_of(self) -> dict[str, Window]:
        """The window of each film, where the preparation goes by the lungs; else empty. What was hidden is not kept."""
        rows = () if self.windows is None else self.windows.iter_rows()
        return {name: Window((height, width), *where) for name, height, width, *where in rows}

    def rows(self, image_ids: Sequence[str]) -> NDArray[np.int64]:
        """Row of each film in `images`. DataError names the first film that the store lacks and why."""
        lacking = [i for i in image_ids if i not in self._row_of]
        if lacking:
            fault = self.failures.filter(image_id=lacking[0])["fault"].to_list()
            why = f"it could not be read: {fault[0]}" if fault else "it was not in the manifest of the store"
            more = f" (and {len(lacking) - 1} more)" if len(lacking) > 1 else ""
            mend = "Leave such films out with PixelStore.readable(manifest)." if fault else None
            raise DataError(
                f"film '{lacking[0]}'{more} is not in the store: {why}", path=self.folder, mend=mend
            )
        return np.array([self._row_of[i] for i in image_ids], np.int64)

    def readable(self, manifest: Manifest) -> Manifest:
        """The manifest without the films that the store could not read."""
        return manifest.filter(~pl.col("image_id").is_in(self.failures["image_id"].to_list()))

    def verify(self) -> None:
        """Hold every byte to the hash taken when the store was built; DataError where it differs."""
        for name, digest in store_files.read_header(self.folder)["content"].items():
            if file_digest(self.folder / name) != digest:
                raise DataError(
                    f"'{name}' was changed after it was built", path=self.folder, mend=store_files.REBUILD
                )

    @classmethod
    def open(
        cls, folder: str | Path, *, preparation: Preparation | None = None, manifest: Manifest | None = None
    ) -> PixelStore:
        """A finished store; DataError where it is not finished, or is not what it should be.

        `preparation`: what the store must have been prepared with. `manifest`: films that must be in it,
        from the same paths; it may name fewer films than the store holds.
        """
        folder = Path(folder)
        header = store_files.read_header(folder)
        if not header["content"]:
            mend = "Build it again: it goes on where it stopped."
            raise DataError("this store is not finished", path=folder, mend=mend)
        made_by = Preparation.model_validate(header["preparation"])
        if preparation is not None and preparation.stored_digest != made_by.stored_digest:
            raise DataError(
                "the store holds films of another preparation", path=folder, mend=store_files.REBUILD
            )
        table = pl.read_parquet(folder / "index.parquet")
        good = pl.col("fault").is_null()
        store = cls(
            folder,
            made_by,
            table.filter(good).drop("fault"),
            table.filter(~good).select("image_id", "path", "fault"),
            np.load(folder / "images.npy", mmap_mode="r"),
            np.load(folder / "masks.npy", mmap_mode="r") if header["masks"] else None,
            pl.read_parquet(folder / _WINDOWS_FILE) if made_by.by_lungs is not None else None,
        )
        if manifest is not None:
            _hold_to(manifest, table, folder)
        return store


def build(
    manifest: Manifest,
    preparation: Preparation,
    folder: str | Path,
    *,
    masks: bool = False,
    workers: int | None = None,
    progress: bool = True,
    windows: preparing.Windows | None = None,
) -> PixelStore:
    """Prepare every film of the manifest into `folder`, or finish what a killed build left, and open it.

    `masks`: prepare the manifest's masks on the same grid; a film without one is IGNORE all over. `workers`:
    processes (default: one a core; 0 works in this process). Films that cannot be read are named in
    `failures` and in the log, and are tried again by the next build. `windows`: says which part of a film is
    prepared, where the preparation goes by the lungs. DataError where the folder holds a store of something else, or where
    a film's bytes are no longer those that its row was made of.
    """
    folder = Path(folder)
    if not len(manifest):
        raise DataError("the manifest has no films", path=folder)
    if masks and "mask" not in manifest.table.columns:
        raise DataError("the manifest has no masks", path=folder, mend="Build the store without masks.")
    if (windows is None) != (preparation.by_lungs is None):
        raise DataError(
            "a preparation that goes by the lungs, and no other, wants to be told the window of each film",
            path=folder,
        )
    store_files.lay_out(manifest, preparation, folder, masks)
    ledger = store_files.Ledger(folder, masks)
    ledger.hold_to_films(manifest, masks)
    todo = ledger.todo
    if not todo and store_files.read_header(folder)["content"]:
        return PixelStore.open(folder)
    if len(todo) < len(manifest):
        logger.info("%s: %d of %d films are there already", folder, len(manifest) - len(todo), len(manifest))
    workers = (os.cpu_count() or 1) if workers is None else workers
    tasks = preparing.tasks(manifest, todo, masks)
    for outcome in preparing.run(tasks, preparation, folder, workers, progress, windows):
        if outcome.fault is not None:
            logger.warning("%s: left out: %s", manifest.table["image_id"][outcome.row], outcome.fault)
        ledger.add(outcome, _FLUSH_EVERY)
    ledger.sync()
    _finish(manifest, folder, ledger.outcomes(), masks, focused=preparation.by_lungs is not None)
    return PixelStore.open(folder)


def verify(folder: str | Path) -> bool:
    """Hold a finished store to its hashes (`PixelStore.verify`); false where there is none to hold."""
    if not (Path(folder) / "store.json").is_file() or not store_files.read_header(Path(folder))["content"]:
        return False
    PixelStore.open(folder).verify()
    return True


def _finish(
    manifest: Manifest, folder: Path, outcomes: dict[int, preparing.Outcome], masks: bool, focused: bool
) -> None:
    rows = [
        (row, image_id, path, outcomes[row].digest, outcomes[row].fault)
        for row, (image_id, path) in enumerate(manifest.table.select("image_id", "path").rows())
    ]
    faults = [row for row in rows if row[4] is not None]
    if len(faults) == len(rows):
        raise DataError(f"none of the {len(rows)} films could be read; the first: {rows[0][4]}", path=folder)
    pl.DataFrame(rows, schema=_INDEX, orient="row").write_parquet(folder / "index.parquet")
    names = [*store_files.contents(masks), "index.parquet"]
    if focused:
        cut = [(image_id, outcomes[row].window) for row, image_id, _, _, fault in rows if fault is None]
        seen = [(image_id, *window[0], *window[1:]) for image_id, window in cut if window is not None]
        pl.DataFrame(seen, schema=_WINDOWS, orient="row").write_parquet(folder / _WINDOWS_FILE)
        names.append(_WINDOWS_FILE)
    content = {name: file_digest(folder / name) for name in names}
    store_files.write_header(folder, store_files.read_header(folder) | {"content": content})
    if faults:
        logger.warning(
            "%s: %d of %d films could not be read and are left out", folder, len(faults), len(rows)
        )


def _hold_to(manifest: Manifest, table: pl.DataFrame, folder: Path) -> None:
    stored = table.select("image_id", stored="path")
    joined = manifest.table.select("image_id", "path").join(stored, on="image_id", how="left")
    wrong = joined.filter(pl.col("stored").is_null() | (pl.col("stored") != pl.col("path")))
    if wrong.height:
        film, path, read_from = wrong.row(0)
        fault = "is not in it" if read_from is None else f"was read from '{read_from}', not from '{path}'"
        raise DataError(
            f"the store is of another manifest: film '{film}' {fault}", path=folder, mend=store_files.REBUILD
        )
