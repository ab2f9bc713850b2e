"""Numbers with their intervals, as the verdict says them."""

from __future__ import annotations

import math
from collections.abc import Sequence

from hilum.evaluation.covers import Covered
from hilum.evaluation.estimate import Estimate


def short(e: Estimate) -> str:
    """`0.812 (0.771–0.853)`."""
    if not e.defined:
        return "undefined"
    return f"{e.value:.3f}" + ("" if math.isnan(e.low) else f" ({e.low:.3f}–{e.high:.3f})")


def share(e: Estimate) -> str:
    """`47 % (41–53)`."""
    return "no film" if not e.defined else f"{100 * e.value:.0f} % ({100 * e.low:.0f}–{100 * e.high:.0f})"


def difference(c: Covered) -> str:
    """`difference -0.021 (-0.030 to -0.012)`, of covered films less whole ones."""
    return f"difference {signed(c.difference)}"


def signed(e: Estimate) -> str:
    """`+0.021 (+0.012 to +0.030)`."""
    return f"{e.value:+.3f}" + ("" if math.isnan(e.low) else f" ({e.low:+.3f} to {e.high:+.3f})")


def percent(kept: float) -> str:
    """`34 %`; what falls below chance is 0."""
    return "an unknown part" if math.isnan(kept) else f"{100 * max(kept, 0.0):.0f} %"


def listed(names: Sequence[str]) -> str:
    """All of up to four names, else the first three and how many more."""
    if len(names) <= 4:
        return ", ".join(names)
    return f"{', '.join(names[:3])} and {len(names) - 3} more"
