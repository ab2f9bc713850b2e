"""Where the clinic keeps files: films as they came, by digest; results, each a folder; nothing named by what data says.

    ledger.sqlite3                unless the ledger lies elsewhere
    films/ab/abcd...              a file's SHA-256 is its name
    results/ab/abcd.../           a random name; `report.json`, `report.html`, ... inside
    work/                         what is not whole yet; left-overs are swept at the next start

A file is whole and on the disk before its name appears (fsync, rename, fsync of the folder), so a kill or a power cut leaves
a left-over and no half film.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import secrets
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

from hilum.errors import ClinicError, LimitError, StoreFullError
from hilum.images.limits import MAX_FILE_BYTES

RESERVE = 512 * 2**20  # bytes of the disk that are left for the ledger and for results
STALE = 3600.0  # seconds after which what has no name in the ledger is a left-over
_FULL = (errno.ENOSPC, errno.EDQUOT)


class Store:
    """The folder `root`, made where it is absent, for its owner's eyes only. `reserve`: bytes to leave free."""

    def __init__(self, root: str | Path, reserve: int = RESERVE) -> None:
        self.root = Path(root).absolute()
        self.reserve = reserve
        self.films, self.results, self.work = (self.root / part for part in ("films", "results", "work"))
        try:
            for folder in (self.root, self.films, self.results, self.work):
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise ClinicError(
                f"the store cannot be made ({error.strerror})",
                path=self.root,
                mend="Give a folder that can be written.",
            ) from error

    def film(self, digest: str) -> Path:
        """Where the film of this SHA-256 lies, or would. Raises ClinicError for what is none."""
        _refuse_other("[0-9a-f]{64}", digest)
        return self.films / digest[:2] / digest

    def result(self, folder: str) -> Path:
        """Where a result's folder lies, by its name in the ledger. Raises ClinicError for what is none."""
        _refuse_other("[0-9a-f]{32}", folder)
        return self.results / folder[:2] / folder

    def receiving(self, limit: int = MAX_FILE_BYTES) -> Part:
        """A file to write what comes in to, at most `limit` bytes. Raises StoreFullError where the disk has no room."""
        if shutil.disk_usage(self.root).free < self.reserve:
            raise _full(self.root)
        return Part(self.work / f"{secrets.token_hex(16)}.part", limit)

    def keep(self, part: Part) -> Path:
        """Give a whole part its name among the films; returns where it lies."""
        with _told(self.root):
            return _into(part.path, self.film(part.digest))

    def drop(self, digest: str) -> None:
        """Forget a film."""
        self.film(digest).unlink(missing_ok=True)

    @contextlib.contextmanager
    def making(self) -> Iterator[Path]:
        """A folder for a result that is being made; gone at the end, unless it was published."""
        folder = self.work / secrets.token_hex(16)
        with _told(self.root):
            folder.mkdir(mode=0o700)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def publish(self, folder: Path) -> str:
        """Move a made folder among the results, all of it on the disk; returns its name for the ledger."""
        with _told(self.root):
            for path in folder.iterdir():
                _sync(path)
            _sync(folder)
            _into(folder, self.result(folder.name))
        return folder.name

    def sweep(self, films: set[str], results: set[str]) -> int:
        """Remove left-overs older than an hour: unfinished work, and what the ledger (`films`, `results`) does not name.
        Returns how many."""
        before, swept = time.time() - STALE, 0
        lists: tuple[tuple[Iterator[Path], set[str]], ...] = (
            (self.work.iterdir(), set()),
            (self.films.glob("*/*"), films),
            (self.results.glob("*/*"), results),
        )
        for paths, named in lists:
            for path in paths:
                with contextlib.suppress(OSError):
                    if path.name not in named and path.stat().st_mtime < before:
                        shutil.rmtree(path) if path.is_dir() else path.unlink()
                        swept += 1
        return swept


def _refuse_other(pattern: str, given: str) -> None:
    """So that nothing but a name that the store gave becomes a path."""
    if not re.fullmatch(pattern, given):
        raise ClinicError(f"'{given}' names nothing in the store")


class Part:
    """A file that is being received: written in pieces, hashed and bounded on the way.

    Use it with `with`; at the end it is gone unless the store kept it.
    """

    def __init__(self, path: Path, limit: int) -> None:
        self.path, self.limit, self.size = path, limit, 0
        self._hash = hashlib.sha256()
        with _told(path.parent):
            self._file = os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")

    def write(self, piece: bytes | bytearray | memoryview) -> None:
        """Append. Raises LimitError before the byte that is one too many, StoreFullError where the disk is full."""
        if self.size + len(piece) > self.limit:
            raise LimitError(
                f"it is larger than {self.limit // 2**20} MiB",
                mend="Check that it is one film, or raise the limit.",
            )
        with _told(self.path.parent):
            self._file.write(piece)
        self._hash.update(piece)
        self.size += len(piece)

    def close(self) -> None:
        """All that was written is on the disk when this returns."""
        if not self._file.closed:
            with _told(self.path.parent):
                self._file.flush()
                os.fsync(self._file.fileno())
                self._file.close()

    @property
    def digest(self) -> str:
        """SHA-256 of what was written, hex."""
        return self._hash.hexdigest()

    def __enter__(self) -> Part:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.suppress(OSError):
            self._file.close()
        self.path.unlink(missing_ok=True)


def _into(source: Path, target: Path) -> Path:
    """Rename, with the folders on both sides on the disk."""
    target.parent.mkdir(mode=0o700, exist_ok=True)
    os.replace(source, target)
    for folder in (target.parent, target.parent.parent, source.parent):
        _sync(folder)
    return target


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextlib.contextmanager
def _told(place: Path) -> Iterator[None]:
    """A full disk as StoreFullError."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise _full(place) from error
        raise


def _full(place: Path) -> StoreFullError:
    return StoreFullError("the disk is full", path=place, mend="Make room; the sender may try again.")
