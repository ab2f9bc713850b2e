"""What a store's delay costs an actor that analyses films of it, with films fetched ahead and without.

    python -m benchmarks.slow_store [--films 120] [--delay 0.2] [--bundle findings] [--size 1024]

Drawn films lie in a store that answers each request after so many seconds. One actor's work (`ShardWorker`, with its
analysing process, but no Ray) takes them from files, and from the store with none, one and two fetched ahead; milliseconds a
film are printed, the start of the process not counted.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

import fsspec
from benchmarks.figures import Figure, tell
from benchmarks.ray_analysis import draw
from fsspec.implementations.memory import MemoryFileSystem

from hilum.cluster import analysis, films


class SlowStore(MemoryFileSystem):
    """Files in memory that are a while in coming."""

    protocol = "slow"
    delay = 0.0

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return str(super()._strip_protocol(path.removeprefix("slow://")))

    def _open(self, path: str, mode: str = "rb", **options: Any) -> Any:
        time.sleep(SlowStore.delay)
        return super()._open(path, mode, **options)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--films", type=int, default=120)
    parser.add_argument("--delay", type=float, default=0.2, help="seconds")
    parser.add_argument("--bundle", default="findings")
    parser.add_argument("--size", type=int, default=1024)
    given = parser.parse_args()
    fsspec.register_implementation("slow", SlowStore)
    SlowStore.delay = given.delay
    with tempfile.TemporaryDirectory() as place:
        draw(Path(place) / "films", given.films, given.size)
        files = sorted((Path(place) / "films").iterdir())
        for file in files:
            fsspec.filesystem("memory").pipe(f"/films/{file.name}", file.read_bytes())
        worker = analysis.ShardWorker(str(Path(place) / "rows"), analysis.Wish((given.bundle,)))
        first, *rest = [str(file) for file in files]
        taken(worker, [first])  # the process starts, and loads its bundle
        local = taken(worker, rest)
        print(f"files: {1000 * local:.0f} ms a film")
        addresses = [f"slow:///films/{Path(file).name}" for file in rest]
        for ahead in (0, 1, 2):
            analysis.fetched_ahead = partial(films.fetched_ahead, ahead=ahead)
            seconds = taken(worker, addresses)
            print(f"store, {ahead} ahead: {1000 * seconds:.0f} ms a film")
        what = f"a film of a store that answers after {given.delay:g} s, {films.AHEAD} ahead"
        tell(Figure(what, f"a file of {1000 * local:.0f} ms", seconds / local, "times the time"))
        worker.work.stop()


def taken(worker: analysis.ShardWorker, paths: list[str]) -> float:
    """Seconds a film."""
    (shard,) = films.shards(paths, len(paths))
    for old in Path(worker.out).glob("*.parquet"):
        old.unlink()
    started = time.perf_counter()
    assert worker.do(shard) == len(paths)
    return (time.perf_counter() - started) / len(paths)


if __name__ == "__main__":
    main()
