"""What the comparisons of a study show, over folds and over films, and the paper's own p-values made again."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hilum.evaluation.comparison import corrected_t, holm, student_t
from hilum.evaluation.delong import delong
from hilum.evaluation.verdict import (
    Verdict,
    compare_accuracies,
    compare_folds,
    compare_macro_aucs,
    compare_seeds,
)
from hilum.studies.results import ArmResult, Predictions, aligned
from hilum.studies.study import Study, Variant
from hilum.studies.tables import PRINTED, SEEDS, TOGETHER, Table, final

REPEATED = (
    "Each repetition of each arm drew its own split, so nothing is paired; repetitions share films, so the test is too"
    " sure of itself."
)


@dataclass(frozen=True)
class Compared:
    """Verdicts under a title, and what a reader must know of them; no verdicts where nothing could be compared."""

    title: str
    verdicts: tuple[Verdict, ...]
    notes: tuple[str, ...] = ()


def comparisons(study: Study, variant: Variant, results: Sequence[ArmResult]) -> list[Compared]:
    """Every comparison with the reference arm; none where there is a single arm or no reference among them."""
    by_arm = {result.arm: result for result in results}
    if variant.reference not in by_arm or len(by_arm) < 2:
        return []
    titled = [variant.arms[name].title for name in by_arm]
    reference = variant.arms[variant.reference].title
    out = []
    if any(len(result.folds) > 1 for result in results):
        out.append(_over_folds(study, variant, dict(zip(titled, results, strict=True)), reference))
    films = aligned([final(result) for result in results])
    if not len(films[0].films):
        return out
    named = dict(zip(titled, films, strict=True))
    patients = films[0].patients
    notes = (
        f"{len(films[0].films):,} films that every arm was tested on, of {len(set(patients)):,} patients.",
    )
    if study.metric == "accuracy":
        right = {name: p.right for name, p in named.items()}
        out.append(Compared("Over films: accuracy", compare_accuracies(right, reference, patients), notes))
    scores = {name: p.probability for name, p in named.items()}
    found = compare_macro_aucs(films[0].truth, scores, reference, patients)
    return [*out, Compared("Over films: macro AUC", found, notes)]


def printed_comparison(study: Study, variant: Variant) -> Compared | None:
    """The same tests on the paper's own fold accuracies, of which its p-values come; None where it prints none."""
    values = {
        arm.title: arm.published.fold_accuracy for arm in variant.arms.values() if arm.published.fold_accuracy
    }
    reference = variant.arms[variant.reference].title
    if reference not in values or len(values) < 2:
        return None
    found = compare_folds(values, reference, printed_ratio(study, variant), quantity="accuracy, %,")
    return Compared("The paper's own fold accuracies, tested again", found)


def printed_ratio(study: Study, variant: Variant) -> float:
    """Films held out over films trained on in one of the paper's folds, of whose training part some are validation."""
    name = next(name for name, each in study.variants.items() if each is variant)
    split = study.arm_recipe(name, variant.reference, 0).data.split
    held_out = 1 / split.folds
    return held_out / ((1 - held_out) * (1 - split.validation))


def p_values(study: Study, variant: Variant, results: Sequence[ArmResult]) -> Table | None:
    """The paper's p-values beside the same test on its printed folds and on ours; None where it prints none."""
    own, reference = variant.arms, variant.arms[variant.reference]
    arms = {name: arm for name, arm in (own | variant.published_only).items() if name != variant.reference}
    if not any(arm.published.p_value for arm in arms.values()):
        return None
    by_arm = {result.arm: result for result in results}
    rows = []
    for name, arm in arms.items():
        printed = (reference.published.fold_accuracy, arm.published.fold_accuracy)
        row: dict[str, Any] = {
            "arm": arm.title,
            f"accuracy, {PRINTED}, %": f"{arm.published.accuracy:g}" if arm.published.accuracy else None,
            f"p, {PRINTED}": f"{arm.published.p_value:g}" if arm.published.p_value else None,
            "p, from the printed folds": _p(student_t(*printed).p_value) if all(printed) else None,
            "p, here": None,
            "p, here, corrected": None,
        }
        pair = [by_arm[each] for each in (variant.reference, name) if each in by_arm]
        folds = shared_folds(pair)
        if len(pair) == 2 and len(folds) > 1:
            one, other = ([100 * float(r.of_fold(f).right.mean()) for f in folds] for r in pair)
            row["p, here"] = _p(student_t(one, other).p_value)
            row["p, here, corrected"] = _p(corrected_t(one, other, pair[0].test_over_train).p_value)
        rows.append(row)
    notes = (
        f"Against {reference.title}. The paper's test is Student's two-sample t over fold accuracies, which ignores"
        " that folds are shared and share training films; `corrected` is the corrected resampled t-test. No p-value of"
        " this table is adjusted for their number. Without an arm's fold accuracies its printed p-value cannot be made"
        " again.",
    )
    return Table(f"P-values against {reference.title}", rows, notes)


def shared_folds(results: Sequence[ArmResult]) -> list[int]:
    """Folds that every one of these arms has, from 0."""
    each = [{job.fold for job in result.jobs} for result in results]
    return sorted(set.intersection(*each)) if each else []


def _over_folds(study: Study, variant: Variant, arms: Mapping[str, ArmResult], reference: str) -> Compared:
    seeds = variant.repeat == "seeds"
    title, every = (
        "Over seeds" if seeds else "Over folds",
        {job.fold for result in arms.values() for job in result.jobs},
    )
    shared = shared_folds(list(arms.values()))
    if len(shared) < 2:
        return Compared(
            title, (), (f"Not compared: folds that every arm has: {len(shared)}; a test needs two.",)
        )
    notes = [SEEDS if seeds else TOGETHER]
    if len(shared) < len(every):
        numbers = ", ".join(str(fold + 1) for fold in shared)
        notes.append(f"Compared on folds {numbers}, which every arm has; other folds are left out.")
    films = {name: [result.of_fold(fold) for fold in shared] for name, result in arms.items()}
    if study.metric == "accuracy":
        values = {name: [100 * float(p.right.mean()) for p in each] for name, each in films.items()}
        quantity, digits = "accuracy, %,", 2
    else:
        values, left_out = macro_aucs(films)
        quantity, digits = "macro AUC", 4
        if left_out:
            notes.append(f"Left out of the macro AUC, too few films in some fold: {', '.join(left_out)}.")
    if any(math.isnan(value) for each in values.values() for value in each):
        return Compared(title, (), (*notes, "Not compared: no label has films enough in every fold."))
    if seeds:
        found = compare_seeds(values, reference, quantity=quantity, digits=digits)
    elif _paired(list(arms.values()), shared):
        ratio = arms[reference].test_over_train
        found = compare_folds(values, reference, ratio, quantity=quantity, digits=digits)
    else:
        found = _unpaired(values, reference, quantity, digits)
    return Compared(title, found, tuple(notes))


def macro_aucs(films: Mapping[str, Sequence[Predictions]]) -> tuple[dict[str, list[float]], list[str]]:
    """Macro AUC of each arm and fold over the labels that all of them define, and the labels that are left out.

    Defined: with two positive and two negative patients. NaN where no label is.
    """
    found = {name: [delong(p.truth, p.probability, p.patients) for p in each] for name, each in films.items()}
    each = [~np.isnan(np.diag(d.covariance)) for folds in found.values() for d in folds]
    kept = np.logical_and.reduce(each)
    labels = next(iter(films.values()))[0].labels
    values = {
        name: [float(d.auc[kept].mean()) if kept.any() else math.nan for d in folds]
        for name, folds in found.items()
    }
    return values, [label for label, keep in zip(labels, kept, strict=True) if not keep]


def _paired(results: Sequence[ArmResult], folds: Sequence[int]) -> bool:
    """The arms were trained and tested on the same films in each fold."""
    splits = [
        {job.fold: job.recipe.data.split for job in result.jobs if job.fold in folds} for result in results
    ]
    return all(split.kind == "kfold" for split in splits[0].values()) and all(s == splits[0] for s in splits)


def _unpaired(
    values: Mapping[str, Sequence[float]], reference: str, quantity: str, digits: int
) -> tuple[Verdict, ...]:
    """The reference minus each other arm by Student's two-sample test, corrected for their number."""
    tests = {name: student_t(values[reference], other) for name, other in values.items() if name != reference}
    adjusted = holm([test.p_value for test in tests.values()])
    made = int((~np.isnan(adjusted)).sum())
    return tuple(
        Verdict(
            reference,
            name,
            quantity,
            test.difference,
            {test.difference.method: test.p_value},
            test.difference.method,
            float(p),
            made,
            REPEATED,
            digits,
        )
        for (name, test), p in zip(tests.items(), adjusted, strict=True)
    )


def _p(value: float) -> str | None:
    return None if math.isnan(value) else f"{value:.4f}"
