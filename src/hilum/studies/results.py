"""What the runs of a study came to: predictions on the films that each held out, and on the published test list."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from hilum.bundles import load, verify
from hilum.datasets.manifest import Manifest
from hilum.errors import EvaluationError
from hilum.learning.evaluate import evaluate
from hilum.learning.material import manifest_of
from hilum.studies.jobs import Job
from hilum.studies.study import Study

logger = logging.getLogger(__name__)

HELD_OUT, LIST = "test", "list"


@dataclass(frozen=True)
class Predictions:
    """Films and what was predicted of them.

    Attributes
    ----------
    films, patients: (n,) names. truth, probability: (n, labels); truth in {0, 1, NaN}, one-hot for classes.
    """

    labels: tuple[str, ...]
    films: NDArray[np.str_]
    patients: NDArray[np.str_]
    truth: NDArray[np.float64]
    probability: NDArray[np.float64]

    @property
    def right(self) -> NDArray[np.bool_]:
        """(n,) whether the most probable class is the true one; for exclusive classes."""
        return np.asarray(self.truth.argmax(1) == self.probability.argmax(1))


@dataclass(frozen=True)
class ArmResult:
    """An arm's runs.

    Attributes
    ----------
    folds: predictions on each fold's held-out films.
    members: predictions of each fold's model on the published test list; empty without such a list.
    seconds: an epoch's, the median over all phases and folds.
    test_over_train: films held out over films trained on, in the first fold.
    """

    arm: str
    jobs: tuple[Job, ...]
    folds: tuple[Predictions, ...]
    members: tuple[Predictions, ...]
    seconds: float
    test_over_train: float

    @property
    def list(self) -> Predictions | None:
        """On the published test list, the mean probability of the fold models; None without such a list."""
        return _mean(self.members) if self.members else None

    @property
    def pooled(self) -> Predictions:
        """Every held-out film once, by the model that had not seen it; of films held out several times the first."""
        joined = Predictions(
            self.folds[0].labels,
            *(
                np.concatenate([getattr(fold, name) for fold in self.folds])
                for name in ("films", "patients", "truth", "probability")
            ),
        )
        _, first = np.unique(joined.films, return_index=True)
        return rows_of(joined, np.sort(first))


def measure_job(study: Study, job: Job, films: Manifest | None) -> None:
    """Measure a finished run on its held-out films, and on the published list; what was measured before is kept."""
    bundle = job.folder / "bundle"
    measure_bundle(study, job, bundle, HELD_OUT)
    if films is not None:
        measure_bundle(study, job, bundle, LIST, films)


def measure_bundle(
    study: Study, job: Job, bundle: Path, name: str, films: Manifest | None = None, runtime: str = "torch"
) -> Path:
    """Measure `bundle` on `films`, or else on those that the run held out, into the folder `name` of the run; what
    was measured before is kept. Returns the path of the predictions.
    """
    place = job.folder / name
    found = place / "predictions.parquet"
    if not (found.is_file() and mark(place).get("bundle") == verify(bundle).digest):
        whole = Manifest.load(job.folder / "manifest.parquet") if films is None else films
        logger.info("%s, fold %d: measuring (%s)", job.arm, job.number, name)
        title = f"{study.name}, {job.arm}, fold {job.number}: {name}"
        evaluate(load(bundle, runtime), whole, place, split="test" if films is None else None, name=title)
    return found


def mark(place: Path) -> dict[str, Any]:
    """What `evaluate` wrote of its own in `place`; empty where it did not end, or where the mark was cut short."""
    try:
        found = json.loads((place / "evaluation.json").read_text())
    except (FileNotFoundError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def listed_films(study: Study, job: Job) -> Manifest | None:
    """The published test list, where the study has one: films that no fold holds."""
    if study.test is None:
        return None
    return manifest_of(job.recipe.data.model_copy(update={"keep": study.test, "fraction": 1.0}))


def collect(arm: str, jobs: Sequence[Job]) -> ArmResult:
    """Read an arm's predictions back. EvaluationError where its folds do not agree on the films of the list."""
    folds = [read(job.folder / HELD_OUT / "predictions.parquet") for job in jobs]
    lists = [job.folder / LIST / "predictions.parquet" for job in jobs]
    return ArmResult(
        arm,
        tuple(jobs),
        tuple(folds),
        _same_films([read(path) for path in lists if path.is_file()]),
        float(np.median(np.concatenate([_seconds(job.folder) for job in jobs]))),
        _ratio(jobs[0].folder),
    )


def read(path: Path) -> Predictions:
    """`predictions.parquet` as `hilum evaluate` writes it."""
    table = pl.read_parquet(path)
    labels = tuple(c.removeprefix("probability:") for c in table.columns if c.startswith("probability:"))
    own = pl.format("film:{}", pl.col("image_id"))
    return Predictions(
        labels,
        table["image_id"].to_numpy().astype(str),
        table.select(pl.col("patient").fill_null(own)).to_series().to_numpy().astype(str),
        table.select(f"truth:{name}" for name in labels).to_numpy().astype(np.float64),
        table.select(f"probability:{name}" for name in labels).to_numpy().astype(np.float64),
    )


def rows_of(predictions: Predictions, rows: NDArray[np.int64]) -> Predictions:
    names = ("films", "patients", "truth", "probability")
    return Predictions(predictions.labels, *(getattr(predictions, name)[rows] for name in names))


def aligned(results: Sequence[Predictions]) -> list[Predictions]:
    """The films that all have, in one order, so that arms are compared film by film."""
    shared = set(results[0].films).intersection(*(set(r.films) for r in results[1:]))
    out = []
    for result in results:
        order = np.argsort(result.films)
        out.append(rows_of(result, order[np.isin(result.films[order], list(shared))]))
    return out


def _same_films(members: Sequence[Predictions]) -> tuple[Predictions, ...]:
    if any(not np.array_equal(members[0].films, other.films) for other in members[1:]):
        raise EvaluationError(
            "the folds of an arm were measured on different films", mend="Measure them again"
        )
    return tuple(members)


def _mean(members: Sequence[Predictions]) -> Predictions:
    first = members[0]
    probability = np.mean([member.probability for member in members], axis=0)
    return Predictions(first.labels, first.films, first.patients, first.truth, probability)


def _seconds(run: Path) -> NDArray[np.float64]:
    return pl.read_csv(run / "history.csv")["seconds"].to_numpy().astype(np.float64)


def _ratio(run: Path) -> float:
    parts = Manifest.load(run / "manifest.parquet").table["split"]
    return float((parts == "test").sum()) / float((parts == "train").sum())
