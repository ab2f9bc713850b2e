"""The tables of a study, printed figures beside ours, each of ours with its interval and n."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from hilum.evaluation.delong import auc_estimates, macro_auc
from hilum.evaluation.estimate import proportion
from hilum.evaluation.verdict import (
    Verdict,
    compare_accuracies,
    compare_folds,
    compare_macro_aucs,
)
from hilum.learning.run import build_model
from hilum.models import Classifier
from hilum.models.contract import parameter_counts
from hilum.studies.results import ArmResult, Predictions, aligned
from hilum.studies.study import Study, Variant

PRINTED, HERE = "published", "here"


@dataclass(frozen=True)
class Table:
    """Rows of the same keys. A cell is text, a number, None, or an estimate's dictionary."""

    title: str
    rows: list[dict[str, Any]]
    notes: tuple[str, ...] = field(default=())


def all_tables(study: Study, variant: Variant, results: Sequence[ArmResult]) -> list[Table]:
    """Every table that comes from predictions alone."""
    exclusive = study.metric == "accuracy"
    tables = [parameters(variant, results)]
    if exclusive:
        tables += [fold_accuracy(variant, results)]
    tables += [aucs(variant, results)]
    if results[0].list is not None:
        tables.insert(len(tables) - 1, list_accuracy(variant, results))
    return tables


def parameters(variant: Variant, results: Sequence[ArmResult]) -> Table:
    """Sizes and time."""
    rows = []
    for result in results:
        arm = variant.arms[result.arm]
        for name, count in _sizes(result).items():
            rows.append(
                {
                    "arm": arm.title,
                    "parameters": name,
                    PRINTED: _whole(arm.published.parameters.get(name)),
                    HERE: f"{count:,}",
                }
            )
        rows.append(
            {
                "arm": arm.title,
                "parameters": "seconds an epoch",
                PRINTED: _plain(arm.published.seconds),
                HERE: f"{result.seconds:.0f}",
            }
        )
    notes = (
        "`other`: batch-norm statistics, which the papers' framework counts as parameters."
        " Convolution biases under a batch norm, which only that framework keeps, are left out here.",
    )
    return Table("Parameters and time", rows, notes)


def fold_accuracy(variant: Variant, results: Sequence[ArmResult]) -> Table:
    """Accuracy, per cent, on each fold's held-out films."""
    rows = []
    for result in results:
        arm = variant.arms[result.arm]
        printed = arm.published.fold_accuracy
        if printed:
            rows.append({"arm": arm.title, "whose": PRINTED, **_fold_cells(printed, range(len(printed)))})
        values = [100 * float(fold.right.mean()) for fold in result.folds]
        rows.append(
            {"arm": arm.title, "whose": HERE, **_fold_cells(values, [job.fold for job in result.jobs])}
        )
    columns = list(dict.fromkeys(key for row in rows for key in row))
    films = sum(len(fold.films) for fold in results[0].folds)
    return Table(
        "Accuracy by fold, %",
        [{key: row.get(key) for key in columns} for row in rows],
        (f"Here: {films} held-out films in {len(results[0].folds)} folds, by patient.",),
    )


def list_accuracy(variant: Variant, results: Sequence[ArmResult]) -> Table:
    """Accuracy on the published test list, by the mean of the fold models."""
    rows = []
    for result in results:
        arm, films = variant.arms[result.arm], result.list
        assert films is not None
        rows.append(
            {
                "arm": arm.title,
                PRINTED + ", %": _plain(arm.published.accuracy),
                HERE: proportion(films.right, films.patients).as_dict(),
                "films": len(films.films),
                "models averaged": len(result.folds),
            }
        )
    notes = (
        "The printed accuracy is the mean over folds; here it is that of one set of films, scored once an arm.",
    )
    return Table("Accuracy on the published test list", rows, notes)


def aucs(variant: Variant, results: Sequence[ArmResult]) -> Table:
    """AUC of each label, one against the rest, with DeLong's interval by patient."""
    measured = {result.arm: final(result) for result in results}
    first = next(iter(measured.values()))
    estimates = {arm: auc_estimates(p.truth, p.probability, p.patients) for arm, p in measured.items()}
    rows = []
    for i, label in enumerate(first.labels):
        row: dict[str, Any] = {"label": label, "positive": int(np.nansum(first.truth[:, i]))}
        for arm, values in estimates.items():
            title = variant.arms[arm].title
            row[f"{title}, {PRINTED}"] = _plain(variant.arms[arm].published.auc.get(label))
            row[f"{title}, {HERE}"] = values[i].as_dict()
        rows.append(row)
    last: dict[str, Any] = {"label": "macro", "positive": None}
    for arm, p in measured.items():
        title = variant.arms[arm].title
        last[f"{title}, {PRINTED}"] = _plain(variant.arms[arm].published.macro_auc)
        last[f"{title}, {HERE}"] = macro_auc(p.truth, p.probability, p.patients).as_dict()
    return Table("AUC", _without_empty([*rows, last]), (f"Here: {_films_in_words(results[0], first)}.",))


def verdicts(
    study: Study, variant: Variant, results: Sequence[ArmResult]
) -> list[tuple[str, tuple[Verdict, ...]]]:
    """What the comparisons show, a title and its verdicts; none where there is a single arm or no reference among them."""
    by_arm = {result.arm: result for result in results}
    if variant.reference not in by_arm or len(by_arm) < 2:
        return []
    titled = {name: variant.arms[name].title for name in by_arm}
    reference = titled[variant.reference]
    out = []
    if len(results[0].folds) > 1 and _same_folds(results):
        values = {titled[name]: _fold_values(study, result) for name, result in by_arm.items()}
        ratio = by_arm[variant.reference].test_over_train
        quantity = "accuracy, %," if study.metric == "accuracy" else "macro AUC"
        digits = 2 if study.metric == "accuracy" else 4
        out.append(("Over folds", compare_folds(values, reference, ratio, quantity=quantity, digits=digits)))
    films = aligned([final(result) for result in results])
    if not len(films[0].films):
        return out
    named = dict(zip(titled.values(), films, strict=True))
    patients = films[0].patients
    if study.metric == "accuracy":
        right = {name: p.right for name, p in named.items()}
        out.append(("Over films: accuracy", compare_accuracies(right, reference, patients)))
    scores = {name: p.probability for name, p in named.items()}
    out.append(("Over films: macro AUC", compare_macro_aucs(films[0].truth, scores, reference, patients)))
    return out


def printed_verdicts(variant: Variant) -> tuple[Verdict, ...]:
    """The same tests on the paper's own fold accuracies, of which its p-values come."""
    values = {
        arm.title: arm.published.fold_accuracy for arm in variant.arms.values() if arm.published.fold_accuracy
    }
    reference = variant.arms[variant.reference].title
    if reference not in values or len(values) < 2:
        return ()
    folds = len(values[reference])
    return compare_folds(values, reference, 1 / (folds - 1), quantity="accuracy, %,")


def final(result: ArmResult) -> Predictions:
    """The films that an arm is judged on: the published list where there is one, else all held-out films."""
    return result.pooled if result.list is None else result.list


def _fold_values(study: Study, result: ArmResult) -> list[float]:
    if study.metric == "accuracy":
        return [100 * float(fold.right.mean()) for fold in result.folds]
    return [macro_auc(fold.truth, fold.probability).value for fold in result.folds]


def _same_folds(results: Sequence[ArmResult]) -> bool:
    return len({tuple(job.fold for job in result.jobs) for result in results}) == 1


def _films_in_words(result: ArmResult, films: Predictions) -> str:
    n, patients = len(films.films), len(set(films.patients))
    if result.list is not None:
        return (
            f"{n} films of {patients} patients of the published test list, mean of {len(result.folds)} models"
        )
    return f"{n} films of {patients} patients, each scored by the model of the fold that held it out"


def _sizes(result: ArmResult) -> dict[str, int]:
    recipe = result.jobs[0].recipe
    model = build_model(
        recipe.model_copy(update={"model": recipe.model.model_copy(update={"pretrained": None})})
    )
    counts = parameter_counts(model)
    sizes = {"trainable": counts["trainable"], "other": counts["buffers"]}
    if isinstance(model, Classifier):
        sizes["head"] = sum(p.numel() for p in model.head.parameters())
        sizes["encoder"] = sizes["trainable"] + sizes["other"] - sizes["head"]
    return sizes | {"total": sizes["trainable"] + sizes["other"]}


def _fold_cells(values: Sequence[float], folds: Iterable[int]) -> dict[str, str]:
    cells = {f"fold {fold + 1}": f"{value:.2f}" for fold, value in zip(folds, values, strict=True)}
    spread = f"{np.std(values, ddof=1):.2f}" if len(values) > 1 else "–"
    return {**cells, "mean": f"{np.mean(values):.2f}", "deviation": spread}


def _without_empty(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Columns of printed figures that the paper does not print are left out."""
    keep = [key for key in rows[0] if any(row[key] is not None for row in rows)]
    return [{key: row[key] for key in keep} for row in rows]


def _whole(value: int | None) -> str | None:
    return None if value is None else f"{value:,}"


def _plain(value: float | None) -> str | None:
    return None if value is None else f"{value:g}"
