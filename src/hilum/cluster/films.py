"""Films of file systems and object stores: found, parted into shards, and fetched, by fsspec's names (`s3://...`)."""

from __future__ import annotations

import hashlib
import tempfile
import threading
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import fsspec
import polars as pl

from hilum.analysis.search import SIDE_FILES, SIDE_NAMES, expand
from hilum.errors import HilumError, ReadError

TABLE = ".parquet"
"""The ending of a table that lists films, in a column `path`."""
AHEAD = 2
"""Films of a store that are fetched while another is analysed."""
CHUNK = 2**20


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
    with tempfile.TemporaryDirectory(prefix="hilum-") as folder:
        copy = Path(folder) / PurePosixPath(film).name
        try:
            with fsspec.open(film, "rb") as file, copy.open("wb") as local:
                while local.tell() <= limit and (data := file.read(CHUNK)):
                    local.write(data)
        except Exception as error:  # every store has errors of its own
            raise _unfetched(error) from error
        yield copy


def _unfetched(error: Exception) -> ReadError:
    return ReadError(f"it cannot be fetched ({type(error).__name__}: {error})", mend="Check its rights")


def fetched_ahead(
    films: Sequence[str], limit: int, patience: float, ahead: int = AHEAD
) -> Generator[tuple[str, Path | ReadError]]:
    """Each film and where it lies on this machine, or why it could not be fetched, in their order; up to `ahead` of those
    that come next are fetched meanwhile. A path holds until the next film is asked for, or the generator is closed.
    `patience`: seconds that a film is waited for.
    """
    coming = deque[_Fetch]()
    try:
        for number, film in enumerate(films):
            while len(coming) <= ahead and number + len(coming) < len(films):
                coming.append(_Fetch(films[number + len(coming)], limit))
            with closing(coming.popleft()) as fetch:
                yield film, fetch.waited_for(patience)
    finally:
        for fetch in coming:
            fetch.close()


class _Fetch:
    """A film on its way, in a thread that nobody waits for: a store that never answers holds up that film alone."""

    def __init__(self, film: str, limit: int) -> None:
        self.film, self.limit = film, limit
        self.there, self.used = threading.Event(), threading.Event()
        self.found: Path | ReadError
        self.thread = threading.Thread(target=self._fetch, daemon=True)
        self.thread.start()

    def waited_for(self, patience: float) -> Path | ReadError:
        if self.there.wait(patience):
            return self.found
        return ReadError(
            f"it was not fetched within {patience:g} seconds", mend="Give it more with --timeout"
        )

    def close(self) -> None:
        """The film was used, or is not wanted: its copy goes."""
        self.used.set()
        if self.there.is_set():
            self.thread.join()

    def _fetch(self) -> None:
        try:
            with fetched(self.film, self.limit) as path:
                self.found = path
                self.there.set()
                self.used.wait()
        except Exception as error:  # a full disk, say
            self.found = error if isinstance(error, ReadError) else _unfetched(error)
            self.there.set()
