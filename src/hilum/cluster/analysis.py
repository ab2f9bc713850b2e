"""Analysis by a pool of Ray actors: films in, Parquet shards out.

A film that cannot be read, crashes its decoder or takes too long costs itself, for each actor analyses in a process of its
own (`analysis.workers`), as one machine does. A node that dies costs the shards that were under way there, which others do
again. A shard is written whole under a name that follows from its films, so that to do one twice changes nothing, and a
call that was stopped goes on with the films that have no row.
"""

from __future__ import annotations

import json
import logging
import math
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import fsspec

from hilum.analysis.workers import Failed, Single, failure
from hilum.bundles.runtimes import ON_GPU
from hilum.cluster import films as films_
from hilum.cluster import rows
from hilum.cluster.films import Shard, fetched_ahead
from hilum.cluster.pool import Pool
from hilum.cluster.session import connected
from hilum.errors import HilumError, ReadError
from hilum.images.limits import MAX_FILE_BYTES

FEATURE = "Analysis on a Ray cluster"
NOTE = "analysis.json"
FEWEST, MOST = 16, 4_096  # films a shard: what an actor that dies loses, and what a file of results holds
SHARDS = 2_000  # a call, as far as MOST allows
TIMEOUT = 300.0  # seconds a film
TRIES = 2  # actors that a shard may cost before it is halved

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
    many as the cluster has room for; where a GPU runs the bundles they share the cluster's. `shard`: films a file of
    results; None: what `size_of` says. The same films, bundles and seed give the probabilities that `analyze_all` gives. The
    same call goes on where one stopped; with other bundles, samples or seed it is refused. `progress` is told (films done,
    films in all).
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


def _on(ray: Any, todo: Sequence[Shard], out: str, wish: Wish, actors: int | None) -> Iterator[int]:
    """Films done, shard by shard, as they come.

    A shard whose actor dies is given to another, in halves from the second time on; a film that is alone with it then is
    the cause, and becomes a failure.
    """
    there = ray.cluster_resources()
    room = int(there.get("CPU", 1)) // wish.threads
    count = max(1, min(actors or room, len(todo)))
    kind = ray.remote(
        num_cpus=wish.threads,
        num_gpus=gpu_share(int(there.get("GPU", 0)), count) if wish.runtime in ON_GPU else 0,
        max_restarts=0,
        scheduling_strategy="SPREAD",
    )(ShardWorker)
    pool = Pool(ray, partial(kind.remote, out, wish), count)
    waiting, deaths = deque(todo), Counter[str]()
    try:
        while waiting or pool.busy:
            while waiting and pool.idle:
                pool.give(waiting.popleft())
            for shard, answer in pool.heard():
                if isinstance(answer, int):
                    yield answer
                    continue
                deaths[shard.name] += 1
                logger.info("shard %s goes to another actor: %s", shard.name, answer)
                if deaths[shard.name] < TRIES:
                    waiting.append(shard)
                elif len(shard.films) > 1:
                    waiting += films_.shards(shard.films, -(-len(shard.films) // 2))
                else:
                    (film,) = shard.films
                    fault = f"what analysed it died {TRIES} times"
                    rows.write_shard(out, shard, [rows.failed_row(film, fault, "It may need more memory")])
                    yield 1
    finally:
        pool.stop()


def gpu_share(gpus: int, actors: int) -> float:
    """The part of a GPU that each actor takes, so that all find room on so many. HilumError where there is none."""
    if gpus < 1:
        raise HilumError(
            "this cluster has no GPU", mend="Start its nodes with GPUs, or choose another --runtime"
        )
    at_one = -(-actors // gpus)
    return math.floor(10_000 / at_one) / 10_000  # Ray counts in ten thousandths


class ShardWorker:
    """What a Ray actor does: shards in, files out. Its bundles are loaded once, in the process that analyses."""

    def __init__(self, out: str, wish: Wish) -> None:
        self.out = out
        self.wish = wish
        self.work: Single[tuple[str, Path], dict[str, Any]] = Single(partial(_reader, wish), wish.timeout)

    def ready(self) -> bool:
        """Answers once the actor is there."""
        return True

    def do(self, shard: Shard) -> int | HilumError:
        """How many films the shard holds, now that its file is written; or what no other actor can do either."""
        try:
            if not rows.is_written(self.out, shard):  # an actor may have died after it had written
                with closing(fetched_ahead(shard.films, MAX_FILE_BYTES, self.wish.timeout)) as fetched:
                    rows.write_shard(self.out, shard, [self._row(film, path) for film, path in fetched])
        except HilumError as error:
            return error
        return len(shard.films)

    def _row(self, film: str, path: Path | ReadError) -> dict[str, Any]:
        answer = failure(path) if isinstance(path, ReadError) else self.work.ask((film, path))
        if not isinstance(answer, Failed):
            return answer
        return rows.failed_row(film, answer.fault, answer.mend)


def _reader(wish: Wish) -> Callable[[tuple[str, Path]], dict[str, Any]]:
    """What the analysing process does with a film; runs there."""
    import cv2
    import torch

    from hilum.analysis.analyzer import Analyzer

    torch.set_num_threads(wish.threads)
    cv2.setNumThreads(wish.threads)
    analyzer = Analyzer(
        wish.bundles, wish.samples, wish.seed, with_heatmaps=False, runtime=wish.runtime, whole=wish.whole
    )

    def work(item: tuple[str, Path]) -> dict[str, Any]:
        film, path = item
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
