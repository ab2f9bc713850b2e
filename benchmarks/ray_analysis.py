"""Films on a Ray cluster of two local raylets, one of which is killed in mid-run, against plain processes of one machine.

    python -m benchmarks.ray_analysis [--films 80] [--bundle findings] [--size 1024]

Four runs over the same drawn films, every twentieth of them torn: `hilum analyze`'s own processes (two, JSON reports); the
cluster undisturbed (two raylets of one processor each, an actor on each); the cluster again, with one raylet and all that it
runs killed (SIGKILL) when a third of the films is done; and the same call again, which must find nothing left to do. Films
that have no row, or two, and probabilities that differ from the first run's are counted: each must be 0. Times are of the
wall, with the start of processes and bundles, and films a second also without it, from a tenth of the films to the last; the
cluster itself is started before.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from benchmarks.figures import Figure, tell
from rich.console import Console
from rich.table import Table
from tests.phantom import phantom

TORN = 20


class Pace:
    """Told how many films are done, and tells `then`: films a second from a tenth of `films` to the last it knows of."""

    def __init__(self, films: int, then: Callable[[int, int], None] | None = None) -> None:
        self.films, self.then = films, then
        self.told: list[tuple[int, float]] = []

    def __call__(self, done: int, films: int) -> None:
        if done >= self.films // 10:
            self.told.append((done, time.perf_counter()))
        if self.then is not None:
            self.then(done, films)

    def rate(self) -> float | None:
        """None where it was not told of two numbers."""
        if len({done for done, _ in self.told}) < 2:
            return None
        (first, start), (last, end) = self.told[0], self.told[-1]
        return (last - first) / (end - start)


def draw(folder: Path, films: int, size: int) -> None:
    folder.mkdir()
    for number in range(films):
        pixels = np.rint(phantom(number % 12, size, size - 96).pixels * (255 - number % 5)).astype(np.uint8)
        data = cv2.imencode(".png", pixels)[1].tobytes()
        (folder / f"{number:05}.png").write_bytes(data[:2_000] if number % TORN == TORN - 1 else data)


def probabilities(reports: Path) -> dict[str, list[float]]:
    found = {}
    for entry in json.loads((reports / "index.json").read_text())["reports"]:
        report = json.loads((reports / entry["report"]).read_text())
        found[entry["file"]] = [f["probability"] for f in report["findings"]]
    return found


def faults(out: Path, films: Path, known: dict[str, list[float]]) -> dict[str, int]:
    """Films without a row, with two, and with other probabilities than `known`."""
    from hilum.cluster import rows

    table = rows.read(rows.written(str(out)))
    seen = Counter(table["source"].to_list())
    other = 0
    for row in table.iter_rows(named=True):
        if (row["fault"] is None) != (row["source"] in known):
            other += 1
        elif row["fault"] is None:
            other += [f["probability"] for f in row["findings"]] != known[row["source"]]
    return {
        "lost": sum(str(film) not in seen for film in films.iterdir()),
        "doubled": sum(times > 1 for times in seen.values()),
        "differ": other,
    }


def cluster_of_two() -> tuple[Any, Any]:
    """A cluster of a head and another raylet, with a processor each; and that other one."""
    from ray.cluster_utils import Cluster

    room = {"num_cpus": 1, "object_store_memory": 80 * 2**20, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=room)
    return cluster, cluster.add_node(num_cpus=1, object_store_memory=80 * 2**20)


def main() -> None:
    from hilum.analysis.folder import analyze_all
    from hilum.cluster.analysis import Wish, analyze_on_ray

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--films", type=int, default=80)
    parser.add_argument("--size", type=int, default=1024)
    parser.add_argument("--bundle", default="findings")
    parser.add_argument("--shard", type=int, default=8)
    args = parser.parse_args()
    # Raylets' processes as nice as those that they are held to, and time to start on a busy machine.
    os.environ.update(RAY_worker_niceness="0", RAY_raylet_start_wait_time_s="300")
    table = Table(
        "run", "s", "films/s", "without the start", "lost", "doubled", "differ", box=None, pad_edge=False
    )
    wish = Wish((args.bundle,))
    with tempfile.TemporaryDirectory() as place:
        work = Path(place)
        draw(work / "films", args.films, args.size)
        start, pace = time.perf_counter(), Pace(args.films)
        analyze_all(
            [work / "films"],
            work / "reports",
            ("json",),
            [args.bundle],
            jobs=2,
            progress=pace,
        )
        known = probabilities(work / "reports")
        plain = time.perf_counter() - start
        show(table, "two processes, JSON", plain, pace, {})
        took = {"plain": (plain, pace.rate())}
        cluster, other = cluster_of_two()

        def kill(done: int, _: int) -> None:
            nonlocal other
            if other is not None and done >= args.films // 3:
                cluster.remove_node(other, allow_graceful=False)
                other = None

        runs: tuple[tuple[str, str, Callable[[int, int], None] | None], ...] = (
            ("two raylets", "whole", None),
            ("two raylets, one killed", "killed", kill),
            ("the same call again", "killed", None),
        )
        try:
            for title, out, told in runs:
                start, pace = time.perf_counter(), Pace(args.films, told)
                analyze_on_ray(
                    cluster.address,
                    [work / "films"],
                    work / out,
                    wish,
                    actors=2,
                    shard=args.shard,
                    progress=pace,
                )
                seconds = time.perf_counter() - start
                took.setdefault(out, (seconds, pace.rate()))
                show(table, title, seconds, pace, faults(work / out, work / "films", known))
            (_, beside), (seconds, rate) = took["plain"], took["whole"]
            assert beside, "too few films to tell a pace: give more"
            assert rate, "shards too large to tell a pace: give more films"
            what = f"{args.films} films on two raylets"
            tell(Figure(what, "two plain processes", plain / seconds, limit="1"))
            tell(Figure(f"{what}, without the start", "two plain processes", rate / beside, limit="1"))
            assert other is None, "the run ended before a raylet was killed: give more films"
        finally:
            cluster.shutdown()
    Console().print(
        f"{args.films} films of {args.size} px ({args.films // TORN} torn), bundle {args.bundle}, shards of {args.shard}"
    )
    Console().print(table)


def show(table: Table, title: str, seconds: float, pace: Pace, found: dict[str, int]) -> None:
    counts = [str(found.get(name, "")) for name in ("lost", "doubled", "differ")]
    rate = pace.rate()
    under_way = "" if rate is None else f"{rate:.2f}"
    table.add_row(title, f"{seconds:.1f}", f"{pace.films / seconds:.2f}", under_way, *counts)


if __name__ == "__main__":
    main()
