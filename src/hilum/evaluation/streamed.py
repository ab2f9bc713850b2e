"""Sums that stand for any number of films: what they can be asked, and nothing that grows with the films.

Films are added chunk by chunk, in any order, by any number of processes whose totals are merged at the end. Scores are
kept as histograms over logits, so that an AUC is known to within half of what positives and negatives share a bin; all other
sums are exact. Patients are dealt by a hash into a fixed number of groups, each with sums of its own: groups are what
intervals are made of (`streamed_estimates`), and a patient is whole in one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import ArrayLike, NDArray

from hilum.errors import EvaluationError
from hilum.evaluation.arrays import Floats, as_pair
from hilum.evaluation.confusion import Counts
from hilum.evaluation.reliability import BINS, equal_width_bins, film_log_loss

GROUPS = 128
FINE = 65_536
COARSE = 1_024
REACH = 16.0
"""Logits beyond this either way share the outermost bins; 16 is a probability of 1e-7."""


@dataclass(eq=False)
class Totals:
    """Sums of films over k labels; g groups of patients.

    Attributes
    ----------
    thresholds: (k,) probabilities from which on a label is called; NaN: never.
    fine: (k, 2, FINE) films by truth and score. coarse: (g, k, 2, COARSE) the same by group.
    called: (g, k, 2, 2) films by truth and call.
    held: (g, k, BINS) films in bins of equal width of probability; likely, found: sums there of probability, of positives.
    squared, loss: (g, k) sums of (probability - truth)^2, and of the log loss in nats.
    films: (g,) how many.
    """

    thresholds: Floats
    fine: NDArray[np.int64]
    coarse: NDArray[np.int64]
    called: NDArray[np.int64]
    held: NDArray[np.int64]
    likely: Floats
    found: Floats
    squared: Floats
    loss: Floats
    films: NDArray[np.int64]

    @classmethod
    def empty(
        cls,
        thresholds: ArrayLike,
        groups: int = GROUPS,
        fine: int = FINE,
        coarse: int = COARSE,
    ) -> Totals:
        """Of no film. Memory: about 8 (groups x coarse + fine) x 2 bytes a label."""
        cuts = np.atleast_1d(np.asarray(thresholds, np.float64))
        k = len(cuts)
        return cls(
            thresholds=cuts,
            fine=np.zeros((k, 2, fine), np.int64),
            coarse=np.zeros((groups, k, 2, coarse), np.int64),
            called=np.zeros((groups, k, 2, 2), np.int64),
            held=np.zeros((groups, k, BINS), np.int64),
            likely=np.zeros((groups, k, BINS)),
            found=np.zeros((groups, k, BINS)),
            squared=np.zeros((groups, k)),
            loss=np.zeros((groups, k)),
            films=np.zeros(groups, np.int64),
        )

    def add(self, truth: ArrayLike, probabilities: ArrayLike, hashes: NDArray[np.unsignedinteger]) -> None:
        """Films: truth (n, k) in {0, 1, NaN}, probabilities (n, k), and a hash of each film's patient (n,).

        EvaluationError where a probability lies outside [0, 1] or is missing where the label is known.
        """
        labels, values = as_pair(truth, probabilities)
        if labels.shape[1] != len(self.thresholds):
            raise EvaluationError(f"{labels.shape[1]} labels for totals of {len(self.thresholds)}")
        known = ~np.isnan(labels)
        if np.any((values < 0) | (values > 1), where=known):
            raise EvaluationError(
                "probabilities lie outside [0, 1]", mend="Apply the bundle's calibration to logits."
            )
        group = (hashes % len(self.films)).astype(np.int64)
        self.films += np.bincount(group, minlength=len(self.films))
        for column in range(labels.shape[1]):
            rows = known[:, column]
            self._add(column, labels[rows, column], values[rows, column], group[rows])

    def _add(self, k: int, truth: Floats, p: Floats, group: NDArray[np.int64]) -> None:
        groups, kind = len(self.films), truth.astype(np.int64)
        bins = logit_bins(p, self.fine.shape[-1])
        self.fine[k] += _counted(kind * self.fine.shape[-1] + bins, self.fine[k].shape)
        rough = bins * self.coarse.shape[-1] // self.fine.shape[-1]
        by_kind = group * 2 + kind
        self.coarse[:, k] += _counted(by_kind * self.coarse.shape[-1] + rough, self.coarse[:, k].shape)
        self.called[:, k] += _counted(by_kind * 2 + (p >= self.thresholds[k]), self.called[:, k].shape)
        place, shape = group * BINS + equal_width_bins(p, BINS), (groups, BINS)
        self.held[:, k] += _counted(place, shape)
        self.likely[:, k] += np.bincount(place, p, minlength=groups * BINS).reshape(shape)
        self.found[:, k] += np.bincount(place, truth, minlength=groups * BINS).reshape(shape)
        self.squared[:, k] += np.bincount(group, (p - truth) ** 2, minlength=groups)
        self.loss[:, k] += np.bincount(group, film_log_loss(truth, p), minlength=groups)

    def merge(self, other: Totals) -> None:
        """Add the films of other totals of the same labels, thresholds and sizes."""
        for name, mine in vars(self).items():
            theirs = getattr(other, name)
            if mine.shape != theirs.shape or (
                name == "thresholds" and not np.array_equal(mine, theirs, equal_nan=True)
            ):
                raise EvaluationError("these totals are of other labels, thresholds or sizes")
            if name != "thresholds":
                mine += theirs

    @property
    def n(self) -> NDArray[np.int64]:
        """(k,) films whose label is known."""
        return self.fine.sum((1, 2))

    @property
    def positives(self) -> NDArray[np.int64]:
        """(k,) of them positive."""
        return self.fine[:, 1].sum(1)


def logit_bins(probabilities: Floats, bins: int) -> NDArray[np.int64]:
    """The bin of each probability (n,): of equal width in the logit, from -REACH to REACH."""
    with np.errstate(divide="ignore"):
        at = np.log(probabilities) - np.log1p(-probabilities)
    return np.clip((at + REACH) * (bins / (2 * REACH)), 0, bins - 1).astype(np.int64)


def auc_of(histogram: NDArray[np.int64] | Floats) -> Floats:
    """AUC of histograms (..., 2, bins), films of one bin taken for ties: (...). NaN without positives or negatives."""
    negative, positive = histogram[..., 0, :], histogram[..., 1, :]
    below = np.cumsum(negative, -1) - negative
    with np.errstate(invalid="ignore"):
        won: Floats = (positive * (below + negative / 2)).sum(-1)
        return won / (positive.sum(-1) * negative.sum(-1).astype(np.float64))


def auc_uncertainty(histogram: NDArray[np.int64]) -> Floats:
    """How far the films' own AUC can lie from `auc_of`, either way: half the share of pairs within a bin, (...)."""
    negative, positive = histogram[..., 0, :].astype(np.float64), histogram[..., 1, :]
    with np.errstate(invalid="ignore"):
        within: Floats = (positive * negative).sum(-1) / 2 / (positive.sum(-1) * negative.sum(-1))
        return within


def average_precision_of(histogram: NDArray[np.int64] | Floats) -> Floats:
    """Average precision of histograms (..., 2, bins), films of one bin entering together: (...). NaN without positives."""
    falling = np.cumsum(histogram[..., ::-1], -1)
    true, called = falling[..., 1, :], falling.sum(-2)
    with np.errstate(invalid="ignore"):
        precision = np.where(called > 0, true / np.where(called > 0, called, 1), 0.0)
        gained: Floats = (histogram[..., 1, ::-1] * precision).sum(-1) / true[..., -1]
        return gained


def counts_of(called: NDArray[np.int64] | Floats) -> Counts:
    """`Totals.called` (..., 2, 2) as counts (...)."""
    cells = np.asarray(called, np.float64)
    return Counts(cells[..., 1, 1], cells[..., 0, 1], cells[..., 1, 0], cells[..., 0, 0])


def left_out(sums: NDArray[np.int64] | Floats) -> Floats:
    """The sum over groups (g, ...) without each group in turn: (g, ...)."""
    apart: Floats = (sums.sum(0) - sums).astype(np.float64)
    return apart


def patient_hashes(patients: Sequence[str] | NDArray[np.str_] | pl.Series) -> NDArray[np.uint64]:
    """A hash of each name, (n,), the same in every process: what `Totals.add` takes."""
    return pl.Series(patients, dtype=pl.String).hash(seed=0).to_numpy()


def _counted(place: NDArray[np.int64], shape: tuple[int, ...]) -> NDArray[np.int64]:
    return np.bincount(place, minlength=int(np.prod(shape))).reshape(shape)
