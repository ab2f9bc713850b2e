"""Metrics with intervals from `streamed.Totals`: what `summary` and `subgroups` say of arrays, said of any number of films.

Intervals are of the delete-a-group jackknife (Wolter, Introduction to Variance Estimation, 2007, chapter 4): each metric is
computed without each group of patients in turn, and how far the g values scatter is its variance, with g - 1 degrees of
freedom. At 128 groups an interval's width is known to 6 %; nothing is drawn, and no film is looked at twice. It is for
thousands of patients and more: below that, use the arrays.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from scipy.special import expit, logit
from scipy.stats import t

from hilum.evaluation import confusion, streamed
from hilum.evaluation.arrays import Bools, Floats, label_names
from hilum.evaluation.estimate import NAN, Estimate
from hilum.evaluation.label_summary import LabelSummary
from hilum.evaluation.streamed import Totals
from hilum.evaluation.subgroups import Subgroup
from hilum.evaluation.summary import Summary

METHOD = "jackknife by groups of patients"
RATES = (*confusion.RATES, "f1", "f2")
UNBOUNDED = ("brier", "log_loss", "ece")
"""Metrics whose interval is plain; that of the others is made on the logit scale and stays within 0 and 1."""

FEWEST = 20  # groups that hold films of a label


def streamed_summary(
    totals: Totals, names: Sequence[str] | None = None, patients: int = 0, confidence: float = 0.95
) -> Summary:
    """The labels of `totals`, and their macro AUC. `patients`: how many, where that is known.

    Of the metrics of `LabelSummary` all but the calibration errors over bins of equal counts. An AUC's note says how far
    binning may have moved it where that is more than a tenth of its interval.
    """
    called = label_names(names, len(totals.thresholds))
    labels = tuple(
        LabelSummary(
            name,
            int(totals.n[k]),
            int(totals.positives[k]),
            float(totals.thresholds[k]),
            _label(totals, k, confidence),
        )
        for k, name in enumerate(called)
    )
    overall = {"macro_auc": _macro(totals, called, confidence)}
    return Summary(int(totals.films.sum()), patients, labels, overall)


def streamed_subgroups(
    parts: Mapping[tuple[str, str], Totals], names: Sequence[str] | None = None, confidence: float = 0.95
) -> tuple[Subgroup, ...]:
    """A `Subgroup` for each (attribute, value): AUC and rates of each label. Patients are not counted: 0."""
    found = []
    for (attribute, value), totals in parts.items():
        summary = streamed_summary(totals, names, confidence=confidence)
        each = {
            metric: {label.name: label.metrics[metric] for label in summary.labels}
            for metric in ("auc", "sensitivity", "specificity")
        }
        rated = (
            each if not np.isnan(totals.thresholds).all() else {**each, "sensitivity": {}, "specificity": {}}
        )
        found.append(Subgroup(attribute, value, summary.films, 0, summary.macro_auc, **rated))
    return tuple(found)


def _label(totals: Totals, k: int, confidence: float) -> dict[str, Estimate]:
    n, positives = int(totals.n[k]), int(totals.positives[k])
    whole, apart = _values(totals, k)
    found = {}
    for name, value in whole.items():
        note = _undefined(name, n, positives, totals.thresholds[k])
        if note:
            found[name] = Estimate.undefined(note, n, positives, METHOD)
            continue
        found[name] = jackknife(value, apart[name], n, positives, name not in UNBOUNDED, confidence)
    auc, moved = found["auc"], float(streamed.auc_uncertainty(totals.fine[k]))
    if auc.defined and moved > 0.1 * (auc.high - auc.low):
        note = f"scores are binned: the AUC is within {moved:.1g} of this"
        found["auc"] = Estimate(auc.value, auc.low, auc.high, n, positives, METHOD, note)
    return found


def _values(totals: Totals, k: int) -> tuple[dict[str, float], dict[str, Floats]]:
    """Every metric of a label on all films, and without each group (g,)."""
    apart = streamed.left_out
    rough = apart(totals.coarse[:, k])
    counts = streamed.counts_of(totals.called[:, k].sum(0)), streamed.counts_of(apart(totals.called[:, k]))
    gap, held = totals.found[:, k] - totals.likely[:, k], totals.held[:, k].sum(1)
    whole = {
        "auc": streamed.auc_of(totals.fine[k]),
        "average_precision": streamed.average_precision_of(totals.fine[k]),
        **{rate: getattr(counts[0], rate) for rate in RATES},
    }
    left = {
        "auc": streamed.auc_of(rough),
        "average_precision": streamed.average_precision_of(rough),
        **{rate: getattr(counts[1], rate) for rate in RATES},
    }
    with np.errstate(invalid="ignore"):
        whole["ece"], left["ece"] = (
            np.abs(gap.sum(0)).sum() / held.sum(),
            np.abs(apart(gap)).sum(-1) / apart(held),
        )
        for name, sums in (("brier", totals.squared[:, k]), ("log_loss", totals.loss[:, k])):
            whole[name], left[name] = sums.sum() / held.sum(), apart(sums) / apart(held)
    return {name: float(value) for name, value in whole.items()}, left


def jackknife(
    value: float, apart: Floats, n: int, positives: int | None, within: bool, confidence: float = 0.95
) -> Estimate:
    """An estimate from its values without each group (g,). `within`: it lies in [0, 1] and so does its interval."""
    variance = jackknife_variance(apart)
    if np.isnan(value):
        return Estimate.undefined("undefined on these films", n, positives, METHOD)
    if np.isnan(variance):
        return Estimate(value, NAN, NAN, n, positives, METHOD, "no interval: too few films in some groups")
    half = float(t.ppf(0.5 + confidence / 2, len(apart) - 1)) * float(np.sqrt(variance))
    if not within:
        return Estimate(value, max(0.0, value - half), value + half, n, positives, METHOD)
    if not 0 < value < 1 or not half:
        return Estimate(
            value, NAN, NAN, n, positives, METHOD, "no interval: it is the same without any group"
        )
    at, half = float(logit(value)), half / (value * (1 - value))
    return Estimate(value, float(expit(at - half)), float(expit(at + half)), n, positives, METHOD)


def jackknife_variance(apart: Floats) -> float:
    """The variance of a metric from its values without each of g groups, (g,); NaN where one is undefined or g < FEWEST."""
    groups = len(apart)
    if groups < FEWEST or np.isnan(apart).any():
        return NAN
    return float((groups - 1) / groups * ((apart - apart.mean()) ** 2).sum())


def _macro(totals: Totals, names: Sequence[str], confidence: float) -> Estimate:
    """The mean AUC over labels that have one without each group; the note names the others."""
    apart = np.column_stack(
        [streamed.auc_of(streamed.left_out(totals.coarse[:, k])) for k in range(len(names))]
    )
    kept: Bools = np.asarray(~np.isnan(apart).any(axis=0))
    n = int(totals.n.max(initial=0))
    if not kept.any():
        return Estimate.undefined(
            "no label has positive and negative films in enough groups", n, None, METHOD
        )
    found = jackknife(
        float(streamed.auc_of(totals.fine[kept]).mean()), apart[:, kept].mean(1), n, None, True, confidence
    )
    missing = [name for name, keep in zip(names, kept, strict=True) if not keep]
    note = f"left out, too few films: {', '.join(missing)}" if missing else found.note
    return Estimate(found.value, found.low, found.high, n, None, METHOD, note)


def _undefined(name: str, n: int, positives: int, threshold: float) -> str:
    """Why a metric cannot be."""
    if not n:
        return "no known labels"
    if name in RATES and np.isnan(threshold):
        return "no threshold"
    if name in ("auc", "average_precision", "sensitivity") and not positives:
        return "no positives"
    if name in ("auc", "specificity") and positives == n:
        return "no negatives"
    return ""
