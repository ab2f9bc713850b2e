"""Has what comes in, or what comes out, moved? The population stability index of the last films against the first ones.

A bundle holds no distribution of its validation scores, so the reference is the first films that these bundles read here.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from sqlalchemy import select

from hilum.clinic.ledger import Ledger
from hilum.clinic.ledger.tables import results

FILMS = 200  # of the reference, and of the last ones
FEWEST = 50  # of the last ones, after the reference; below, nothing is said
BINS = 10
REFERENCE = f"the first {FILMS} films of these bundles"


@dataclass(frozen=True)
class Drift:
    """`kind`: `score` or `pixels`; `name`: a finding or a number of `summary["pixels"]`; `bundle`: empty for pixels. `psi`:
    above 0.1 is worth a look, above 0.25 a large change, by the usual rule of thumb."""

    kind: str
    bundle: str
    name: str
    psi: float


def psi(reference: Sequence[float], recent: Sequence[float], bins: int = BINS) -> float:
    """Population stability index (Siddiqi, Credit Risk Scorecards, 2006): sum over bins of (q - p) ln(q / p).

    Bins hold equal shares of the reference; half a film is added to each bin of each side, so that an empty one is finite.
    0 where nothing moved. Raises ValueError for an empty side.
    """
    if not len(reference) or not len(recent):
        raise ValueError("both sides need values")
    edges = np.unique(np.quantile(np.asarray(reference, float), np.linspace(0, 1, bins + 1)[1:-1]))
    p, q = (_shares(np.asarray(values, float), edges) for values in (reference, recent))
    return float(np.sum((q - p) * np.log(q / p)))


def _shares(values: np.ndarray, edges: np.ndarray) -> np.ndarray:
    counts = np.bincount(np.searchsorted(edges, values, side="right"), minlength=len(edges) + 1) + 0.5
    shares: np.ndarray = counts / counts.sum()
    return shares


def drifts(ledger: Ledger) -> tuple[list[Drift], int, int]:
    """The indices by the newest bundles' results, and how many films the reference and the last ones are. Without enough
    of them there are no indices."""
    with ledger.read() as connection:
        newest = connection.scalar(select(results.c.bundles).order_by(results.c.id.desc()).limit(1))
        mine = select(results.c.id, results.c.summary).where(results.c.bundles == newest)
        first = connection.execute(mine.order_by(results.c.id).limit(FILMS)).all()
        if len(first) < FILMS:
            return [], len(first), 0
        after = mine.where(results.c.id > first[-1].id).order_by(results.c.id.desc()).limit(FILMS)
        last = connection.execute(after).all()
    if len(last) < FEWEST:
        return [], len(first), len(last)
    then, now = (_values(row.summary for row in rows) for rows in (first, last))
    found = [Drift(*key, psi(then[key], now[key])) for key in sorted(then) if len(now.get(key, ())) >= FEWEST]
    return found, len(first), len(last)


def _values(summaries: Iterable[dict[str, Any]]) -> dict[tuple[str, str, str], list[float]]:
    found: dict[tuple[str, str, str], list[float]] = {}
    for summary in summaries:
        for finding in summary.get("findings", ()):
            key = ("score", finding["bundle"], finding["name"])
            found.setdefault(key, []).append(finding["probability"])
        for name, value in (summary.get("pixels") or {}).items():
            found.setdefault(("pixels", "", name), []).append(value)
    return found
