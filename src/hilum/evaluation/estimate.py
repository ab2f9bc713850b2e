"""One number with its interval, its n, and the reason where it has none."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import ndtri

from hilum.evaluation.arrays import as_clusters

NAN = float("nan")


@dataclass(frozen=True)
class Estimate:
    """A measured value.

    Attributes
    ----------
    value: the point estimate; NaN where it is undefined (never filled in).
    low, high: ends of the interval (95 % unless the maker was asked otherwise); NaN where there is none.
    n: films with a known label that the value rests on.
    positives: how many of them are positive, where that means something.
    method: how the interval was made ("DeLong", "Wilson", "bootstrap by patient", ...).
    note: why a value or an interval is undefined, or what was left out; empty where all is well.
    """

    value: float
    low: float
    high: float
    n: int
    positives: int | None = None
    method: str = ""
    note: str = ""

    @classmethod
    def undefined(cls, note: str, n: int, positives: int | None = None, method: str = "") -> Estimate:
        return cls(NAN, NAN, NAN, n, positives, method, note)

    @property
    def defined(self) -> bool:
        return not math.isnan(self.value)

    def as_dict(self) -> dict[str, float | int | str | None]:
        """Plain values for JSON; NaN becomes None."""
        return {
            "value": finite(self.value),
            "low": finite(self.low),
            "high": finite(self.high),
            "n": self.n,
            "positives": self.positives,
            "method": self.method,
            "note": self.note,
        }

    def __str__(self) -> str:
        if not self.defined:
            text = f"undefined ({self.note or 'no data'})"
        elif math.isnan(self.low):
            text = f"{self.value:.3f} (no interval)"
        else:
            text = f"{self.value:.3f} ({self.low:.3f}–{self.high:.3f})"
        positive = "" if self.positives is None else f", {self.positives} positive"
        return f"{text}, n={self.n}{positive}"


def finite(value: float) -> float | None:
    """The value for JSON, which has neither NaN nor infinity."""
    return float(value) if math.isfinite(value) else None


def quantile_of_normal(confidence: float) -> float:
    """Two-sided standard normal quantile: 1.96 for 0.95."""
    return float(ndtri(0.5 + confidence / 2))


def proportion(
    hits: ArrayLike,
    groups: ArrayLike | None = None,
    *,
    positives: int | None = None,
    confidence: float = 0.95,
) -> Estimate:
    """A share of films with the Wilson interval (Wilson 1927), widened where films share patients.

    Parameters
    ----------
    hits: (n,) booleans, one a trial.
    groups: (n,) patient of each trial. The interval then takes the effective number of trials n / deff of
        Rao & Scott (1992), with deff the ratio of the variance between patients to the binomial one, never
        below 1. At a share of exactly 0 or 1, where deff cannot be estimated, each patient counts once.
    """
    hit = np.asarray(hits, np.float64)
    n = len(hit)
    if n == 0:
        return Estimate.undefined("no films to count", 0, positives, "Wilson")
    share = float(hit.mean())
    cluster, count = as_clusters(groups, n)
    if count == n:
        effective, method = float(n), "Wilson"
    elif share in (0.0, 1.0) or count < 2:
        effective, method = float(count), "Wilson by patient"
    else:
        between = np.bincount(cluster, hit - share, minlength=count)
        variance = count / (count - 1) * float(between @ between) / n**2
        effective, method = n / max(1.0, variance / (share * (1 - share) / n)), "Wilson by patient"
    low, high = wilson(share, effective, confidence)
    return Estimate(share, low, high, n, positives, method)


def wilson(share: float, trials: float, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval for a share seen in so many trials (not necessarily whole)."""
    z = quantile_of_normal(confidence)
    centre = (share + z**2 / (2 * trials)) / (1 + z**2 / trials)
    half = z / (1 + z**2 / trials) * math.sqrt(share * (1 - share) / trials + z**2 / (4 * trials**2))
    # At 0 and 1 an end is the share itself; rounding must not push it past.
    return min(share, max(0.0, centre - half)), max(share, min(1.0, centre + half))
