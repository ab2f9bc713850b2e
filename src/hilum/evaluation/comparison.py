"""Is one arm better than another? Tests over folds and their words.

The t-tests take one value a fold. `hilum.evaluation.mcnemar` compares right and wrong calls film by film,
`hilum.evaluation.delong` AUCs; `hilum.evaluation.verdict` puts any of them in words, corrected for their number.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import stdtr, stdtrit

from hilum.errors import EvaluationError
from hilum.evaluation.arrays import Floats
from hilum.evaluation.estimate import NAN, Estimate

# Rounding leaves variances of about 1e-30 between folds that differ by exactly the same amount.
_NO_VARIANCE = 1e-24
_CONSTANT = "no variance between folds to test against"


@dataclass(frozen=True)
class FoldTest:
    """A difference of two means over folds (first minus second), in the unit of the values.

    Attributes
    ----------
    difference: with the interval that the test inverts to; n is the number of folds of the first arm.
    t: the statistic; NaN where folds do not vary.
    degrees: degrees of freedom.
    p_value: two-sided.
    """

    difference: Estimate
    t: float
    degrees: int
    p_value: float


def student_t(first: ArrayLike, second: ArrayLike, *, confidence: float = 0.95) -> FoldTest:
    """Student's two-sample t-test with equal variances (Student 1908), as if the folds of the arms were unrelated.

    What many papers print. It ignores both that the arms share folds (too little power) and that folds share
    training films (too small a variance): see `corrected_t`. First (k,), second (m,); k and m may differ.
    """
    one, other = _folds(first), _folds(second)
    degrees = len(one) + len(other) - 2
    spread = ((one - one.mean()) ** 2).sum() + ((other - other.mean()) ** 2).sum()
    variance = spread / degrees * (1 / len(one) + 1 / len(other))
    return _test(one, other, variance, degrees, "two-sample Student t", confidence)


def paired_t(first: ArrayLike, second: ArrayLike, *, confidence: float = 0.95) -> FoldTest:
    """The paired t-test over folds, or over seeds, that both arms share. Both (k,), the same fold at the same place."""
    one, other = _paired(first, second)
    variance = (one - other).var(ddof=1) / len(one)
    return _test(one, other, variance, len(one) - 1, "paired t", confidence)


def corrected_t(
    first: ArrayLike, second: ArrayLike, test_over_train: float, *, confidence: float = 0.95
) -> FoldTest:
    """The corrected resampled t-test (Nadeau & Bengio, Machine Learning 52 (2003) 239).

    Folds share training films, so their differences vary less than those of independent training sets would:
    the variance's 1/k becomes 1/k + test films / training films.

    Parameters
    ----------
    first, second: (k,), the same fold at the same place.
    test_over_train: held-out films over films trained on, in one fold: 1/4 in five-fold cross-validation.
    """
    if not (np.isfinite(test_over_train) and test_over_train > 0):
        raise EvaluationError(
            f"a ratio of test to training films of {test_over_train} is not positive",
            mend="Give 1 / (k - 1) for k-fold cross-validation.",
        )
    one, other = _paired(first, second)
    variance = (one - other).var(ddof=1) * (1 / len(one) + test_over_train)
    return _test(one, other, variance, len(one) - 1, "corrected resampled t", confidence)


def mean_t(values: ArrayLike, *, confidence: float = 0.95) -> Estimate:
    """The mean of (k,) repetitions with the interval of Student's t; of one repetition, or of equal ones, without."""
    found = np.asarray(values, np.float64)
    mean, n = float(found.mean()), len(found)
    if np.isnan(mean):
        return Estimate.undefined("undefined in some repetition", n)
    if n < 2 or found.var(ddof=1) <= _NO_VARIANCE * max(1.0, float(np.abs(found).max()) ** 2):
        note = "one repetition" if n < 2 else "repetitions do not vary"
        return Estimate(mean, NAN, NAN, n, None, "Student t over repetitions", note)
    half = float(stdtrit(n - 1, 0.5 + confidence / 2) * found.std(ddof=1) / np.sqrt(n))
    return Estimate(mean, mean - half, mean + half, n, None, "Student t over repetitions")


def holm(p_values: ArrayLike) -> Floats:
    """p-values adjusted for their number (Holm, Scandinavian Journal of Statistics 6 (1979) 65), (k,).

    The chance that any of the k is called different although none is stays below the level. A NaN, a test that
    could not be made, stays NaN and does not count.
    """
    values = np.asarray(p_values, np.float64)
    if values.ndim != 1 or np.any((values < 0) | (values > 1)):
        raise EvaluationError("p-values are not a list of numbers in [0, 1]")
    made = np.flatnonzero(~np.isnan(values))
    order = made[np.argsort(values[made], kind="stable")]
    adjusted = np.full(len(values), NAN)
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(values[order] * np.arange(len(order), 0, -1)))
    return adjusted


def _test(
    one: Floats, other: Floats, variance: float, degrees: int, method: str, confidence: float
) -> FoldTest:
    value, n = float(one.mean() - other.mean()), len(one)
    if variance <= _NO_VARIANCE * max(1.0, float(np.abs(one).max()) ** 2):
        return FoldTest(Estimate(value, NAN, NAN, n, None, method, _CONSTANT), NAN, degrees, NAN)
    deviation = float(np.sqrt(variance))
    half = float(stdtrit(degrees, 0.5 + confidence / 2)) * deviation
    t = value / deviation
    estimate = Estimate(value, value - half, value + half, n, None, method)
    return FoldTest(estimate, t, degrees, float(2 * stdtr(degrees, -abs(t))))


def _folds(values: ArrayLike) -> Floats:
    array = np.asarray(values, np.float64)
    if array.ndim != 1 or len(array) < 2 or not np.all(np.isfinite(array)):
        raise EvaluationError(
            "a test over folds needs one finite value a fold, and two folds at least",
            mend="Leave a fold that was not run out of both arms.",
        )
    return array


def _paired(first: ArrayLike, second: ArrayLike) -> tuple[Floats, Floats]:
    one, other = _folds(first), _folds(second)
    if one.shape != other.shape:
        raise EvaluationError(f"{len(one)} folds of one arm cannot be paired with {len(other)} of the other")
    return one, other
