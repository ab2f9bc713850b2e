"""The files of a pixel store: its header, its ledger of finished rows, and what keeps both whole through a
kill.
"""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import os
from dataclasses import astuple, replace
from pathlib import Path
from typing import Any

import numpy as np

from hilum.datasets.fingerprint import file_digest, stamp
from hilum.datasets.manifest import Manifest
from hilum.datasets.preparing import Outcome, Task, tasks
from hilum.errors import DataError
from hilum.images.preparation import Preparation

logger = logging.getLogger(__name__)

REBUILD = "Remove the folder and build it again."
_OK = 1


class Ledger:
    """Which rows of a store are on disk, through any number of builds.

    `done.npy` holds a flag a row, `journal.jsonl` a line a film (the fields of `Outcome`). A row is flagged
    only after its pixels and its line were synced: after a kill it is either whole or prepared again.
    """

    def __init__(self, folder: Path, masks: bool) -> None:
        self._done = np.load(folder / "done.npy", mmap_mode="r+")
        self._maps = [np.load(folder / name, mmap_mode="r+") for name in contents(masks)]
        self._folder, self._journal = folder, folder / "journal.jsonl"
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
            journal.writelines(json.dumps(_line(o)) + "\n" for o in self._unwritten)
            journal.flush()
            os.fsync(journal.fileno())
        self._done[[o.row for o in self._unwritten if o.fault is None]] = _OK
        self._done.flush()
        self._unwritten.clear()

    def hold_to_films(self, manifest: Manifest, masks: bool) -> None:
        """DataError where a film or mask of a finished row is not the file that the row was made of.

        A file of another size or time is read again, for it may have been copied or touched only; then its new stamp is
        noted. A file that is gone is passed over: the store outlives its films.
        """
        finished = np.flatnonzero(self._done == _OK)
        if not len(finished):
            return
        known = self.outcomes()
        doubtful, gone = [], 0
        for task in tasks(manifest, finished, masks):
            taken = stamp(task.path, task.mask)
            if taken is None:
                gone += 1
            elif taken != known[task.row].stamp:
                doubtful.append((task, taken))
        if gone:
            logger.warning("%s: %d of its %d films are no longer there", self._folder, gone, len(finished))
        if doubtful:
            logger.info("%s: %d films have another time or size; reading them", self._folder, len(doubtful))
        changed = []
        for task, taken in doubtful:
            before = known[task.row]
            if _same_bytes(task, before):
                self._unwritten.append(replace(before, stamp=taken))
            else:
                changed.append(task.path)
        if changed:
            more = f" (nor are {len(changed) - 1} more)" if len(changed) > 1 else ""
            raise DataError(
                f"the store was made of other pixels: '{changed[0]}' is not the file that it was then{more}",
                path=self._folder,
                mend="Remove the folder to build it again, or choose another folder for these films.",
            )
        if doubtful:
            self.sync()

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


def _line(outcome: Outcome) -> tuple[Any, ...]:
    """As every version reads it: a window, which came later, is written where there is one."""
    fields = astuple(outcome)
    return fields[:-1] if outcome.window is None else fields


def _same_bytes(task: Task, before: Outcome) -> bool:
    if file_digest(task.path) != before.digest:
        return False
    # Stores of earlier versions took no digest of masks.
    return not task.mask or before.mask_digest is None or file_digest(task.mask) == before.mask_digest


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
