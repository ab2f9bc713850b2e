"""What a bundle's scores and its films' grey values were like on known films: what a drift is measured against."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from pydantic import Field, model_validator

from hilum.images.steps import Step

BINS = 10


class Distribution(Step):
    """How many of the known films lie in each bin: below the first of `edges`, from each to the next, from the last on."""

    edges: tuple[float, ...]
    counts: tuple[int, ...]

    @model_validator(mode="after")
    def _agrees(self) -> Distribution:
        if len(self.counts) != len(self.edges) + 1 or min(self.counts) < 0 or not sum(self.counts):
            raise ValueError("a distribution has a count, from 0, for each bin, and one more bin than edges")
        if any(low >= high for low, high in pairwise(self.edges)):
            raise ValueError("the edges of a distribution must rise")
        return self

    @classmethod
    def of(cls, values: Sequence[float]) -> Distribution:
        """In bins of equal shares of `values` (inner deciles), fewer where deciles coincide. Raises ValueError for none."""
        if not len(values):
            raise ValueError("a distribution needs values")
        known = np.asarray(values, float)
        edges = np.unique(np.quantile(known, np.linspace(0, 1, BINS + 1)[1:-1]))
        return cls(edges=tuple(edges.tolist()), counts=tuple(_counted(known, edges)))

    def count(self, values: Sequence[float]) -> tuple[int, ...]:
        """How many of these values lie in each bin."""
        return tuple(_counted(np.asarray(values, float), np.asarray(self.edges)))


class Reference(Step):
    """`films` of which `note` says what they are. `scores`: of each output's calibrated probability, by name; `pixels`: of
    each number of `images.grey_facts`."""

    note: str
    films: int = Field(ge=1)
    scores: dict[str, Distribution]
    pixels: dict[str, Distribution]


def _counted(values: np.ndarray, edges: np.ndarray) -> list[int]:
    counted: list[int] = np.bincount(
        np.searchsorted(edges, values, side="right"), minlength=len(edges) + 1
    ).tolist()
    return counted
