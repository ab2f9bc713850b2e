"""Everything an audit measures of one examination, as numbers with intervals; what they mean is said in `verdict`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hilum.analysis.examine import NONE, Examination
from hilum.audit.films import attributes
from hilum.bundles import Bundle
from hilum.evaluation.covers import Covered, covered_accuracy, covered_aucs
from hilum.evaluation.delong import auc_estimates
from hilum.evaluation.estimate import Estimate, proportion
from hilum.evaluation.gaps import Gap, gap
from hilum.evaluation.probe import Probe, Within, probe, told_by, within
from hilum.evaluation.saliency import hit_rate, summarise_scores
from hilum.evaluation.subgroups import Subgroup, subgroup_table
from hilum.learning.evaluate import known_labels
from hilum.learning.material import patient_keys

CONFIDENCE = 0.95


@dataclass(frozen=True, eq=False)
class Attribute:
    """One attribute of the films, such as the view.

    Attributes
    ----------
    films: how many have each value. positives: of each value and label, (positive, known) films.
    probe: of the embedding. told: each label's AUC by the attribute alone. within: each label's AUC within its values.
    told_all, carried_all: the same, and what the attribute carries, with intervals that hold for all labels at once
        (Bonferroni): a rule that looks for the strongest label needs them.
    gap: between its subgroups.
    """

    name: str
    films: dict[str, int]
    positives: dict[str, dict[str, tuple[int, int]]]
    probe: Probe
    told: dict[str, Estimate]
    told_all: dict[str, Estimate]
    within: dict[str, Within]
    carried_all: dict[str, Estimate]
    gap: Gap


@dataclass(frozen=True)
class Lettered:
    """Films with letters on them among the positives and the negatives of a label, and how well their number tells it."""

    label: str
    positives: Estimate
    negatives: Estimate
    auc: Estimate
    auc_all: Estimate


@dataclass(frozen=True)
class Heat:
    """Where the heat of a label's positive films lies. `even`: the share inside of a map of one heat all over."""

    label: str
    inside: Estimate
    pointing: Estimate
    even: float
    outside_by_nature: bool


@dataclass(frozen=True, eq=False)
class Measures:
    """All that was measured but duplicates.

    Attributes
    ----------
    patients: how many. covers: every label. inside: the macro AUC of labels that lie in the lungs alone, where there are
    others. attributes: those that tell films apart; not_asked: the others, with why. subgroups: all of them; gaps: of pairs
    of attributes. lettered: by label; letters_by: of each attribute's values the share of films with letters.
    """

    patients: int
    covers: tuple[Covered, ...]
    inside: tuple[Covered, ...]
    attributes: dict[str, Attribute]
    not_asked: dict[str, str]
    subgroups: tuple[Subgroup, ...]
    gaps: dict[str, Gap]
    lettered: tuple[Lettered, ...]
    letters: Estimate
    letters_by: dict[str, dict[str, Estimate]]
    heat: tuple[Heat, ...]
    lung_area: float


def measure(bundle: Bundle, seen: Examination, seed: int = 0) -> Measures:
    """Numbers of one examination. Never raises for want of films: what is undefined says why."""
    exclusive = bundle.info.task == "multiclass"
    classes = np.asarray(known_labels(bundle, seen.films))
    truth = _one_hot(classes, len(seen.labels)) if exclusive else classes.astype(np.float64)
    patients = np.array(patient_keys(seen.films))
    covers = covered_aucs(truth, seen.probabilities, patients, seen.labels)
    if exclusive:
        covers = (*covered_accuracy(classes, seen.probabilities, patients), *covers)
    asked, not_asked = attributes(seen.films)
    scores = seen.probabilities[NONE]
    columns = {name: np.array(values, object) for name, values in asked.items()}
    return Measures(
        patients=len(set(patients.tolist())),
        covers=covers,
        inside=_inside(bundle, truth, seen, patients),
        attributes={
            name: _attribute(name, values, truth, seen, patients, seed) for name, values in asked.items()
        },
        not_asked=not_asked,
        subgroups=subgroup_table(truth, scores, columns, None, patients, seen.labels),
        gaps={
            f"{one} & {other}": gap(truth, scores, _both(asked[one], asked[other]), patients, seen.labels)
            for one, other in combinations(asked, 2)
        },
        lettered=_lettered(truth, seen, patients),
        letters=proportion(seen.letters > 0, patients),
        letters_by={name: _shares(values, seen.letters > 0, patients) for name, values in asked.items()},
        heat=_heat(bundle, truth, seen, patients),
        lung_area=float(seen.lung_area.mean()),
    )


def _one_hot(classes: NDArray[Any], count: int) -> NDArray[np.float64]:
    return np.where(classes[:, None] >= 0, np.eye(count)[classes], np.nan)


def _both(one: Sequence[str | None], other: Sequence[str | None]) -> list[str | None]:
    return [None if a is None or b is None else f"{a} & {b}" for a, b in zip(one, other, strict=True)]


def _inside(
    bundle: Bundle, truth: NDArray[np.float64], seen: Examination, patients: NDArray[np.str_]
) -> tuple[Covered, ...]:
    """Covers over the labels that must be read in the lungs; empty where all are such, or none is."""
    kept = np.array([not label.outside_lungs for label in bundle.info.labels])
    if kept.all() or not kept.any():
        return ()
    scores = {what: values[:, kept] for what, values in seen.probabilities.items()}
    names = [name for name, keep in zip(seen.labels, kept, strict=True) if keep]
    return tuple(c for c in covered_aucs(truth[:, kept], scores, patients, names) if c.quantity not in names)


def _attribute(
    name: str,
    values: list[str | None],
    truth: NDArray[np.float64],
    seen: Examination,
    patients: NDArray[np.str_],
    seed: int,
) -> Attribute:
    strict = 1 - (1 - CONFIDENCE) / len(seen.labels)
    scores = seen.probabilities[NONE]
    kinds = sorted({value for value in values if value is not None})
    rows = {kind: np.array([value == kind for value in values]) for kind in kinds}
    columns = list(zip(seen.labels, truth.T, scores.T, strict=True))
    return Attribute(
        name=name,
        films={kind: int(films.sum()) for kind, films in rows.items()},
        positives={
            kind: {
                label: (int((column[films] == 1).sum()), int((~np.isnan(column[films])).sum()))
                for label, column, _ in columns
            }
            for kind, films in rows.items()
        },
        probe=probe(seen.embedding, values, patients, seed=seed),
        told=told_by(truth, values, patients, seen.labels, seed=seed),
        told_all=told_by(truth, values, patients, seen.labels, seed=seed, confidence=strict),
        within={label: within(column, score, values, patients) for label, column, score in columns},
        carried_all={
            label: within(column, score, values, patients, confidence=strict).carried
            for label, column, score in columns
        },
        gap=gap(truth, scores, values, patients, seen.labels),
    )


def _lettered(
    truth: NDArray[np.float64], seen: Examination, patients: NDArray[np.str_]
) -> tuple[Lettered, ...]:
    strict = 1 - (1 - CONFIDENCE) / len(seen.labels)
    count = np.repeat(seen.letters[:, None], truth.shape[1], axis=1)
    plain, wide = (auc_estimates(truth, count, patients, confidence=c) for c in (CONFIDENCE, strict))
    rows = []
    for at, label in enumerate(seen.labels):
        sides = [truth[:, at] == side for side in (1, 0)]
        ill, well = (proportion(seen.letters[side] > 0, patients[side]) for side in sides)
        rows.append(Lettered(label, ill, well, plain[at], wide[at]))
    return tuple(rows)


def _shares(
    values: Sequence[str | None], lettered: NDArray[np.bool_], patients: NDArray[np.str_]
) -> dict[str, Estimate]:
    kinds = sorted({value for value in values if value is not None})
    rows: Mapping[str, NDArray[np.bool_]] = {kind: np.array([v == kind for v in values]) for kind in kinds}
    return {kind: proportion(lettered[films], patients[films]) for kind, films in rows.items()}


def _heat(
    bundle: Bundle, truth: NDArray[np.float64], seen: Examination, patients: NDArray[np.str_]
) -> tuple[Heat, ...]:
    rows = []
    for at, label in enumerate(bundle.info.labels):
        films = np.flatnonzero(truth[:, at] == 1)
        if len(films):
            inside = summarise_scores([seen.energy[row][at] for row in films], patients[films])
            hits = hit_rate([seen.pointing[row][at] for row in films], patients[films])
        else:
            inside = hits = Estimate.undefined("no film is positive", 0)
        even = float(seen.lung_area[films].mean()) if len(films) else float("nan")
        rows.append(Heat(label.name, inside, hits, even, label.outside_lungs))
    return tuple(rows)
