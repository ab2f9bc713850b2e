"""One model or the mean of an arm's fold models (a deep ensemble), on the published test list: how right, and how sure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from hilum.evaluation.arrays import Floats, Ints
from hilum.evaluation.bootstrap import bootstrap
from hilum.evaluation.flags import PAPER_DEVIATION, compare_flags
from hilum.evaluation.reliability import classwise_calibration_error, log_loss, top_label
from hilum.evaluation.selective import aurc
from hilum.studies.dropout import DOUBT
from hilum.studies.results import ArmResult, Predictions
from hilum.studies.study import Variant
from hilum.studies.tables import Table

REPLICATES = 500
NOTES = (
    "`one model`: the mean over an arm's fold models, each measured alone. `mean of n`: their mean probability"
    " (Lakshminarayanan 2017). All but accuracy are better when lower. ECE is over classes; AURC orders films by the"
    " probability of the class on top. `gain`: one model's log loss minus that of the mean.",
    f"Flags are on the mean's calls: films where the models' probabilities of the class on top deviate by more than"
    f" {PAPER_DEVIATION}, and as many where that class is least probable.",
)

Measure = Callable[[Predictions, Ints], float]


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
    columns: dict[str, Measure] = {"accuracy": _accuracy, "log loss": _log_loss, "ECE": _ece, "AURC": _aurc}
    one = {name: _estimate(members, measure) for name, measure in columns.items()}
    many = {name: _estimate([mean], measure) for name, measure in columns.items()}
    gain = bootstrap(
        lambda films: _mean(members, _log_loss, films) - _log_loss(mean, films),
        len(mean.films),
        mean.patients,
        replicates=REPLICATES,
    )
    empty = dict.fromkeys(("gain", "flagged", "errors caught", "errors caught by least probable"))
    return [
        {"arm": title, "model": "one model", **one, **empty},
        {"arm": title, "model": f"mean of {len(members)}", **many, "gain": gain.as_dict(), **_flags(members, mean)},
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


def _estimate(models: Sequence[Predictions], measure: Measure) -> dict[str, Any]:
    first = models[0]
    return bootstrap(
        lambda films: _mean(models, measure, films), len(first.films), first.patients, replicates=REPLICATES
    ).as_dict()


def _mean(models: Sequence[Predictions], measure: Measure, films: Ints) -> float:
    return float(np.mean([measure(model, films) for model in models]))


def _accuracy(p: Predictions, films: Ints) -> float:
    return float(p.right[films].mean())


def _log_loss(p: Predictions, films: Ints) -> float:
    return float(log_loss(np.ones(len(films)), _of_truth(p)[films])[0])


def _ece(p: Predictions, films: Ints) -> float:
    return classwise_calibration_error(p.truth.argmax(1)[films], p.probability[films])


def _aurc(p: Predictions, films: Ints) -> float:
    right, confidence = top_label(p.truth.argmax(1)[films], p.probability[films])
    return float(aurc(1 - right, 1 - confidence)[0])


def _of_truth(p: Predictions) -> Floats:
    """(n,) the probability of the true class."""
    return np.asarray((p.truth * p.probability).sum(1))
