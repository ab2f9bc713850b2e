"""Is a film normal? Classifiers as the filter behind detectors: boxes of films without a finding go, or count for less.

The probability that a film is normal is the mean over the filter's bundles. Of one bundle it is

- where a label is named: its probability if it is `No Finding` or `Normal`, else one minus its probability;
- where none is named: the probability of the bundle's own `No Finding` or `Normal`; without such a label one minus the
  largest (`max`) or the mean (`mean`) probability of all its findings.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import torch

from hilum.analysis.report import NOTHING_FOUND
from hilum.bundles import Bundle
from hilum.errors import BundleError, HilumError
from hilum.images.radiograph import Radiograph

Pool = Literal["max", "mean"]
How = Literal["hard", "soft"]
POOLS: tuple[Pool, ...] = get_args(Pool)
HOWS: tuple[How, ...] = get_args(How)
THRESHOLD = 0.95
"""The upper limit of the published 2-class filters of VinBigData's competition; chosen there, not here, and on no test."""


@dataclass(frozen=True)
class Filter:
    """Which bundles judge, by which label, and what becomes of the boxes of normal films.

    `how`: `hard` drops all boxes of a film whose probability of being normal reaches `threshold`; `soft` multiplies every
    score by the probability that the film is not normal.
    """

    bundles: tuple[str | Path | Bundle, ...]
    label: str | None = None
    pool: Pool = "max"
    how: How = "hard"
    threshold: float = THRESHOLD

    def __post_init__(self) -> None:
        if not self.bundles:
            raise HilumError("a filter has no bundle", mend="Name a bundle that classifies.")
        if self.pool not in POOLS or self.how not in HOWS:
            raise HilumError(f"there is no filter '{self.how}' with '{self.pool}'")
        if not 0 <= self.threshold <= 1:
            raise HilumError(f"a filter's threshold of {self.threshold:g}", mend="Give 0 to 1.")


@dataclass(frozen=True)
class Normal:
    """That a film is normal: `probability`, the mean of `by`, a number a bundle."""

    probability: float
    by: Mapping[str, float]


def normal(bundles: Sequence[Bundle], film: Radiograph, asked: Filter) -> Normal:
    """How probable it is that the film is normal, by the loaded bundles of a filter."""
    by = {bundle.info.name: _normal(bundle, film, asked) for bundle in bundles}
    return Normal(sum(by.values()) / len(by), by)


def share(found: Normal, asked: Filter) -> float:
    """What all scores of the film are multiplied by: 0 or 1 of a hard filter."""
    if asked.how == "soft":
        return 1 - found.probability
    return 0.0 if found.probability >= asked.threshold else 1.0


def check_filter(bundles: Sequence[Bundle], asked: Filter) -> None:
    """BundleError for a bundle that cannot say whether a film is normal, before any film is read."""
    names = [bundle.info.name for bundle in bundles]
    if len(set(names)) < len(names):
        raise BundleError(f"two bundles of the filter have the same name ({', '.join(names)})")
    for bundle in bundles:
        if bundle.info.task not in ("multilabel", "multiclass"):
            raise BundleError(
                "it does not classify", path=bundle.info.name, mend="Filter with one that does."
            )
        _label(bundle, asked)


def _label(bundle: Bundle, asked: Filter) -> int | None:
    """The label that speaks for a bundle; None: all findings together."""
    if asked.label is not None:
        if asked.label not in bundle.labels:
            mend = f"It has: {', '.join(bundle.labels)}."
            raise BundleError(f"it has no label '{asked.label}'", path=bundle.info.name, mend=mend)
        return bundle.labels.index(asked.label)
    own = [i for i, name in enumerate(bundle.labels) if name in NOTHING_FOUND]
    if not own and bundle.info.task == "multiclass":
        mend = f"Name the one that means a finding: {', '.join(bundle.labels)}."
        raise BundleError("none of its exclusive classes is normal", path=bundle.info.name, mend=mend)
    return own[0] if own else None


def _normal(bundle: Bundle, film: Radiograph, asked: Filter) -> float:
    with torch.inference_mode():
        found = bundle.probabilities(bundle(bundle.prepare(film)))[0].double()
    label = _label(bundle, asked)
    if label is None:
        value = 1 - float(found.max() if asked.pool == "max" else found.mean())
    else:
        value = float(found[label])
        value = value if bundle.labels[label] in NOTHING_FOUND else 1 - value
    if not 0 <= value <= 1:
        raise BundleError("it gave a probability that is not a number", path=bundle.info.name)
    return value
