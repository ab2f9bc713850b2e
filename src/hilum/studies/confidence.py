"""How far each arm's probabilities can be believed, and what its errors are when the least sure calls go to a reader."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from hilum.evaluation.label_summary import Draw
from hilum.evaluation.reliability_intervals import MEASURES, weighted_reliability
from hilum.evaluation.selective import selective_estimates
from hilum.studies.results import ArmResult, Predictions
from hilum.studies.study import Variant
from hilum.studies.tables import Table, films_notes, final

REPLICATES = 500
SHOWN = {"log_loss": "log loss", "brier": "Brier", "ece": "ECE"}
SELECTIVE = {"error_rate": "wrong", "aurc": "AURC", "augrc": "AUGRC"}


def table(variant: Variant, results: Sequence[ArmResult]) -> Table:
    """Of each arm on its final films, after calibration; intervals by drawing patients."""
    rows = []
    for result in results:
        films = final(result)
        rows.append({"arm": variant.arms[result.arm].title, **_calibration(films), **_selective(films)})
    calls = (
        "A call is a film's most probable class, its chance of error one minus that probability."
        if final(results[0]).cuts is None
        else "A call is one finding on one film, at the threshold chosen on validation; its chance of error follows from its"
        " probability."
    )
    notes = (
        "Less is better in every column. Log loss, Brier score and ECE are of each label against its absence, all labels"
        " and films taken as one, after calibration on validation films.",
        f"{calls} AURC and AUGRC are the errors among calls of least chance of error, averaged over how many are kept.",
        *films_notes(variant, results),
    )
    return Table("Calibration and selective prediction", rows, notes)


def _calibration(films: Predictions) -> dict[str, Any]:
    found = Draw(REPLICATES, 0, 0.95).estimates(
        MEASURES, weighted_reliability(films.truth, films.probability), len(films.films), films.patients
    )
    return {title: found[name].as_dict() for name, title in SHOWN.items()}


def _selective(films: Predictions) -> dict[str, Any]:
    errors, doubt = films.errors, films.doubt
    patients = np.repeat(films.patients, errors.shape[1])
    found = selective_estimates(
        errors.reshape(-1, 1), doubt.reshape(-1, 1), patients, ("calls",), replicates=REPLICATES
    )["calls"]
    return {title: found[name].as_dict() for name, title in SELECTIVE.items()}
