"""Where the models of a study look, and what they lose with the lungs: every run on the same tested films.

The films are read once for all runs (`analysis.examine`). What was seen is kept in `looks.parquet`, a row a run and a film;
the tables come of it.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from pathlib import Path

import polars as pl

from hilum.analysis.examine import SEEN, Examination, examine
from hilum.bundles import load, verify
from hilum.datasets.manifest import Manifest
from hilum.learning.material import patient_keys
from hilum.learning.shares import sampled
from hilum.learning.writing import whole, write_whole
from hilum.studies.jobs import Job
from hilum.studies.results import ArmResult
from hilum.studies.study import Looks, Study

KEPT, MARK = "looks.parquet", "looks.json"

logger = logging.getLogger(__name__)


def look(study: Study, results: Sequence[ArmResult], films: Manifest, place: Path) -> pl.DataFrame:
    """Where every run looks on some of the films, a row a run and a film; what was measured before is read back.

    Columns: `arm`, `fold` (from 1), `film`, `patient`, `truth` (whether it is of the study's positive class), `lung_area`,
    `energy` and `pointing` (of the heatmap of that class; NaN where it has none), and `p:COVER`, its probability under each
    cover.
    """
    asked = study.looks
    assert asked is not None
    jobs = [job for result in results for job in result.jobs]
    chosen = some_of(films, asked)
    digests = {f"{job.arm}/{job.number}": verify(job.folder / "bundle").digest for job in jobs}
    segmenter = load(asked.segmenter)
    mark = {"films": chosen.digest, "segmenter": segmenter.info.digest, "bundles": digests}
    if (place / KEPT).is_file() and _mark(place) == mark:
        return pl.read_parquet(place / KEPT)
    logger.info("where %d runs look on %d films", len(jobs), len(chosen))
    found = examine([load(job.folder / "bundle") for job in jobs], chosen, segmenter)
    table = pl.concat(_table(str(study.positive), job, seen) for job, seen in zip(jobs, found, strict=True))
    with whole(place / KEPT) as work:
        table.write_parquet(work)
    write_whole(place / MARK, json.dumps(mark, indent=1) + "\n")
    return table


def some_of(films: Manifest, asked: Looks) -> Manifest:
    """About as many as are asked for, all films of a patient or none, drawn by a hash of each patient."""
    return sampled(films, patient_keys(films), min(1.0, asked.films / len(films)))


def _mark(place: Path) -> object:
    try:
        return json.loads((place / MARK).read_text())
    except (FileNotFoundError, ValueError):
        return None


def _table(positive: str, job: Job, seen: Examination) -> pl.DataFrame:
    column = seen.labels.index(positive)
    return pl.DataFrame(
        {
            "arm": job.arm,
            "fold": job.number,
            "film": seen.films.image_ids,
            "patient": patient_keys(seen.films),
            "truth": (seen.films.table["class"] == positive).to_list(),
            "lung_area": seen.lung_area,
            "energy": [scores[column].value for scores in seen.energy],
            "pointing": [scores[column].value for scores in seen.pointing],
            **{f"p:{cover}": seen.probabilities[cover][:, column] for cover in SEEN},
        }
    )
