"""Two ways to flag uncertain calls for a reader: which finds the errors?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from hilum.errors import EvaluationError
from hilum.evaluation import confusion
from hilum.evaluation.arrays import Floats
from hilum.evaluation.bootstrap import REPLICATES, bootstrap_weighted, percentile_estimate
from hilum.evaluation.estimate import Estimate, proportion

# What Roy, Hirpara and Bhanushali flag: a standard deviation of Monte Carlo samples above 0.1.
PAPER_DEVIATION = 0.1


@dataclass(frozen=True)
class FlagRates:
    """How one flag does: `rate` of calls flagged, `caught` of the errors flagged (sensitivity), `precision`."""

    rate: Estimate
    caught: Estimate
    precision: Estimate

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {name: getattr(self, name).as_dict() for name in ("rate", "caught", "precision")}


@dataclass(frozen=True)
class FlagComparison:
    """Two flags on the same calls.

    Attributes
    ----------
    first, second: each at its own threshold.
    second_at_equal_rate: the second with its threshold moved so that it flags as many calls as the first.
    more_caught: errors that the second catches at that equal rate, less those that the first does (paired).
    """

    first: FlagRates
    second: FlagRates
    second_at_equal_rate: FlagRates
    more_caught: Estimate

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "first": self.first.as_dict(),
            "second": self.second.as_dict(),
            "second_at_equal_rate": self.second_at_equal_rate.as_dict(),
            "more_caught": self.more_caught.as_dict(),
        }


def compare_flags(
    errors: ArrayLike,
    first: ArrayLike,
    first_threshold: float,
    second: ArrayLike,
    second_threshold: float,
    groups: ArrayLike | None = None,
    *,
    replicates: int = REPLICATES,
    seed: int = 0,
    confidence: float = 0.95,
) -> FlagComparison:
    """The first flag (say the paper's, deviation above 0.1) against the second (say a chance of error above 0.2).

    A call is flagged where its score is above the threshold. A flag that flags more also catches more, so the two
    are compared at the first one's rate: the most uncertain calls by the second score, and of equal ones at the cut a
    share. Rates have Wilson intervals by patient; those at the equal rate, whose threshold moves with the draw, and
    the difference come from drawing patients.

    Parameters
    ----------
    errors: (n,) in {0, 1, NaN}; NaN is left out.
    first, second: (n,) uncertainties, each on its own scale.
    groups: (n,) patients.
    """
    wrong, one, other = (np.asarray(values, np.float64) for values in (errors, first, second))
    if not (wrong.shape == one.shape == other.shape) or wrong.ndim != 1:
        raise EvaluationError(f"errors {wrong.shape} do not fit flags {one.shape} and {other.shape}")
    known = ~np.isnan(wrong)
    wrong, one, other = wrong[known], one[known], other[known]
    if np.any(np.isnan(one) | np.isnan(other)):
        raise EvaluationError("a call with a known truth has no uncertainty")
    patients = None if groups is None else np.asarray(groups)[known]
    flagged = one > first_threshold
    order = np.argsort(-other, kind="stable")
    ends = np.flatnonzero(np.append(np.diff(other[order]) != 0, True)) if len(other) else np.zeros(0, int)

    def statistics(weights: Floats) -> Floats:
        """Rate, errors caught and precision of the second at the first's rate; and how many more it catches."""
        total, mistakes = weights.sum(1), weights @ wrong
        budget, caught_by_first = weights @ flagged, weights @ (flagged * wrong)
        calls = np.cumsum(weights[:, order], axis=1)[:, ends]
        found = np.cumsum(weights[:, order] * wrong[order], axis=1)[:, ends]
        # Between the ends of two runs of equal scores the calls flagged, and the errors among them, grow evenly.
        caught = np.array(
            [
                np.interp(limit, np.append(0.0, c), np.append(0.0, f))
                for limit, c, f in zip(budget, calls, found, strict=True)
            ]
        )
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.column_stack(
                [budget / total, caught / mistakes, caught / budget, (caught - caught_by_first) / mistakes]
            )

    n, positives = len(wrong), int(wrong.sum())
    values = statistics(np.ones((1, n)))[0] if n else np.full(4, np.nan)
    drawn = (
        bootstrap_weighted(statistics, n, patients, replicates=replicates, seed=seed)
        if n
        else np.zeros((0, 4))
    )
    moved = [
        percentile_estimate(
            float(value),
            column,
            n,
            positives=positives,
            by_patient=patients is not None,
            confidence=confidence,
        )
        for value, column in zip(values, drawn.T, strict=True)
    ]
    return FlagComparison(
        first=_rates(wrong, flagged, patients, confidence),
        second=_rates(wrong, other > second_threshold, patients, confidence),
        second_at_equal_rate=FlagRates(*moved[:3]),
        more_caught=moved[3],
    )


def _rates(wrong: Floats, flagged: np.ndarray, patients: np.ndarray | None, confidence: float) -> FlagRates:
    rates = confusion.rate_estimates(wrong, flagged[:, None], patients, confidence=confidence)[0]
    share = proportion(flagged, patients, positives=int(wrong.sum()), confidence=confidence)
    return FlagRates(rate=share, caught=rates["sensitivity"], precision=rates["precision"])
