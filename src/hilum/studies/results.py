"""What the runs of a study came to: predictions on the films that each held out, and on the published test list."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from hilum.bundles import load, verify
from hilum.datasets.manifest import Manifest
from hilum.errors import EvaluationError
from hilum.evaluation.selective import chance_of_error, wrong_calls
from hilum.learning.evaluate import evaluate
from hilum.learning.material import manifest_of
from hilum.studies.jobs import Job
from hilum.studies.study import Study

logger = logging.getLogger(__name__)

HELD_OUT, LIST = "test", "list"
PREDICTIONS = "predictions.parquet"
COLUMNS = ("films", "patients", "truth", "probability", "cuts")


@dataclass(frozen=True)
class Predictions:
    """Films and what was predicted of them.

    Attributes
    ----------
    films, patients: (n,) names. truth, probability: (n, labels); truth in {0, 1, NaN}, one-hot for classes.
    cuts: (n, labels) the threshold of the model that scored the film, NaN for a label without one; None for exclusive
        classes, of which the most probable is called.
    """

    labels: tuple[str, ...]
    films: NDArray[np.str_]
    patients: NDArray[np.str_]
    truth: NDArray[np.float64]
    probability: NDArray[np.float64]
    cuts: NDArray[np.float64] | None = None

    @property
    def called(self) -> NDArray[np.bool_]:
        """(n, labels) what is called; a label without threshold never is."""
        if self.cuts is None:
            return np.equal.outer(self.probability.argmax(1), np.arange(len(self.labels)))
        return np.asarray(self.probability >= self.cuts)

    @property
    def errors(self) -> NDArray[np.float64]:
        """1 where a call is wrong, NaN where the truth or the threshold is unknown: (n, labels), or (n, 1) for classes."""
        if self.cuts is None:
            return (~self.right).astype(np.float64)[:, None]
        return np.where(np.isnan(self.cuts), np.nan, wrong_calls(self.truth, self.called))

    @property
    def doubt(self) -> NDArray[np.float64]:
        """The chance that each call is wrong, by its probability; the shape of `errors`."""
        if self.cuts is None:
            return 1 - self.probability.max(1, keepdims=True)
        return chance_of_error(self.probability, self.called)

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
    seconds: an epoch's, the median over all phases and folds. training: of all its epochs together.
    test_over_train: films held out over films trained on, in the first fold.
    """

    arm: str
    jobs: tuple[Job, ...]
    folds: tuple[Predictions, ...]
    members: tuple[Predictions, ...]
    seconds: float
    training: float
    test_over_train: float

    @property
    def list(self) -> Predictions | None:
        """On the published test list, the mean of the fold models' probabilities and thresholds; None without one."""
        return _mean(self.members) if self.members else None

    @property
    def pooled(self) -> Predictions:
        """Every held-out film once, by the model that had not seen it; of films held out several times the first."""
        whole = joined(self.folds)
        _, first = np.unique(whole.films, return_index=True)
        return rows_of(whole, np.sort(first))

    def of_fold(self, fold: int) -> Predictions:
        """On the films that one fold held out; `fold` from 0."""
        return self.folds[[job.fold for job in self.jobs].index(fold)]


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
    if mark(place).get("bundle") != verify(bundle).digest:
        whole = Manifest.load(job.folder / "manifest.parquet") if films is None else films
        logger.info("%s, fold %d: measuring (%s)", job.arm, job.number, name)
        title = f"{study.name}, {job.arm}, fold {job.number}: {name}"
        evaluate(load(bundle, runtime), whole, place, split="test" if films is None else None, name=title)
    return place / PREDICTIONS


def mark(place: Path) -> dict[str, Any]:
    """What `evaluate` wrote of its own in `place`; empty where it did not end, or where the mark was cut short."""
    try:
        found = json.loads((place / "evaluation.json").read_text())
    except (FileNotFoundError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def listed_films(study: Study, job: Job) -> Manifest | None:
    """The published test list, where the study has one: films that no fold holds."""
    if study.test is None or job.recipe.task in ("segment", "detect"):
        return None
    return manifest_of(job.recipe.data.model_copy(update={"keep": study.test, "fraction": 1.0}))


def collect(arm: str, jobs: Sequence[Job]) -> ArmResult:
    """Read an arm's predictions back. EvaluationError where its folds do not agree on the films of the list."""
    cuts = [cuts_of(job) for job in jobs]
    folds = [read(job.folder / HELD_OUT / PREDICTIONS, own) for job, own in zip(jobs, cuts, strict=True)]
    lists = [(job.folder / LIST / PREDICTIONS, own) for job, own in zip(jobs, cuts, strict=True)]
    seconds = np.concatenate([seconds_of(job.folder) for job in jobs])
    return ArmResult(
        arm,
        tuple(jobs),
        tuple(folds),
        _same_films([read(path, own) for path, own in lists if path.is_file()]),
        float(np.median(seconds)),
        float(seconds.sum()),
        train_ratio(jobs[0].folder),
    )


def cuts_of(job: Job) -> NDArray[np.float64] | None:
    """(labels,) the thresholds of a run's bundle, NaN where none was chosen; None for exclusive classes."""
    info = verify(job.folder / "bundle")
    if info.task == "multiclass":
        return None
    return np.array([label.threshold.value if label.threshold else np.nan for label in info.labels])


def read(path: Path, cuts: NDArray[np.float64] | None = None) -> Predictions:
    """`predictions.parquet` as `hilum evaluate` writes it; `cuts`: (labels,) the thresholds of the bundle."""
    table = pl.read_parquet(path)
    labels = tuple(c.removeprefix("probability:") for c in table.columns if c.startswith("probability:"))
    own = pl.format("film:{}", pl.col("image_id"))
    return Predictions(
        labels,
        table["image_id"].to_numpy().astype(str),
        table.select(pl.col("patient").fill_null(own)).to_series().to_numpy().astype(str),
        table.select(f"truth:{name}" for name in labels).to_numpy().astype(np.float64),
        table.select(f"probability:{name}" for name in labels).to_numpy().astype(np.float64),
        None if cuts is None else np.tile(cuts, (table.height, 1)),
    )


def joined(parts: Sequence[Predictions]) -> Predictions:
    """The films of all parts, one after another."""
    return Predictions(parts[0].labels, *(_each(parts, name, np.concatenate) for name in COLUMNS))


def rows_of(predictions: Predictions, rows: NDArray[np.int64]) -> Predictions:
    return Predictions(
        predictions.labels, *(_each([predictions], name, lambda only: only[0][rows]) for name in COLUMNS)
    )


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
    mean = {
        name: _each(members, name, lambda all_: np.mean(all_, axis=0)) for name in ("probability", "cuts")
    }
    return replace(members[0], **mean)


def _each(parts: Sequence[Predictions], name: str, join: Callable[[list[Any]], Any]) -> Any:
    """One column of all parts joined; None where they have none."""
    columns = [getattr(part, name) for part in parts]
    return None if any(column is None for column in columns) else join(columns)


def seconds_of(run: Path) -> NDArray[np.float64]:
    """Of each epoch of a run."""
    return pl.read_csv(run / "history.csv")["seconds"].to_numpy().astype(np.float64)


def train_ratio(run: Path) -> float:
    """Films held out over films trained on."""
    parts = Manifest.load(run / "manifest.parquet").table["split"]
    return float((parts == "test").sum()) / float((parts == "train").sum())
