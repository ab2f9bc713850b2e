"""One line of an audit's verdict, and when a figure counts as sure."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Literal

from hilum.evaluation.estimate import Estimate

Level = Literal["trap", "watch", "ok", "not measurable"]
LEVELS: tuple[Level, ...] = ("trap", "watch", "ok", "not measurable")

SEPARATED = 5
"""Films a side from which on a complete separation counts as sure, though it has no interval."""


@dataclass(frozen=True)
class Statement:
    """One line of the verdict. `code` is stable, for machines; `figures` are plain values."""

    code: str
    level: Level
    title: str
    words: str
    rule: str
    figures: dict[str, Any] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return dict(vars(self))


def surely_above(estimate: Estimate, level: float) -> bool:
    """The lower end of the interval is above `level`; a complete separation of films enough counts as 1."""
    if not math.isnan(estimate.low):
        return estimate.low > level
    positives = (
        estimate.n // 2 if estimate.positives is None else estimate.positives
    )  # a macro AUC has no one number
    return estimate.value >= 1 > level and min(positives, estimate.n - positives) >= SEPARATED


def surely_falls(change: Estimate) -> bool:
    """The upper end of the interval is below 0; where nothing varies and films are enough, the value itself."""
    if not math.isnan(change.high):
        return change.high < 0
    return change.value < 0 and change.n >= 2 * SEPARATED


def unmeasured(code: str, title: str, why: str) -> Statement:
    """Why a question has no answer here."""
    return Statement(code, "not measurable", title, f"Not measurable: {why.rstrip('.')}.", "")
