"""Films of file systems and object stores: found, parted into shards, and fetched, by fsspec's names (`s3://...`)."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import fsspec
import polars as pl

from hilum.analysis.search import SIDE_FILES, SIDE_NAMES, expand
from hilum.errors import HilumError, ReadError

TABLE = ".parquet"
"""The ending of a table that lists films, in a column `path`."""


@dataclass(frozen=True)
class Shard:
    """Films that one actor takes at a time, and whose results are one file. `name` follows from `films` alone."""

    name: str
    films: tuple[str, ...]


def find(paths: Iterable[str], out: str) -> tuple[list[str], list[dict[str, Any]]]:
    """Every film that these files, folders and tables (`TABLE`) name, each once and sorted within a folder; and what cannot
    be reached, as `analysis.search` tells it. What is not local is named by its address.
    """
    films: dict[str, None] = {}
    failures: list[dict[str, Any]] = []
    for path in paths:
        if path.endswith(TABLE):
            with fsspec.open(path) as file:
                films.update(dict.fromkeys(pl.read_parquet(file, columns=["path"])["path"].to_list()))
        elif is_local(path):
            found, missed = expand([path], Path(out) if is_local(out) else Path("/nonexistent"))
            films.update(dict.fromkeys(map(str, found)))
            failures += missed
        else:
            films.update(dict.fromkeys(_listed(path)))
    return list(films), failures


def is_local(path: str) -> bool:
    """Whether this is a path of this machine, and no address."""
    return "://" not in path


def _listed(address: str) -> list[str]:
    system, place = fsspec.core.url_to_fs(address)
    try:
        found = sorted(system.find(place))
    except (OSError, ValueError) as error:
        raise HilumError(
            f"it cannot be listed ({error})", path=address, mend="Check address and rights"
        ) from error
    if not found:
        raise HilumError("there are no films here", path=address, mend="Give a folder of films, or a film")
    return [system.unstrip_protocol(path) for path in found if _may_be_film(PurePosixPath(path))]


def _may_be_film(path: PurePosixPath) -> bool:
    name = path.name.lower()
    return not (name.startswith(".") or name in SIDE_NAMES or path.suffix.lower() in SIDE_FILES)


def shards(films: Sequence[str], size: int) -> list[Shard]:
    """Films in their order, `size` a shard."""
    parts = (tuple(films[i : i + size]) for i in range(0, len(films), size))
    return [Shard(hashlib.sha256("\n".join(part).encode()).hexdigest()[:20], part) for part in parts]


@contextmanager
def fetched(film: str, limit: int) -> Iterator[Path]:
    """A path of this machine that holds the film; of an address a copy, for as long as this lasts. ReadError where it
    cannot be fetched or is larger than `limit` bytes.
    """
    if is_local(film):
        yield Path(film)
        return
    try:
        with fsspec.open(film, "rb") as file:
            data = file.read(limit + 1)
    except Exception as error:  # every store has errors of its own
        raise ReadError(
            f"it cannot be fetched ({type(error).__name__}: {error})", mend="Check its rights"
        ) from error
    with tempfile.TemporaryDirectory(prefix="hilum-") as folder:
        copy = Path(folder) / PurePosixPath(film).name
        copy.write_bytes(data)
        yield copy
