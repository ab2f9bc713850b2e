"""What an embedding betrays: a linear probe for any attribute of a film, and how far that attribute tells the findings.

Three questions, asked of one attribute (the source, the view, the sex, an age band):

- `probe`: can it be named from the embedding? Then the model has the means to use it.
- `told_by`: how well does it alone tell each finding on these films? Then there is something to gain by using it.
- `within`: how much of a finding's AUC is left when only films of one value are compared? What goes is what the attribute
  carried, be it by a shortcut or because ill people are rightly filmed another way.

All of them hold patients together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hilum.errors import EvaluationError
from hilum.evaluation import delong
from hilum.evaluation.arrays import Ints, as_clusters, as_truth, label_names
from hilum.evaluation.estimate import NAN, Estimate
from hilum.evaluation.logistic import FOLDS, folds_by_patient, out_of_fold
from hilum.evaluation.ranking import midranks

FEWEST = 10  # patients a value must have to be probed for


@dataclass(frozen=True)
class Probe:
    """What a probe reaches on held-out patients.

    Attributes
    ----------
    auc: mean over values of the one-against-rest AUC; 0.5 is chance.
    each: the AUC of each value that took part. left_out: values of too few patients, with how many films.
    """

    auc: Estimate
    each: dict[str, Estimate]
    left_out: dict[str, int]

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "auc": self.auc.as_dict(),
            "each": {name: estimate.as_dict() for name, estimate in self.each.items()},
            "left_out": self.left_out,
        }


def probe(
    embedding: ArrayLike,
    values: Sequence[str | None],
    groups: ArrayLike | None = None,
    *,
    folds: int = FOLDS,
    seed: int = 0,
    confidence: float = 0.95,
) -> Probe:
    """A linear probe for a film's attribute, cross-validated by patient.

    Parameters
    ----------
    embedding: (n, features). values: a name a film; None is unknown and left out.
    groups: (n,) patients.

    A value is probed for where at least `FEWEST` patients have it; with fewer than two such values the AUC is undefined and
    says why. Folds are scored together, so the AUC of features that know nothing lies a little below 0.5.
    """
    features = np.asarray(embedding, np.float64)
    if features.ndim != 2 or len(features) != len(values):
        raise EvaluationError(f"an embedding of {features.shape} does not fit {len(values)} values")
    if not np.isfinite(features).all():
        raise EvaluationError("the embedding holds values that are not finite")
    cluster, _ = as_clusters(groups, len(features))
    named = np.array(["" if value is None else str(value) for value in values])
    kept, left_out = _enough(named, cluster)
    known = np.isin(named, kept)
    if len(kept) < 2:
        return Probe(Estimate.undefined(_why_not(named, kept), int(known.sum())), {}, left_out)
    number = np.searchsorted(kept, named[known])
    scores = out_of_fold(features[known], number, cluster[known], folds=folds, seed=seed)
    one_hot = np.eye(len(kept))[number]
    ranked = delong.delong(one_hot, scores, cluster[known])
    each = delong.estimates_of(ranked, confidence)
    return Probe(
        delong.macro_of(ranked, list(kept), confidence), dict(zip(kept, each, strict=True)), left_out
    )


def told_by(
    truth: ArrayLike,
    values: Sequence[str | None],
    groups: ArrayLike | None = None,
    names: Sequence[str] | None = None,
    *,
    folds: int = FOLDS,
    seed: int = 0,
    confidence: float = 0.95,
) -> dict[str, Estimate]:
    """How well an attribute alone tells each label: the AUC of the share of positives among other patients of that value.

    truth: (n, labels) in {0, 1, NaN}. values: a name a film, None unknown (left out). The share is taken over the other
    folds, and a film scores the rank of its value among the values: shares themselves differ between folds, and a positive
    left out lowers its own, so that pooled they would fall short of what the values tell.
    """
    labels = as_truth(truth)
    called = label_names(names, labels.shape[1])
    cluster, _ = as_clusters(groups, len(labels))
    named = np.array(["" if value is None else str(value) for value in values])
    known = named != ""
    kinds = np.unique(named[known])
    if len(kinds) < 2:
        note = _why_not(named, kinds)
        return {name: Estimate.undefined(note, int(known.sum())) for name in called}
    found = {}
    for name, label in zip(called, labels.T, strict=True):
        used = known & ~np.isnan(label)
        if not used.any():
            found[name] = Estimate.undefined("no known labels", 0)
            continue
        kind, positive = np.searchsorted(kinds, named[used]), label[used].astype(np.int64)
        fold = folds_by_patient(positive, cluster[used], folds, seed)
        scores = np.zeros(len(kind))
        for held in range(folds):
            train, test = fold != held, fold == held
            if not train.any():
                continue
            overall = positive[train].mean()
            count = np.bincount(kind[train], minlength=len(kinds))
            hits = np.bincount(kind[train], positive[train], minlength=len(kinds))
            share = (hits + overall) / (
                count + 1
            )  # one made-up film of the overall share, for values unseen there
            scores[test] = midranks(np.round(share, 12))[kind[test]]
        (found[name],) = delong.auc_estimates(positive, scores, cluster[used], confidence=confidence)
    return found


@dataclass(frozen=True)
class Within:
    """A label's AUC over all films, and over pairs of films of one value only; `carried` is the first less the second."""

    overall: Estimate
    within: Estimate
    carried: Estimate

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {key: getattr(self, key).as_dict() for key in ("overall", "within", "carried")}


def within(
    truth: ArrayLike,
    scores: ArrayLike,
    values: Sequence[str | None],
    groups: ArrayLike | None = None,
    *,
    confidence: float = 0.95,
) -> Within:
    """How much of one label's AUC an attribute carries.

    truth, scores: (n,), truth in {0, 1, NaN}. values: a name a film, None unknown (left out).

    The AUC within is the share of rightly ordered pairs among pairs of a positive and a negative of one value: the mean of
    the values' AUCs, each weighted by its pairs. Values with fewer than two positive or negative patients are left out. All
    AUCs come from one `delong`, so that the interval of the difference knows what they share.
    """
    label, score = np.asarray(truth, np.float64), np.asarray(scores, np.float64)
    named = np.array(["" if value is None else str(value) for value in values])
    label = np.where(named == "", NAN, label)
    kinds = [kind for kind in np.unique(named) if kind]
    columns = np.column_stack([label, *(np.where(named == kind, label, NAN) for kind in kinds)])
    ranked = delong.delong(columns, np.repeat(score[:, None], columns.shape[1], axis=1), groups)
    overall = delong.estimates_of(ranked, confidence)[0]
    pairs = np.array([(c == 1).sum() * (c == 0).sum() for c in columns.T[1:]], np.float64)
    usable = ~np.isnan(np.diag(ranked.covariance)[1:]) & (pairs > 0)
    n, positives = int(ranked.n[0]), int(ranked.positives[0])
    if not overall.defined or not usable.any():
        note = overall.note or "no value has two positive and two negative patients"
        nothing = Estimate.undefined(note, n, positives, ranked.method)
        return Within(overall, nothing, nothing)
    share = np.where(usable, pairs, 0.0)
    weights = np.concatenate([[0.0], share / share.sum()])
    left = [kind for kind, use in zip(kinds, usable, strict=True) if not use]
    note = f"left out, too few films: {', '.join(left)}" if left else ""
    inside = delong.weighted(ranked, weights, n, positives, note, confidence)
    first = np.concatenate([[1.0], np.zeros(len(kinds))])
    return Within(overall, inside, delong.weighted(ranked, first - weights, n, positives, note, confidence))


def _enough(named: NDArray[np.str_], cluster: Ints) -> tuple[NDArray[np.str_], dict[str, int]]:
    """The values of at least `FEWEST` patients, sorted, and the films of each other one."""
    kept, left_out = [], {}
    for value in np.unique(named[named != ""]):
        films = named == value
        if len(np.unique(cluster[films])) >= FEWEST:
            kept.append(str(value))
        else:
            left_out[str(value)] = int(films.sum())
    return np.array(kept, dtype=np.str_), left_out


def _why_not(named: NDArray[np.str_], kept: Sequence[str] | NDArray[np.str_]) -> str:
    known = np.unique(named[named != ""])
    if not len(known):
        return "no film says"
    if len(known) == 1:
        return f"all films that say are '{known[0]}'"
    return f"fewer than two values have {FEWEST} patients" + (
        f", only '{kept[0]}' has" if len(kept) == 1 else ""
    )
