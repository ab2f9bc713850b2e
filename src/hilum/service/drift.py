"""Has what comes in, or what comes out, moved? The population stability index of the last films against a reference.

The reference is the bundle's own, of its validation films (`hilum bundle reference`); where it carries none, the first films
that the same bundles read here.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from sqlalchemy import Select, select

from hilum.bundles.reference import Distribution, Reference
from hilum.clinic.ledger import Ledger
from hilum.clinic.ledger.queue import reference_name
from hilum.clinic.ledger.tables import results

FILMS = 200  # the last ones, and the first ones where they are the reference
FEWEST = 50  # of the last ones; below, nothing is said


@dataclass(frozen=True)
class Index:
    """`kind`: `score` or `pixels`; `name`: a finding, or a number of `summary["pixels"]`. `psi`: above 0.1 is worth a look,
    above 0.25 a large change, by the usual rule of thumb."""

    kind: str
    name: str
    psi: float


@dataclass(frozen=True)
class Drift:
    """Of one bundle. `against`: whose films the reference is of; `reference` and `recent`: how many films either side has.
    `indices`: none without enough of them."""

    bundle: str
    against: Literal["bundle", "first films"]
    reference: int
    recent: int
    indices: tuple[Index, ...] = ()


Values = dict[tuple[str, str], list[float]]


def psi(reference: Distribution, recent: Sequence[float]) -> float:
    """Population stability index (Siddiqi, Credit Risk Scorecards, 2006): sum over bins of (q - p) ln(q / p).

    Half a film is added to each bin of each side, so that an empty one is finite. 0 where nothing moved. Raises ValueError
    for no recent values.
    """
    if not len(recent):
        raise ValueError("there are no recent values")
    p, q = (_shares(counts) for counts in (reference.counts, reference.count(recent)))
    return float(np.sum((q - p) * np.log(q / p)))


def _shares(counts: Sequence[int]) -> np.ndarray:
    raised = np.asarray(counts, float) + 0.5
    shares: np.ndarray = raised / raised.sum()
    return shares


def drifts(ledger: Ledger) -> list[Drift]:
    """For each bundle of the newest results, the indices of its last films."""
    with ledger.read() as connection:
        newest = connection.scalar(select(results.c.bundles).order_by(results.c.id.desc()).limit(1))
        mine = select(results.c.id, results.c.summary).where(results.c.bundles == newest)
        first = connection.execute(mine.order_by(results.c.id).limit(FILMS)).all()
        last = connection.execute(_newest(mine)).all()
        later = connection.execute(_newest(mine.where(results.c.id > first[-1].id))).all() if first else []
    known = ledger.setting(reference_name(newest)) or {} if newest is not None else {}
    then, now, after = (_values(row.summary for row in rows) for rows in (first, last, later))
    found = []
    for bundle in sorted(now):
        if bundle in known:
            carried = Reference.model_validate(known[bundle])
            parts = (("score", carried.scores), ("pixels", carried.pixels))
            against = {(kind, name): each for kind, part in parts for name, each in part.items()}
            found.append(_drift(bundle, "bundle", carried.films, against, now[bundle]))
        else:
            old = then.get(bundle, {})
            enough = len(first) == FILMS
            against = {key: Distribution.of(values) for key, values in old.items()} if enough else {}
            found.append(_drift(bundle, "first films", _films(old), against, after.get(bundle, {})))
    return found


def _newest(query: Select[Any]) -> Select[Any]:
    return query.order_by(results.c.id.desc()).limit(FILMS)


def _drift(
    bundle: str,
    against: Literal["bundle", "first films"],
    films: int,
    reference: dict[tuple[str, str], Distribution],
    recent: Values,
) -> Drift:
    indices = tuple(
        Index(*key, psi(reference[key], recent[key]))
        for key in sorted(reference)
        if len(recent.get(key, ())) >= FEWEST
    )
    return Drift(bundle, against, films, _films(recent), indices)


def _films(values: Values) -> int:
    return max((len(each) for each in values.values()), default=0)


def _values(summaries: Iterable[dict[str, Any]]) -> dict[str, Values]:
    """By bundle: its scores by finding, and the grey values of the films that it read."""
    found: dict[str, Values] = {}
    for summary in summaries:
        findings = summary.get("findings", ())
        for finding in findings:
            key = ("score", finding["name"])
            found.setdefault(finding["bundle"], {}).setdefault(key, []).append(finding["probability"])
        for bundle in {finding["bundle"] for finding in findings}:
            for name, value in (summary.get("pixels") or {}).items():
                found[bundle].setdefault(("pixels", name), []).append(value)
    return found
