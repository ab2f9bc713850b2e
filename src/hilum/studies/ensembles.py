"""One model or the mean of an arm's fold models (a deep ensemble), on the published test list: how right, and how sure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from hilum.evaluation.arrays import Floats
from hilum.evaluation.flags import PAPER_DEVIATION, compare_flags
from hilum.evaluation.label_summary import Draw
from hilum.evaluation.reliability import (
    BINS,
    bin_gaps,
    equal_width_bins,
    film_log_loss,
    top_label,
    weighted_calibration_error,
)
from hilum.evaluation.selective import weighted_areas
from hilum.studies.dropout import DOUBT
from hilum.studies.results import ArmResult, Predictions
from hilum.studies.study import Variant
from hilum.studies.tables import Table

REPLICATES = 500
NOTES = (
    "`one model`: the mean over an arm's fold models, each measured alone. `mean of n`: their mean probability"
    " (Lakshminarayanan 2017). Log loss, ECE and AURC are better when lower; accuracy, gain and errors caught when higher."
    " ECE is the mean over classes; AURC orders films by the probability of the class on top. `gain`: one model's log loss"
    " minus that of the mean.",
    f"Flags are on the mean's calls: films where the models' probabilities of the class on top deviate by more than"
    f" {PAPER_DEVIATION}, and as many where that class is least probable.",
)

# What `label_summary.Draw` calls them, which knows that noise lifts a calibration error above 0.
COLUMNS = {"accuracy": "accuracy", "log_loss": "log loss", "classwise_ece": "ECE", "aurc": "AURC"}
Statistic = Callable[[Floats], Floats]


def table(variant: Variant, results: Sequence[ArmResult]) -> Table | None:
    """None where there is no list, or one model an arm."""
    rows = [
        row
        for result in results
        if result.list is not None and len(result.members) > 1
        for row in _rows(variant.arms[result.arm].title, result.members, result.list)
    ]
    return Table("One model or the mean of several", rows, NOTES) if rows else None


def _rows(title: str, members: Sequence[Predictions], mean: Predictions) -> list[dict[str, Any]]:
    draw, films = Draw(REPLICATES, 0, 0.95), len(mean.films)
    one, many = _mean_of([_measures(member) for member in members]), _measures(mean)
    cells = []
    for statistic in (one, many):
        found = draw.estimates(list(COLUMNS), statistic, films, mean.patients)
        cells.append({column: found[name].as_dict() for name, column in COLUMNS.items()})
    losses = list(COLUMNS).index("log_loss")

    def gained(weights: Floats) -> Floats:
        return (one(weights) - many(weights))[:, [losses]]

    gain = draw.estimates(["gain"], gained, films, mean.patients)["gain"]
    empty = dict.fromkeys(("gain", "flagged", "errors caught", "errors caught by least probable"))
    return [
        {"arm": title, "model": "one model", **cells[0], **empty},
        {"arm": title, "model": f"mean of {len(members)}", **cells[1], "gain": gain.as_dict(), **_flags(members, mean)},
    ]  # fmt: skip


def _flags(members: Sequence[Predictions], mean: Predictions) -> dict[str, Any]:
    top = mean.probability.argmax(1)
    deviation = np.std([m.probability[np.arange(len(top)), top] for m in members], axis=0, ddof=1)
    doubt = 1 - mean.probability.max(1)
    found = compare_flags(
        ~mean.right, deviation, PAPER_DEVIATION, doubt, DOUBT, mean.patients, replicates=REPLICATES
    )
    return {
        "flagged": found.first.rate.as_dict(),
        "errors caught": found.first.caught.as_dict(),
        "errors caught by least probable": found.second_at_equal_rate.caught.as_dict(),
    }


def _mean_of(statistics: Sequence[Statistic]) -> Statistic:
    return lambda weights: np.mean([each(weights) for each in statistics], axis=0)


def _measures(p: Predictions) -> Statistic:
    """A function of weights (replicates, n) to COLUMNS, (replicates, 4). What depends on films alone is worked out once."""
    right, confidence = top_label(p.truth.argmax(1), p.probability)
    loss = film_log_loss(np.ones(len(p.films)), (p.truth * p.probability).sum(1))
    columns = zip(p.truth.T, p.probability.T, strict=True)
    gaps = [bin_gaps(truth, values, equal_width_bins(values, BINS)) for truth, values in columns]

    def statistic(weights: Floats) -> Floats:
        total = weights.sum(1)
        ece = np.mean([weighted_calibration_error(gap, weights) for gap in gaps], axis=0)
        risk, _ = weighted_areas(1 - right, 1 - confidence, weights)
        return np.column_stack([weights @ right / total, weights @ loss / total, ece, risk])

    return statistic
