"""Writing a run's files so that a kill or a full disk leaves the old file or the new one, never a part."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from polars.exceptions import PolarsError
from safetensors import SafetensorError

from hilum.errors import HilumError

_FAULTS = (OSError, SafetensorError, PolarsError)  # the last two wrap a full disk in words of their own


class WriteError(HilumError):
    """A file of a run or an evaluation cannot be written: the disk is full, or may not be written to."""


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """A file beside `path` to write to, which takes its place at the end: a kill, or a full disk, leaves the old file or
    the new one, never a part. WriteError names the file.
    """
    work = path.with_name(f".{path.name}.part")
    with named(path):
        try:
            yield work
            work.replace(path)
        except _FAULTS:
            work.unlink(missing_ok=True)
            raise


@contextmanager
def named(path: Path) -> Iterator[Path]:
    """What cannot be written to `path` becomes a WriteError that names it. Gives the path."""
    try:
        yield path
    except _FAULTS as error:
        why = (error.strerror if isinstance(error, OSError) else None) or str(error)
        raise WriteError(
            f"this cannot be written: {why}",
            path=path,
            mend="Make room and give the same command again: what was written whole is kept",
        ) from error


def write_whole(path: Path, text: str) -> None:
    """Write a small file, `whole`."""
    with whole(path) as work:
        work.write_text(text)
