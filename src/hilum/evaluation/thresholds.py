"""Operating points, one a label, chosen on validation data and named for what they optimise."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from hilum.errors import EvaluationError
from hilum.evaluation.arrays import Floats, as_pair
from hilum.evaluation.estimate import NAN, finite
from hilum.evaluation.ranking import counts_at_thresholds

# Below this many positives a threshold fitted to them says more about them than about the label.
MINIMUM_POSITIVES = 5
FALLBACK_SPECIFICITY = 0.9


@dataclass(frozen=True)
class Threshold:
    """A film is called positive where its score >= `value`.

    Attributes
    ----------
    value: on the scale of the scores it was chosen on; NaN where nothing could be chosen (never a silent
        0.5).
    rule: what it optimises ("youden", "sensitivity 0.9", "f1", or "specificity 0.9" for the fallback).
    sensitivity, specificity: what it reached on the data it was chosen on; NaN where undefined.
    n, positives: how many films, and positives, it was chosen on.
    note: why the fallback was taken, or why there is none; empty where all is well.
    """

    value: float
    rule: str
    sensitivity: float
    specificity: float
    n: int
    positives: int
    note: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON; NaN becomes None."""
        return {k: finite(v) if isinstance(v, float) else v for k, v in asdict(self).items()}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Threshold:
        """The inverse of `as_dict`."""
        numbers = {
            k: NAN if data[k] is None else float(data[k]) for k in ("value", "sensitivity", "specificity")
        }
        return cls(
            rule=data["rule"],
            n=int(data["n"]),
            positives=int(data["positives"]),
            note=data["note"],
            **numbers,
        )


def youden(truth: ArrayLike, scores: ArrayLike) -> Threshold:
    """The greatest sensitivity + specificity - 1 (Youden 1950). Truth and scores (n,)."""
    return _choose(truth, scores, "youden", lambda tp, fp: tp / tp[-1] - fp / fp[-1])


def max_fbeta(truth: ArrayLike, scores: ArrayLike, beta: float = 1.0) -> Threshold:
    """The greatest F-beta; beta above 1 prefers sensitivity. Truth and scores (n,)."""

    def fbeta(tp: Floats, fp: Floats) -> Floats:
        return (1 + beta**2) * tp / (beta**2 * tp[-1] + tp + fp)

    return _choose(truth, scores, f"f{beta:g}", fbeta)


def target_sensitivity(truth: ArrayLike, scores: ArrayLike, target: float = 0.9) -> Threshold:
    """The highest threshold, hence the best specificity, with sensitivity at least `target`, in (0, 1]."""
    if not 0 < target <= 1:
        raise EvaluationError(f"a target sensitivity of {target} lies outside (0, 1]")

    def reached(tp: Floats, fp: Floats) -> Floats:
        # Among the thresholds that reach it, fewer false positives are better; -1 marks those that do not.
        enough = tp >= np.ceil(round(target * tp[-1], 9))
        return np.where(enough, 1 - fp / fp[-1], -1.0)

    return _choose(truth, scores, f"sensitivity {target:g}", reached)


def choose_thresholds(truth: ArrayLike, scores: ArrayLike, rule: str = "youden") -> tuple[Threshold, ...]:
    """One threshold a label by a named rule: "youden", "f1", "f2" (any "f<beta>") or "sensitivity 0.9".

    Truth (n, labels) in {0, 1, NaN}, scores (n, labels). Labels with fewer than 5 positives (or without
    negatives)
    get the fallback that their note describes: the score that 10 % of the negatives reach.
    """
    choose = _rule(rule)
    labels, values = as_pair(truth, scores)
    return tuple(choose(t, s) for t, s in zip(labels.T, values.T, strict=True))


def threshold_values(thresholds: Sequence[Threshold]) -> Floats:
    """The values alone, (labels,)."""
    return np.array([t.value for t in thresholds], np.float64)


def _rule(rule: str) -> Callable[[ArrayLike, ArrayLike], Threshold]:
    name, _, number = rule.strip().lower().partition(" ")
    try:
        if name == "youden" and not number:
            return youden
        if name == "sensitivity":
            target = float(number)
            return lambda truth, scores: target_sensitivity(truth, scores, target)
        if name.startswith("f") and not number:
            beta = float(name[1:])
            return lambda truth, scores: max_fbeta(truth, scores, beta)
    except ValueError:
        pass
    raise EvaluationError(
        f"no threshold rule '{rule}'", mend="Use 'youden', 'f1', 'f2' or 'sensitivity 0.9'."
    )


def _choose(
    truth: ArrayLike, scores: ArrayLike, rule: str, gain: Callable[[Floats, Floats], Floats]
) -> Threshold:
    """The threshold of greatest gain: a function of true and false positives at each cut, high to low."""
    true, false, cuts = counts_at_thresholds(truth, scores)
    if np.isnan(true[-1]):
        return Threshold(NAN, rule, NAN, NAN, 0, 0, "no known labels")
    positives, negatives = int(true[-1]), int(false[-1])
    n = positives + negatives
    if positives >= MINIMUM_POSITIVES and negatives > 0:
        return _at(int(np.argmax(gain(true, false))), rule, true, false, cuts, "")
    fault = f"{positives} positives and {negatives} negatives are too few for {rule}"
    if not negatives:
        return Threshold(NAN, rule, NAN, NAN, n, positives, f"{fault}; none chosen")
    called = f"specificity {FALLBACK_SPECIFICITY:g}"
    note = f"{fault}; {called} on the negatives instead"
    allowed = np.flatnonzero(1 - false / negatives >= FALLBACK_SPECIFICITY)
    if not len(allowed):  # so many negatives share the top score that no cut keeps the rest below it
        above = float(np.nextafter(cuts[0], np.inf))
        return Threshold(above, called, 0.0 if positives else NAN, 1.0, n, positives, note)
    return _at(int(allowed[-1]), called, true, false, cuts, note)


def _at(index: int, rule: str, true: Floats, false: Floats, cuts: Floats, note: str) -> Threshold:
    # Halfway to the next score below: the same calls here, and less bound to one film's exact score.
    value = cuts[index]
    if index + 1 < len(cuts):
        middle = (cuts[index] + cuts[index + 1]) / 2
        value = middle if middle > cuts[index + 1] else value
    positives, negatives = int(true[-1]), int(false[-1])
    sensitivity = float(true[index] / positives) if positives else NAN
    specificity = float(1 - false[index] / negatives)
    return Threshold(float(value), rule, sensitivity, specificity, positives + negatives, positives, note)
