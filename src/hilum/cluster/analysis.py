"""Analysis by a pool of Ray actors: films in, Parquet shards out.

A film that cannot be read, crashes its decoder or takes too long costs itself, for each actor analyses in a process of its
own (`analysis.workers`), as one machine does. A node that dies costs the shards that were under way there, which others do
again. A shard is written whole under a name that follows from its films, so that to do one twice changes nothing, and a
call that was stopped goes on with the films that have no row.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import fsspec

from hilum.analysis.workers import Failed, Single
from hilum.cluster import films as films_
from hilum.cluster import rows
from hilum.cluster.films import Shard
from hilum.cluster.session import connected
from hilum.errors import HilumError, one_line

FEATURE = "Analysis on a Ray cluster"
NOTE = "analysis.json"
FEWEST, MOST = 16, 4_096  # films a shard: what an actor that dies loses, and what a file of results holds
SHARDS = 2_000  # a call, as far as MOST allows
TIMEOUT = 300.0  # seconds a film

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Wish:
    """How films are analysed; what `Analyzer` takes. `bundles`: names of built-in ones, or paths that every node has."""

    bundles: tuple[str, ...] | None = None
    samples: int = 30
    seed: int = 0
    runtime: str = "torch"
    timeout: float = TIMEOUT
    threads: int = 1
    whole: bool = False


@dataclass(frozen=True)
class Summary:
    """`films`: with a row in `out` now; `failed`: of them those without a report; `before`: those that an earlier call left.
    `missed`: paths that led to no film. `shards`: the files."""

    out: str
    films: int
    failed: int
    before: int
    seconds: float
    missed: list[dict[str, Any]] = field(default_factory=list)
    shards: int = 0

    @property
    def exit_code(self) -> int:
        return 1 if self.failed or self.missed else 0


def analyze_on_ray(
    address: str,
    paths: Iterable[str | Path],
    out: str | Path,
    wish: Wish = Wish(),
    actors: int | None = None,
    shard: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Summary:
    """Analyse films on the Ray cluster at `address` and write a row of each (`rows.SCHEMA`) into Parquet files in `out`.

    `paths`: files, folders and tables of films; local ones must be reachable under the same path from every node, others
    are addresses that fsspec knows. `out` likewise. `actors`: at most so many, each with `wish.threads` processors; None: as
    many as the cluster has room for. `shard`: films a file of results; None: what `size_of` says. The same films, bundles
    and seed give the probabilities that `analyze_all` gives. The same call goes on where one stopped; with other bundles,
    samples or seed it is refused. `progress` is told (films done, films in all).
    """
    started = time.perf_counter()
    out = str(out)
    if films_.is_local(out):
        out = str(Path(out).absolute())
    found, missed = films_.find([str(path) for path in paths], out)
    found = [str(Path(film).absolute()) if films_.is_local(film) else film for film in found]
    _hold_to(out, wish)
    known = rows.done(out)
    new = [film for film in found if film not in known]
    todo = films_.shards(new, shard or size_of(len(new)))
    before = len(known)
    if todo:
        with connected(address, FEATURE) as ray:
            done = before
            for films in _on(ray, todo, out, wish, actors):
                done += films
                if progress is not None:
                    progress(done, before + sum(len(each.films) for each in todo))
    written = rows.written(out)
    failed = total = 0
    for path in written:
        table = rows.read([path])
        total += len(table)
        failed += int(table["fault"].is_not_null().sum())
    return Summary(out, total, failed, before, time.perf_counter() - started, missed, len(written))


def size_of(films: int) -> int:
    """Films a shard where so many are to be analysed: few enough to lose, and not too many files."""
    return min(MOST, max(FEWEST, -(-films // SHARDS)))


def _on(ray: Any, todo: Sequence[Shard], out: str, wish: Wish, actors: int | None) -> Iterable[int]:
    """Films done, shard by shard, as they come."""
    import ray.data as data

    room = int(ray.cluster_resources().get("CPU", 1)) // wish.threads
    pool = max(1, min(actors or room, len(todo)))
    context = data.DataContext.get_current()
    context.enable_progress_bars = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)  # this call says itself how far it is
    items = [{"name": each.name, "films": list(each.films)} for each in todo]
    done = data.from_items(items, override_num_blocks=len(items)).map_batches(
        ShardWorker,
        fn_constructor_args=(out, wish),
        batch_size=1,
        compute=data.ActorPoolStrategy(min_size=1, max_size=pool),
        num_cpus=wish.threads,
    )
    for row in done.iter_rows():
        yield int(row["films"])


class ShardWorker:
    """What a Ray actor does: shards in, files out. Its bundles are loaded once, in the process that analyses."""

    def __init__(self, out: str, wish: Wish) -> None:
        self.out = out
        self.work: Single[str, dict[str, Any]] = Single(partial(_reader, wish), wish.timeout)

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """A batch of one shard, `name` and `films`; gives back `films`, how many it holds."""
        shard = Shard(str(batch["name"][0]), tuple(str(film) for film in batch["films"][0]))
        if not self._is_there(shard):  # a node may have died after it had written
            rows.write_shard(self.out, shard, [self._row(film) for film in shard.films])
        return {"films": [len(shard.films)]}

    def _is_there(self, shard: Shard) -> bool:
        system, folder = fsspec.core.url_to_fs(self.out)
        return bool(system.exists(f"{folder}/{shard.name}.parquet"))

    def _row(self, film: str) -> dict[str, Any]:
        answer = self.work.ask(film)
        if not isinstance(answer, Failed):
            return answer
        logger.info("%s: %s", one_line(film), answer.fault)
        return rows.failed_row(film, answer.fault, answer.mend)

    def __del__(self) -> None:
        self.work.stop()


def _reader(wish: Wish) -> Callable[[str], dict[str, Any]]:
    """What the analysing process does with a film; runs there."""
    import cv2
    import torch

    from hilum.analysis.analyzer import Analyzer
    from hilum.images.limits import MAX_FILE_BYTES

    torch.set_num_threads(wish.threads)
    cv2.setNumThreads(wish.threads)
    analyzer = Analyzer(wish.bundles, wish.samples, wish.seed, with_heatmaps=False, runtime=wish.runtime, whole=wish.whole)

    def work(film: str) -> dict[str, Any]:
        with films_.fetched(film, MAX_FILE_BYTES) as path:
            return rows.row_of(film, analyzer.analyze(path))

    return work


def _hold_to(out: str, wish: Wish) -> None:
    """Note in `out` how its films are analysed, or refuse to go on otherwise."""
    asked = {name: value for name, value in asdict(wish).items() if name not in ("timeout", "threads")}
    asked["bundles"] = list(wish.bundles) if wish.bundles is not None else None
    system, folder = fsspec.core.url_to_fs(out)
    note = f"{folder}/{NOTE}"
    if system.exists(note):
        with system.open(note, "r") as file:
            before = json.load(file)
        if before != asked:
            raise HilumError(
                f"the films here were analysed otherwise ({before})",
                path=out,
                mend="Choose another folder with --out",
            )
        return
    system.makedirs(folder, exist_ok=True)
    with system.open(note, "w") as file:
        json.dump(asked, file)
