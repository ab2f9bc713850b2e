"""The files of a pixel store: its header, its ledger of finished rows, and what keeps both whole through a
kill.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from hilum.datasets.manifest import Manifest
from hilum.datasets.preparing import Outcome
from hilum.errors import DataError
from hilum.images.preparation import Preparation

REBUILD = "Remove the folder and build it again."
_OK = 1


class Ledger:
    """Which rows of a store are on disk, through any number of builds.

    `done.npy` holds a flag a row, `journal.jsonl` a line a film (row, digest, fault). A row is flagged only
    after
    its pixels and its line were synced: after a kill it is either whole or prepared again.
    """

    def __init__(self, folder: Path, masks: bool) -> None:
        self._done = np.load(folder / "done.npy", mmap_mode="r+")
        self._maps = [np.load(folder / name, mmap_mode="r+") for name in contents(masks)]
        self._journal = folder / "journal.jsonl"
        self._unwritten: list[Outcome] = []

    @property
    def todo(self) -> list[int]:
        """Rows that are not on disk: not begun, cut off, or of a film that could not be read."""
        return np.flatnonzero(self._done != _OK).tolist()

    def add(self, outcome: Outcome, flush_every: int) -> None:
        """Note a film; sync after every `flush_every` of them."""
        self._unwritten.append(outcome)
        if len(self._unwritten) >= flush_every:
            self.sync()

    def sync(self) -> None:
        """Pixels, then journal, then flags to disk, in this order."""
        for array in self._maps:
            array.flush()
        with self._journal.open("a", encoding="utf-8") as journal:
            journal.writelines(json.dumps([o.row, o.digest, o.fault]) + "\n" for o in self._unwritten)
            journal.flush()
            os.fsync(journal.fileno())
        self._done[[o.row for o in self._unwritten if o.fault is None]] = _OK
        self._done.flush()
        self._unwritten.clear()

    def outcomes(self) -> dict[int, Outcome]:
        """The last outcome of every row; a line that a kill cut short is passed over."""
        found = {}
        for line in self._journal.read_text(encoding="utf-8").splitlines():
            try:
                outcome = Outcome(*json.loads(line))
            except (ValueError, TypeError):
                continue
            found[outcome.row] = outcome
        return found


def contents(masks: bool) -> list[str]:
    """The files that hold pixels."""
    return ["images.npy", "masks.npy"] if masks else ["images.npy"]


def lay_out(manifest: Manifest, preparation: Preparation, folder: Path, masks: bool) -> None:
    """Make the empty files of a new store, or check that the folder holds a store of exactly this."""
    identity = {
        "version": 1,
        "films": _films_digest(manifest, masks),
        "stored_digest": preparation.stored_digest,
        "masks": masks,
    }
    if (folder / "store.json").is_file():
        written = read_header(folder)
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
        _take_room(folder / name)
    write_header(folder, identity | {"preparation": preparation.model_dump(mode="json"), "content": {}})


def _take_room(path: Path) -> None:
    """Have the disk set the file's blocks aside: a sparse file that later finds no room kills its writer (SIGBUS)."""
    if not hasattr(os, "posix_fallocate"):  # macOS and Windows
        return
    size = path.stat().st_size
    try:
        with path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, size)
    except OSError as fault:
        if fault.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            return  # this file system cannot set blocks aside
        for made in path.parent.glob("*.npy"):
            made.unlink()
        raise DataError(
            f"there is no room for a store of {size / 1e9:.1f} GB",
            path=path.parent,
            mend="Make room, or choose another folder.",
        ) from fault


def _films_digest(manifest: Manifest, masks: bool) -> str:
    columns = ["image_id", "path", *(c for c in ("mask", "mask_value", "mask_ignore") if masks)]
    sha = hashlib.sha256()
    for row in manifest.table.select(c for c in columns if c in manifest.table.columns).iter_rows():
        sha.update(repr(row).encode())
    return sha.hexdigest()


def read_header(folder: Path) -> dict[str, Any]:
    try:
        return json.loads((folder / "store.json").read_text(encoding="utf-8"))
    except FileNotFoundError as fault:
        mend = "Build one with: hilum data store"
        raise DataError("no pixel store is here", path=folder, mend=mend) from fault
    except ValueError as fault:
        raise DataError("store.json is damaged", path=folder, mend=REBUILD) from fault


def write_header(folder: Path, header: dict[str, Any]) -> None:
    part = folder / "store.json.part"
    part.write_text(json.dumps(header, indent=1), encoding="utf-8")
    part.replace(folder / "store.json")  # at once: a header is whole or absent


def file_digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
