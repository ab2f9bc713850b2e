"""What a comparison of arms shows and what it does not, in words: every test beside the one that decides, Holm over all.

Three questions, three doors: other training films (`compare_folds`), another seed (`compare_seeds`), other test films
(`compare_accuracies`, `compare_macro_aucs`). An answer to one is none to the others, and each verdict says so.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from hilum.errors import EvaluationError
from hilum.evaluation import comparison, delong
from hilum.evaluation.estimate import Estimate, finite
from hilum.evaluation.mcnemar import mcnemar

LEVEL = 0.05
_FOLDS = "Folds share training films, so the uncorrected t-tests are too sure of themselves; the corrected one decides."
_SEEDS = "This is about training again on the same films, not about other films."
_FILMS = "This is about other films for these trained models, not about training them again."


@dataclass(frozen=True)
class Verdict:
    """One arm against another.

    Attributes
    ----------
    first, second: their names; `difference` is first minus second, with the interval of the deciding test.
    quantity: what is compared ("accuracy", "macro AUC").
    p_values: the p-value of each test made, by its name.
    deciding: the name of the test that decides.
    adjusted: its p-value after Holm over `comparisons`; NaN where it could not be made.
    comparisons: how many verdicts were asked for together.
    caveat: what the tests do not speak of.
    digits: decimals to print.
    """

    first: str
    second: str
    quantity: str
    difference: Estimate
    p_values: dict[str, float]
    deciding: str
    adjusted: float
    comparisons: int
    caveat: str
    digits: int

    @property
    def shown(self) -> bool:
        """Whether a difference is shown at a familywise level of 5 %."""
        return self.adjusted < LEVEL

    def words(self) -> str:
        """A short paragraph for a report."""
        value, low, high = (
            f"{v:.{self.digits}f}" for v in (self.difference.value, self.difference.low, self.difference.high)
        )
        if math.isnan(self.adjusted):
            return (
                f"{self.first} − {self.second}: {self.quantity} {value}; not tested: {self.difference.note}."
            )
        tests = ", ".join(f"{name} p = {_p(p)}" for name, p in self.p_values.items())
        corrected = f"; Holm over {self.comparisons} p = {_p(self.adjusted)}" if self.comparisons > 1 else ""
        if self.shown:
            better = self.first if self.difference.value > 0 else self.second
            outcome = f"Shown to differ: {better} is higher"
        else:
            outcome = (
                f"Not shown to differ; nor shown to be equal: a difference from {low} to {high} fits the data"
            )
        return (
            f"{self.first} − {self.second}: {self.quantity} {value} (95 % {low} to {high}, {self.deciding}); "
            f"{tests}{corrected}. {outcome}. {self.caveat}"
        )

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON; NaN becomes None."""
        return {
            "first": self.first,
            "second": self.second,
            "quantity": self.quantity,
            "difference": self.difference.as_dict(),
            "p_values": {name: finite(p) for name, p in self.p_values.items()},
            "deciding": self.deciding,
            "adjusted": finite(self.adjusted),
            "comparisons": self.comparisons,
            "shown": self.shown,
            "words": self.words(),
        }


def compare_folds(
    arms: Mapping[str, ArrayLike],
    against: str,
    test_over_train: float,
    *,
    quantity: str = "accuracy",
    digits: int = 2,
) -> tuple[Verdict, ...]:
    """The arm `against` minus each other one over shared folds; the corrected resampled t-test decides.

    Parameters
    ----------
    arms: a name to its (k,) values, the same fold at the same place, each on films that its fold held out.
    test_over_train: films held out over films trained on, in one fold (see `comparison.corrected_t`).
    digits: decimals to print: 2 suits per cent.
    """
    verdicts = []
    for name, values in _others(arms, against):
        tests = [
            comparison.corrected_t(arms[against], values, test_over_train),
            comparison.paired_t(arms[against], values),
            comparison.student_t(arms[against], values),
        ]
        p_values = {test.difference.method: test.p_value for test in tests}
        verdicts.append(_verdict(against, name, quantity, tests[0].difference, p_values, _FOLDS, digits))
    return _corrected(verdicts)


def compare_seeds(
    arms: Mapping[str, ArrayLike], against: str, *, quantity: str = "macro AUC", digits: int = 4
) -> tuple[Verdict, ...]:
    """The arm `against` minus each other one over seeds on one split; the paired t-test decides.

    arms: a name to its (k,) values, the same seed at the same place.
    """
    verdicts = []
    for name, values in _others(arms, against):
        tests = [comparison.paired_t(arms[against], values), comparison.student_t(arms[against], values)]
        p_values = {test.difference.method: test.p_value for test in tests}
        verdicts.append(_verdict(against, name, quantity, tests[0].difference, p_values, _SEEDS, digits))
    return _corrected(verdicts)


def compare_accuracies(
    arms: Mapping[str, ArrayLike], against: str, groups: ArrayLike | None = None, *, digits: int = 4
) -> tuple[Verdict, ...]:
    """The accuracy of `against` minus that of each other arm on the same films; the exact McNemar test decides.

    arms: a name to (n,) booleans, whether its calls were right. groups: (n,) patients.
    """
    verdicts = []
    for name, right in _others(arms, against):
        test = mcnemar(arms[against], right, groups)
        difference = replace(test.difference, method=f"{test.method} exact")
        p_values = {
            difference.method: test.p_exact,
            f"{test.method} mid-p": test.p_mid,
            f"{test.method} chi-square": test.p_normal,
        }
        verdicts.append(_verdict(against, name, "accuracy", difference, p_values, _FILMS, digits))
    return _corrected(verdicts)


def compare_macro_aucs(
    truth: ArrayLike,
    arms: Mapping[str, ArrayLike],
    against: str,
    groups: ArrayLike | None = None,
    *,
    digits: int = 4,
) -> tuple[Verdict, ...]:
    """The macro AUC of `against` minus that of each other arm on the same films, by paired DeLong.

    truth: (n, labels) in {0, 1, NaN}. arms: a name to its scores (n, labels). groups: (n,) patients.
    """
    verdicts = []
    for name, scores in _others(arms, against):
        test = delong.compare_macro_auc(truth, arms[against], scores, groups)
        p_values = {test.difference.method: test.p_value}
        verdicts.append(_verdict(against, name, "macro AUC", test.difference, p_values, _FILMS, digits))
    return _corrected(verdicts)


def _others(arms: Mapping[str, ArrayLike], against: str) -> list[tuple[str, ArrayLike]]:
    if against not in arms or len(arms) < 2:
        raise EvaluationError(f"arms {', '.join(arms)} cannot be compared with '{against}'")
    return [(name, values) for name, values in arms.items() if name != against]


def _verdict(
    first: str,
    second: str,
    quantity: str,
    difference: Estimate,
    p_values: dict[str, float],
    caveat: str,
    digits: int,
) -> Verdict:
    deciding = difference.method
    return Verdict(
        first, second, quantity, difference, p_values, deciding, p_values[deciding], 1, caveat, digits
    )


def _corrected(verdicts: list[Verdict]) -> tuple[Verdict, ...]:
    adjusted = comparison.holm([v.p_values[v.deciding] for v in verdicts])
    count = int((~np.isnan(adjusted)).sum())
    return tuple(
        replace(v, adjusted=float(p), comparisons=count) for v, p in zip(verdicts, adjusted, strict=True)
    )


def _p(value: float) -> str:
    return "< 0.0001" if value < 1e-4 else f"{value:.4f}".rstrip("0") if value < 0.01 else f"{value:.3f}"
