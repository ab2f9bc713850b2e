"""Sets of exclusive classes that hold the true one as often as they say (split conformal prediction).

A score says how strange a class would be for a film; the set holds every class that is no stranger than most true ones
of the calibration films were. Patients, not films, are taken for exchangeable, as in `hilum.evaluation.risk_control`:
with one film a patient this is the (n + 1)(1 - alpha)-th smallest score of split conformal prediction.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from hilum.errors import EvaluationError
from hilum.evaluation.arrays import Bools, Floats, Ints, as_clusters
from hilum.evaluation.estimate import Estimate, finite
from hilum.evaluation.risk_control import mean_by_patient, strictest


@dataclass(frozen=True)
class ConformalSets:
    """What makes a set of scores.

    Attributes
    ----------
    cuts: (classes,); a class is in the set where its score <= its cut. inf (always in) where the patients are too
        few to leave it out.
    alpha: the share of films, averaged by patient, whose set may miss their class.
    patients: how many each cut rests on.
    guarantee: what is guaranteed, under which assumption.
    """

    cuts: tuple[float, ...]
    alpha: float
    patients: tuple[int, ...]
    guarantee: str

    def sets(self, scores: ArrayLike) -> Bools:
        """Scores (n, classes), made as those of the fit, to membership of the same shape; a set may be empty."""
        values = np.asarray(scores, np.float64)
        if values.ndim != 2 or values.shape[1] != len(self.cuts):
            raise EvaluationError(f"scores {values.shape} for {len(self.cuts)} classes")
        return values <= np.array(self.cuts)

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON; an infinite cut becomes None."""
        return {
            "cuts": [finite(cut) for cut in self.cuts],
            "alpha": self.alpha,
            "patients": list(self.patients),
            "guarantee": self.guarantee,
        }


@dataclass(frozen=True)
class SetScores:
    """How sets do on other films: `coverage` over all, `by_class`, `size` of the mean set, `single` and `empty` shares."""

    coverage: Estimate
    by_class: tuple[Estimate, ...]
    size: float
    single: float
    empty: float


def lac_scores(probabilities: ArrayLike) -> Floats:
    """1 - p: the smallest sets on average, smaller where the model is sure (Sadinle, Lei & Wasserman, JASA 2019).

    Probabilities (n, classes) to scores of the same shape.
    """
    return 1 - _probabilities(probabilities)


def aps_scores(probabilities: ArrayLike, seed: int = 0) -> Floats:
    """Adaptive sets: the mass of the classes more probable, and a random part of its own (Romano, Sesia & Candes 2020).

    Sets grow with a film's difficulty, so that coverage is more even among films than that of `lac_scores`, at larger
    sets. The random part, one draw a film by `seed`, makes coverage exact; give calibration and new films other seeds.
    Probabilities (n, classes) to scores of the same shape; classes of equal probability stand in their order.
    """
    values = _probabilities(probabilities)
    order = np.argsort(-values, axis=1, kind="stable")
    ranked = np.take_along_axis(values, order, 1)
    part = np.random.default_rng(seed).random((len(values), 1))
    scores = np.empty_like(values)
    np.put_along_axis(scores, order, np.cumsum(ranked, axis=1) - ranked + part * ranked, 1)
    return scores


def fit_sets(
    truth: ArrayLike, scores: ArrayLike, alpha: float, groups: ArrayLike | None = None
) -> ConformalSets:
    """One cut for all classes.

    Truth (n,) class numbers, -1 unknown; scores (n, classes) of `lac_scores` or `aps_scores`; groups (n,) patients.
    Fitted on films that neither trained nor calibrated the model.
    """
    classes, values, cluster = _known(truth, scores, groups)
    cut, patients = _cut(values[np.arange(len(classes)), classes], cluster, alpha)
    number = values.shape[1]
    return ConformalSets(
        (cut,) * number,
        alpha,
        (patients,) * number,
        f"The sets of a new patient's films hold the true class for at least {100 * (1 - alpha):g} % of them, in "
        "expectation over calibration and new patients, if they are exchangeable; over all classes together.",
    )


def fit_sets_by_class(
    truth: ArrayLike, scores: ArrayLike, alpha: float, groups: ArrayLike | None = None
) -> ConformalSets:
    """A cut a class, fitted on that class alone (Vovk's label-conditional sets), so that a rare one is covered too.

    Arrays as in `fit_sets`. A class needs 1 / alpha - 1 patients, else it is in every set.
    """
    classes, values, cluster = _known(truth, scores, groups)
    fitted = [_cut(values[classes == c, c], cluster[classes == c], alpha) for c in range(values.shape[1])]
    return ConformalSets(
        tuple(cut for cut, _ in fitted),
        alpha,
        tuple(patients for _, patients in fitted),
        f"Of each class, the sets of a new patient's films hold it for at least {100 * (1 - alpha):g} % of them, in "
        "expectation over calibration and new patients of that class, if they are exchangeable.",
    )


def score_sets(truth: ArrayLike, sets: ArrayLike, groups: ArrayLike | None = None) -> SetScores:
    """Coverage by patient, with intervals, and sizes. Truth (n,) class numbers, -1 unknown; sets (n, classes) booleans."""
    classes, held, cluster = _known(truth, np.asarray(sets, np.float64), groups)
    right = held[np.arange(len(classes)), classes]
    size = held.sum(1)
    return SetScores(
        coverage=mean_by_patient(right, cluster),
        by_class=tuple(
            mean_by_patient(right[classes == c], cluster[classes == c]) for c in range(held.shape[1])
        ),
        size=float(size.mean()) if len(size) else float("nan"),
        single=float((size == 1).mean()) if len(size) else float("nan"),
        empty=float((size == 0).mean()) if len(size) else float("nan"),
    )


def _cut(scores: Floats, cluster: Ints, alpha: float) -> tuple[float, int]:
    _, inverse, counts = np.unique(cluster, return_inverse=True, return_counts=True)
    return strictest(scores, 1 / counts[inverse], len(counts), alpha), len(counts)


def _known(truth: ArrayLike, scores: ArrayLike, groups: ArrayLike | None) -> tuple[Ints, Floats, Ints]:
    classes, values = np.asarray(truth, np.int64), np.asarray(scores, np.float64)
    if values.ndim != 2 or classes.shape != values.shape[:1] or classes.max(initial=-1) >= values.shape[1]:
        raise EvaluationError(f"classes {classes.shape} do not fit scores {values.shape}")
    known = classes >= 0
    return classes[known], values[known], as_clusters(groups, len(classes))[0][known]


def _probabilities(values: ArrayLike) -> Floats:
    array = np.asarray(values, np.float64)
    if array.ndim != 2 or not np.allclose(array.sum(1), 1, atol=1e-3) or np.any(array < 0):
        raise EvaluationError("rows of probabilities of exclusive classes do not add up to 1")
    return array
