"""Whether files are still the ones that a store was made of: asked of size and time first, of their bytes only in doubt."""

from __future__ import annotations

import hashlib
from pathlib import Path


def stamp(*paths: str | Path | None) -> str | None:
    """Size and modification time (ns) of each file, to be compared with another stamp; None and "" stand for no file.

    One system call a file. None where one of them is not there or cannot be asked.
    """
    try:
        found = [Path(path).stat() if path else None for path in paths]
    except OSError:
        return None
    return " ".join("-" if one is None else f"{one.st_size}:{one.st_mtime_ns}" for one in found)


def file_digest(path: str | Path) -> str:
    """SHA-256 of the file's bytes, hex."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
