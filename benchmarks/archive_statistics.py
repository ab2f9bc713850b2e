"""Metrics with intervals of tens of millions of scores: time and peak memory, by shards and by arrays.

    python -m benchmarks.archive_statistics [--films 2000000 20000000] [--labels 4] [--arrays 100000]

Draws films with known prevalence, three a patient, writes them as Parquet shards of predictions (in a process of its own, so
that its memory is not counted), and measures them as `hilum evaluate` does in another process, whose peak memory is what the
system says of it. `--arrays` films are measured by the functions on arrays beside, in a third process. Time is processor
time, start and imports with it, so that a machine that does other work too says the same.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import resource
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from rich.console import Console
from rich.table import Table

SHARD = 1_000_000


def draw(folder: Path, films: int, labels: int) -> None:
    """Shards of predictions, three films a patient."""
    names = label_names(labels)
    for number, start in enumerate(range(0, films, SHARD)):
        n = min(SHARD, films - start)
        chance = np.random.default_rng(number)
        patient = (np.arange(start, start + n)) // 3
        columns: dict[str, Any] = {
            "image_id": pl.Series(np.arange(start, start + n)).cast(pl.String),
            "patient": pl.Series(patient).cast(pl.String),
            "sex": np.where(patient % 2, "F", "M"),
            "view": np.where(chance.random(n) < 0.4, "AP", "PA"),
            "age": (patient * 7919) % 90,
        }
        for k, name in enumerate(names):
            truth = chance.random(n, np.float32) < 0.3 / (k + 1)
            logits = chance.normal(size=n).astype(np.float32) + 1.5 * truth - 2 - 0.2 * k
            columns[f"probability:{name}"] = 1 / (1 + np.exp(-logits))
            columns[f"truth:{name}"] = truth.astype(np.float32)
        pl.DataFrame(columns).write_parquet(folder / f"{number:04}.parquet")


def label_names(labels: int) -> list[str]:
    from hilum.bundles import load

    return load("findings").labels[:labels]


def by_shards(folder: Path, out: Path) -> None:
    from hilum.learning.shards import evaluate_shards, shards_of

    evaluate_shards("findings", shards_of(folder) or [], out)


def by_arrays(folder: Path, out: Path, films: int) -> None:
    from hilum.evaluation.summary import multilabel_summary

    table = pl.read_parquet(folder / "0000.parquet").head(films)
    names = [name.removeprefix("truth:") for name in table.columns if name.startswith("truth:")]
    truth, scores = (
        table.select(f"{kind}:{n}" for n in names).to_numpy() for kind in ("truth", "probability")
    )
    found = multilabel_summary(
        truth, scores, np.full(len(names), 0.3), table["patient"].to_numpy(), names, replicates=50
    )
    out.mkdir(parents=True)
    (out / "metrics.json").write_text(json.dumps(found.as_dict()))


def _inside(answer: Any, work: Any, given: tuple[Any, ...]) -> None:
    start = time.process_time()
    work(*given)
    answer.send((time.process_time() - start, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024))


def measured(work: Any, *given: Any) -> tuple[float, float]:
    """Processor seconds and peak MiB of `work` in a process of its own."""
    spawn = multiprocessing.get_context("spawn")
    answer, theirs = spawn.Pipe(duplex=False)
    process = spawn.Process(target=_inside, args=(theirs, work, given))
    process.start()
    theirs.close()
    result: tuple[float, float] = answer.recv()
    process.join()
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--films", type=int, nargs="+", default=[2_000_000, 20_000_000])
    parser.add_argument("--labels", type=int, default=4)
    parser.add_argument("--arrays", type=int, default=100_000)
    args = parser.parse_args()
    table = Table(
        "films", "how", "processor s", "us a film", "peak MiB", "macro AUC", box=None, pad_edge=False
    )
    with tempfile.TemporaryDirectory() as place:
        for films in args.films:
            work = Path(place) / str(films)
            (work / "shards").mkdir(parents=True)
            measured(draw, work / "shards", films, args.labels)
            row(table, films, "shards", work / "out", *measured(by_shards, work / "shards", work / "out"))
        if args.arrays:
            found = measured(by_arrays, work / "shards", work / "arrays", args.arrays)
            row(table, args.arrays, "arrays, 50 draws", work / "arrays", *found)
    Console().print(f"{args.labels} labels, three films a patient, shards of {SHARD}; one process")
    Console().print(table)


def row(table: Table, films: int, how: str, out: Path, seconds: float, peak: float) -> None:
    macro = json.loads((out / "metrics.json").read_text())["overall"]["macro_auc"]
    shown = f"{macro['value']:.5f} ({macro['low']:.5f}-{macro['high']:.5f})"
    table.add_row(f"{films:,}", how, f"{seconds:.1f}", f"{1e6 * seconds / films:.2f}", f"{peak:.0f}", shown)


if __name__ == "__main__":
    main()
