"""Thresholds with a stated guarantee for labels that may stand together.

Conformal risk control (Angelopoulos, Bates, Fisch, Lei & Schuster, ICLR 2024): of n exchangeable losses in [0, 1] that
do not rise as more is called, take the strictest threshold with (sum of losses + 1) / (n + 1) <= alpha; the next loss
is then at most alpha in expectation, whatever the model and the distribution.

What is exchangeable here are patients, not films. A loss is a patient's mean over his films, so a patient of thirty
films counts as one of a single film does, and films of one patient may depend on each other in any way. Nothing is
guaranteed where patients come from elsewhere, nor in a subgroup, nor for the one calibration set at hand: the
expectation is over calibration sets too. `control_misses_surely` holds for all but a share delta of calibration sets.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import bdtr, xlogy

from hilum.errors import EvaluationError
from hilum.evaluation import confusion
from hilum.evaluation.arrays import Bools, Floats, Ints, as_clusters, as_pair
from hilum.evaluation.estimate import Estimate, finite, wilson

# Sums of patients' shares such as 1/3 + 1/3 + 1/3 miss a whole number by some 1e-16.
_ROUNDING = 1e-9
_CALLS = {float("-inf"): "all", float("inf"): "none"}


@dataclass(frozen=True)
class RiskControl:
    """Thresholds, one a label, with what they guarantee.

    Attributes
    ----------
    thresholds: a label is called where its probability >= this. -inf (calls every film) or inf (calls none) where
        the patients are too few to guarantee more.
    alpha: the greatest risk allowed.
    patients: how many patients each threshold rests on.
    guarantee: what is guaranteed, under which assumption.
    """

    thresholds: tuple[float, ...]
    alpha: float
    patients: tuple[int, ...]
    guarantee: str

    def calls(self, probabilities: ArrayLike) -> Bools:
        """Probabilities (n, labels) to calls of the same shape."""
        return confusion.call(probabilities, self.thresholds)

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON; an infinite threshold becomes None, and `calls` says which of the two it was."""
        return {
            "thresholds": [finite(t) for t in self.thresholds],
            "calls": [_CALLS.get(t, "at threshold") for t in self.thresholds],
            "alpha": self.alpha,
            "patients": list(self.patients),
            "guarantee": self.guarantee,
        }


def control_misses(
    truth: ArrayLike, probabilities: ArrayLike, alpha: float, groups: ArrayLike | None = None
) -> RiskControl:
    """The highest threshold of each label that keeps its expected share of misses at or below alpha.

    Truth (n, labels) in {0, 1, NaN}, probabilities (n, labels), groups (n,) patients. A label needs
    1 / alpha - 1 patients who have it, else its threshold is -inf.
    """
    cuts, patients = _cuts(truth, probabilities, alpha, groups, 1.0)
    return RiskControl(
        tuple(-cut for cut in cuts),
        alpha,
        patients,
        f"Of the films that show a finding, a new patient who has it has at most {100 * alpha:g} % not called, in "
        "expectation over calibration and new patients, if they are exchangeable.",
    )


def control_false_alarms(
    truth: ArrayLike, probabilities: ArrayLike, alpha: float, groups: ArrayLike | None = None
) -> RiskControl:
    """The lowest threshold of each label that keeps its expected share of false alarms at or below alpha.

    Arrays as in `control_misses`. A label needs 1 / alpha - 1 patients without it, else its threshold is inf.
    """
    cuts, patients = _cuts(truth, probabilities, alpha, groups, 0.0)
    return RiskControl(
        tuple(float(np.nextafter(cut, np.inf)) for cut in cuts),
        alpha,
        patients,
        f"Of the films that do not show a finding, a new patient has at most {100 * alpha:g} % called, in expectation "
        "over calibration and new patients, if they are exchangeable.",
    )


def control_missed_share(
    truth: ArrayLike, probabilities: ArrayLike, alpha: float, groups: ArrayLike | None = None
) -> RiskControl:
    """One threshold for all labels: of the findings on a film, the expected share that is not called is at most alpha.

    Arrays as in `control_misses`; calibrated probabilities, for the labels share the threshold. The false negative rate
    of Angelopoulos et al., section 4.1, over films with a finding, averaged over each patient's.
    """
    labels, values = as_pair(truth, probabilities)
    found = labels == 1
    film, column = np.nonzero(found)
    cluster = as_clusters(groups, len(labels))[0]
    with_any, films_of = np.unique(cluster[found.any(1)], return_counts=True)
    films = np.zeros(cluster.max(initial=0) + 1)
    films[with_any] = films_of
    share = 1 / (found.sum(1)[film] * films[cluster[film]])
    threshold = -strictest(-values[film, column], share, len(with_any), alpha)
    return RiskControl(
        (threshold,) * labels.shape[1],
        alpha,
        (len(with_any),) * labels.shape[1],
        f"Of the findings on the films of a new patient who has any, at most {100 * alpha:g} % are not called, in "
        "expectation over calibration and new patients, if they are exchangeable.",
    )


def control_misses_surely(
    truth: ArrayLike,
    probabilities: ArrayLike,
    alpha: float,
    delta: float = 0.1,
    groups: ArrayLike | None = None,
) -> RiskControl:
    """As `control_misses`, but for all calibration sets except a share delta: the risk itself is at most alpha.

    Learn-then-Test (Angelopoulos, Bates, Candes, Jordan & Lei 2021) from the most lenient threshold on, stopping
    at the first whose risk is not shown to be below alpha; for a risk that only rises this is Bates et al. (JACM
    2021). Its p-value is the binomial one where each patient has one film with the finding, else Hoeffding's and
    Bentkus's. Each label on its own: give delta / labels for all at once.
    """
    _check(alpha, "alpha")
    _check(delta, "delta")
    labels, values = as_pair(truth, probabilities)
    cluster = as_clusters(groups, len(labels))[0]
    thresholds, patients = [], []
    for label, value in zip(labels.T, values.T, strict=True):
        share, count = _shares(cluster[label == 1])
        thresholds.append(_shown_below(value[label == 1], share, count, alpha, delta))
        patients.append(count)
    return RiskControl(
        tuple(thresholds),
        alpha,
        tuple(patients),
        f"For {100 * (1 - delta):g} % of calibration sets: of the films that show a finding, patients like these who "
        f"have it have on average at most {100 * alpha:g} % not called. For each label alone.",
    )


def missed_shares(
    truth: ArrayLike, called: ArrayLike, groups: ArrayLike | None = None
) -> tuple[Estimate, ...]:
    """What `control_misses` controls, measured: the mean over patients of the share of their positive films missed."""
    labels, found = as_pair(truth, np.asarray(called, np.float64))
    cluster = as_clusters(groups, len(labels))[0]
    return tuple(
        mean_by_patient(np.where(t == 1, 1 - c, np.nan), cluster)
        for t, c in zip(labels.T, found.T, strict=True)
    )


def mean_by_patient(values: ArrayLike, groups: ArrayLike | None = None, confidence: float = 0.95) -> Estimate:
    """The mean over patients of their films' mean value; values (n,) in [0, 1], NaN left out.

    The interval is Wilson's with a trial a patient: too wide rather than too narrow where patients' means lie
    between 0 and 1, and not empty where all are 0 or all are 1.
    """
    value = np.asarray(values, np.float64)
    known = ~np.isnan(value)
    share, patients = _shares(as_clusters(groups, len(value))[0][known])
    if not patients:
        return Estimate.undefined("no films to count", 0, None, "Wilson over patients")
    mean = float(np.clip(share @ value[known] / patients, 0, 1))
    low, high = wilson(mean, patients, confidence)
    return Estimate(mean, low, high, int(known.sum()), None, "Wilson over patients")


def strictest(scores: Floats, shares: Floats, patients: int, alpha: float) -> float:
    """The smallest cut with (sum of the shares of scores above it + 1) / (patients + 1) <= alpha.

    Scores and shares (m,): a film's part in its patient's loss. inf where there are too few patients, -inf where the
    loss is allowed whatever the cut.
    """
    _check(alpha, "alpha")
    allowed = alpha * (patients + 1) - 1 + _ROUNDING
    if allowed < 0:
        return float("inf")
    order = np.argsort(-scores, kind="stable")
    lost = np.cumsum(shares[order])
    if not len(lost) or lost[-1] <= allowed:
        return float("-inf")
    # The first film, from the highest score down, that may not be lost; its ties must then be kept as well.
    return float(scores[order][np.searchsorted(lost, allowed, side="right")])


def _cuts(
    truth: ArrayLike, probabilities: ArrayLike, alpha: float, groups: ArrayLike | None, kind: float
) -> tuple[list[float], tuple[int, ...]]:
    labels, values = as_pair(truth, probabilities)
    cluster = as_clusters(groups, len(labels))[0]
    cuts, patients = [], []
    for label, value in zip(labels.T, -values.T if kind else values.T, strict=True):
        share, count = _shares(cluster[label == kind])
        cuts.append(strictest(value[label == kind], share, count, alpha))
        patients.append(count)
    return cuts, tuple(patients)


def _shares(cluster: Ints) -> tuple[Floats, int]:
    """One over the number of films of each film's patient, (m,), and how many patients there are."""
    _, inverse, counts = np.unique(cluster, return_inverse=True, return_counts=True)
    return 1 / counts[inverse], len(counts)


def _shown_below(values: Floats, shares: Floats, patients: int, alpha: float, delta: float) -> float:
    """The highest of the films' own values that as a threshold is shown to miss at most alpha; -inf without one."""
    cuts, first = np.unique(np.sort(values), return_index=True)
    missed = np.append(0.0, np.cumsum(shares[np.argsort(values, kind="stable")]))[first]
    p_value = _bounded_p(missed / max(1, patients), patients, alpha, single=bool(np.all(shares == 1)))
    held = int(np.argmax(p_value > delta)) if np.any(p_value > delta) else len(cuts)
    return float(cuts[held - 1]) if held else float("-inf")


def _bounded_p(risk: Floats, n: int, alpha: float, *, single: bool) -> Floats:
    """p-values of "the risk is above alpha" for mean losses `risk` of n patients, losses in [0, 1] (or 0 and 1)."""
    seen = np.ceil(n * risk - _ROUNDING)
    binomial = bdtr(seen, n, alpha)
    if single:
        return binomial
    low = np.minimum(risk, alpha)
    distance = xlogy(low, low / alpha) + xlogy(1 - low, (1 - low) / (1 - alpha))
    return np.minimum(np.exp(-n * distance), np.e * binomial)


def _check(level: float, name: str) -> None:
    if not 0 < level < 1:
        raise EvaluationError(f"{name} is {level}, not between 0 and 1")
