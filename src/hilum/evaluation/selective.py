"""Selective prediction: what errors are left when the films that a model is least sure of go to a reader.

`errors` are 1 where the call was wrong (or any loss >= 0), NaN where the truth is unknown; `uncertainty` is higher where
the model is less sure. Films of equal uncertainty enter in random order, and every number is the exact expectation over
that order.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import digamma

from hilum.errors import EvaluationError
from hilum.evaluation import delong
from hilum.evaluation.arrays import Floats, as_pair, label_names
from hilum.evaluation.bootstrap import REPLICATES, bootstrap_weighted, percentile_estimate
from hilum.evaluation.estimate import NAN, Estimate, proportion

MEASURES = ("error_rate", "aurc", "excess_aurc", "augrc", "error_auc")


def risk_coverage(errors: ArrayLike, uncertainty: ArrayLike) -> tuple[Floats, Floats]:
    """Coverage (k,) and mean error among the least uncertain films (k,), a point a distinct uncertainty.

    Both (n,); films with unknown errors are left out.
    """
    loss, doubt = _known(*_columns(errors, uncertainty), 0)
    if not len(loss):
        raise EvaluationError("a risk-coverage curve needs a film whose truth is known")
    order, ends = _runs(doubt)
    return (ends + 1) / len(loss), np.cumsum(loss[order])[ends] / (ends + 1)


def aurc(errors: ArrayLike, uncertainty: ArrayLike) -> Floats:
    """Area under the risk-coverage curve of each column, (labels,); lower is better.

    The mean over k of the mean error of the k least uncertain films (Geifman, Uziel & El-Yaniv, ICLR 2019).
    Its first films weigh most: compare AUGRC. Both (n,) or (n, labels); NaN without known films.
    """
    return _each(errors, uncertainty)[0]


def excess_aurc(errors: ArrayLike, uncertainty: ArrayLike) -> Floats:
    """AURC above that of the order that puts every error last, (labels,) (E-AURC; Geifman et al., ICLR 2019)."""
    return _each(errors, uncertainty)[0] - _each(errors, errors)[0]


def augrc(errors: ArrayLike, uncertainty: ArrayLike) -> Floats:
    """Area under the generalised risk-coverage curve of each column, (labels,) (Traub et al., NeurIPS 2024).

    The share of all films that are both kept and wrong, over coverage: every error weighs the same. For errors of 0
    and 1 it is (1 - AUC of finding errors) * accuracy * (1 - accuracy) + (1 - accuracy)^2 / 2.
    """
    return _each(errors, uncertainty)[1]


def weighted_areas(errors: Floats, uncertainty: Floats, weights: Floats) -> tuple[Floats, Floats]:
    """AURC and AUGRC of one column under many weightings of its films: each (replicates,).

    Errors and uncertainty (n,), without NaN; weights (replicates, n), how often each film was drawn.
    """
    order, ends = _runs(uncertainty)
    films = np.cumsum(weights[:, order], axis=1)[:, ends]
    lost = np.cumsum(weights[:, order] * errors[order], axis=1)[:, ends]
    before, lost_before = (np.pad(each, ((0, 0), (1, 0)))[:, :-1] for each in (films, lost))
    run, run_lost = films - before, lost - lost_before
    # Within a run of m equal ones errors add up evenly: after j of them (lost_before + j r) / (before + j), with
    # r = run_lost / m, whose sum over j is run_lost + (lost_before - before r) (H(films) - H(before)).
    mean = np.divide(run_lost, run, out=np.zeros_like(run), where=run > 0)
    harmonic = digamma(films + 1) - digamma(before + 1)
    total = films[:, -1]
    risk = (run_lost + (lost_before - before * mean) * harmonic).sum(1) / total
    generalised = (run * (lost_before + run_lost / 2)).sum(1) / total**2
    return risk, generalised


def chance_of_error(probabilities: ArrayLike, called: ArrayLike) -> Floats:
    """The probability that a call is wrong, if the probabilities are calibrated: 1 - p where called, else p.

    Both (n, labels), or (n,). The uncertainty of a call at any threshold, and the calibrated flag's score.
    """
    values, found = np.asarray(probabilities, np.float64), np.asarray(called, np.bool_)
    if values.shape != found.shape:
        raise EvaluationError(f"calls {found.shape} do not fit probabilities {values.shape}")
    return np.where(found, 1 - values, values)


def wrong_calls(truth: ArrayLike, called: ArrayLike) -> Floats:
    """1 where a call is wrong, 0 where it is right, NaN where the truth is unknown: (n, labels).

    Truth in {0, 1, NaN}, called booleans. For exclusive classes see `reliability.top_label`.
    """
    labels, found = as_pair(truth, np.asarray(called, np.float64))
    return np.where(np.isnan(labels), NAN, (labels != found).astype(np.float64))


def selective_estimates(
    errors: ArrayLike,
    uncertainty: ArrayLike,
    groups: ArrayLike | None = None,
    names: Sequence[str] | None = None,
    *,
    replicates: int = REPLICATES,
    seed: int = 0,
    confidence: float = 0.95,
) -> dict[str, dict[str, Estimate]]:
    """Every name of MEASURES of every column, with intervals by drawing patients.

    Parameters
    ----------
    errors: (n, labels) in {0, 1, NaN}; uncertainty: (n, labels), any scale.
    groups: (n,) patients.

    `error_auc` is the chance that a wrong call is more uncertain than a right one, by DeLong; `positives` counts the
    wrong calls.
    """
    wrong, doubt = as_pair(errors, uncertainty)
    patients = None if groups is None else np.asarray(groups)
    ranked = delong.auc_estimates(wrong, doubt, groups, confidence=confidence)
    table = {}
    for i, name in enumerate(label_names(names, wrong.shape[1])):
        known = ~np.isnan(wrong[:, i])
        loss, unsure = wrong[known, i], doubt[known, i]
        own = None if patients is None else patients[known]
        n, positives = len(loss), int(loss.sum())
        if not n:
            table[name] = dict.fromkeys(MEASURES, Estimate.undefined("no known labels", 0, 0))
            continue

        def areas(weights: Floats, loss: Floats = loss, unsure: Floats = unsure) -> Floats:
            risk, generalised = weighted_areas(loss, unsure, weights)
            best, _ = weighted_areas(loss, loss, weights)
            return np.column_stack([risk, risk - best, generalised])

        values = areas(np.ones((1, n)))[0]
        drawn = bootstrap_weighted(areas, n, own, replicates=replicates, seed=seed)
        found = {
            measure: percentile_estimate(
                float(value),
                column,
                n,
                positives=positives,
                by_patient=own is not None,
                confidence=confidence,
            )
            for measure, value, column in zip(("aurc", "excess_aurc", "augrc"), values, drawn.T, strict=True)
        }
        rate = proportion(loss, own, positives=positives, confidence=confidence)
        table[name] = {"error_rate": rate, **found, "error_auc": ranked[i]}
    return table


def _each(errors: ArrayLike, uncertainty: ArrayLike) -> tuple[Floats, Floats]:
    losses, doubts = _columns(errors, uncertainty)
    areas = []
    for i in range(losses.shape[1]):
        loss, doubt = _known(losses, doubts, i)
        each = weighted_areas(loss, doubt, np.ones((1, len(loss)))) if len(loss) else ([NAN], [NAN])
        areas.append([float(area[0]) for area in each])
    return np.array([risk for risk, _ in areas]), np.array([generalised for _, generalised in areas])


def _columns(errors: ArrayLike, uncertainty: ArrayLike) -> tuple[Floats, Floats]:
    loss, doubt = (np.asarray(values, np.float64) for values in (errors, uncertainty))
    if loss.shape != doubt.shape or loss.ndim not in (1, 2) or not loss.size:
        raise EvaluationError(f"errors {loss.shape} do not fit uncertainties {doubt.shape}")
    if np.any(loss < 0) or np.any(np.isnan(doubt) & ~np.isnan(loss)):
        raise EvaluationError("an error is negative, or a film with a known error has no uncertainty")
    return (loss[:, None], doubt[:, None]) if loss.ndim == 1 else (loss, doubt)


def _known(losses: Floats, doubts: Floats, column: int) -> tuple[Floats, Floats]:
    known = ~np.isnan(losses[:, column])
    return losses[known, column], doubts[known, column]


def _runs(uncertainty: Floats) -> tuple[np.ndarray, np.ndarray]:
    """The order of films from the surest up, and where each run of equal ones ends."""
    order = np.argsort(uncertainty, kind="stable")
    ranked = uncertainty[order]
    return order, np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True))
