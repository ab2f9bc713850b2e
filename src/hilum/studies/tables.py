"""The tables of a study that set printed figures beside ours, each of ours with its interval and n."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from hilum.evaluation.delong import auc_estimates, macro_auc
from hilum.evaluation.estimate import Estimate, proportion
from hilum.learning.building import build_model
from hilum.models import Classifier
from hilum.models.contract import parameter_counts
from hilum.studies.results import ArmResult, Predictions, joined
from hilum.studies.study import Published, Variant

PRINTED, HERE = "published", "here"
TOGETHER = (
    "Fold and seed change together, so the spread over folds holds both: other films and another seed (first weights,"
    " order, augmentation)."
)

SEEDS = (
    "One split, and in each repetition another seed: first weights, order, augmentation, and where not all labels are used"
    " the patients whose are."
)


@dataclass(frozen=True)
class Table:
    """Rows of the same keys. A cell is text, a number, None, or an estimate's dictionary (`unit`: "%" where per cent)."""

    title: str
    rows: list[dict[str, Any]]
    notes: tuple[str, ...] = field(default=())


def parameters(variant: Variant, results: Sequence[ArmResult]) -> Table:
    """Sizes and time."""
    rows = []
    for result in results:
        arm = variant.arms[result.arm]
        printed: dict[str, str | None] = {n: f"{count:,}" for n, count in arm.published.parameters.items()}
        here = {name: f"{count:,}" for name, count in _sizes(result).items()}
        printed |= {"seconds an epoch": _plain(arm.published.seconds)} if arm.published.seconds else {}
        here |= {
            "seconds an epoch": f"{result.seconds:.0f}",
            f"seconds of training, {len(result.jobs)} runs": f"{result.training:.0f}",
        }
        rows += [
            {"arm": arm.title, "parameters": name, PRINTED: printed.get(name), HERE: value}
            for name, value in here.items()
        ]
    notes = (
        "`other`: batch-norm statistics, which the papers' framework counts as parameters, as it does the seven values by"
        " which its EfficientNets normalise their input. Convolution biases under a batch norm, which only that framework"
        " keeps, are left out here. Seconds are those of training and validation.",
    )
    return Table("Parameters and time", rows, notes)


def fold_accuracy(variant: Variant, results: Sequence[ArmResult]) -> Table:
    """Accuracy, per cent, on each fold's held-out films, and on all of them together."""
    rows = []
    for result in results:
        arm = variant.arms[result.arm]
        rows += _printed_folds(arm.title, arm.published)
        rows.append({"arm": arm.title, "whose": HERE, **_folds_here(result)})
    for other in variant.published_only.values():
        rows += _printed_folds(other.title, other.published)
    numbers = {key for row in rows for key in row if key.startswith("fold ")}
    columns = [
        "arm",
        "whose",
        *sorted(numbers, key=lambda key: int(key[5:])),
        "mean",
        "deviation",
        "all films",
    ]
    how = parted_how(results[0])
    notes = (
        f"Folds {how}. `mean` and `deviation` are over folds; `all films` are the held-out films of all folds together, each"
        " called once.",
        TOGETHER,
    )
    return Table("Accuracy by fold, %", [{key: row.get(key) for key in columns} for row in rows], notes)


def list_accuracy(variant: Variant, results: Sequence[ArmResult]) -> Table:
    """Accuracy, per cent, on the published test list, by the mean of the fold models."""
    rows = []
    for result in results:
        films = result.list
        assert films is not None
        rows.append(
            {
                "arm": variant.arms[result.arm].title,
                "accuracy": percent(proportion(films.right, films.patients)),
                "films": len(films.films),
                "models averaged": len(result.members),
            }
        )
    notes = (
        "The paper prints no accuracy on this list: its accuracies are means over folds and stand in the table of folds.",
    )
    return Table("Accuracy on the published test list, %", rows, notes)


def aucs(variant: Variant, results: Sequence[ArmResult]) -> Table:
    """AUC of each label, one against the rest, with DeLong's interval by patient."""
    measured = [(variant.arms[result.arm], final(result)) for result in results]
    first = measured[0][1]
    alike = all(np.array_equal(p.films, first.films) for _, p in measured)
    estimates = [auc_estimates(p.truth, p.probability, p.patients) for _, p in measured]
    rows, notes = [], list(films_notes(variant, results))
    for i, label in enumerate(first.labels):
        row: dict[str, Any] = {"label": label}
        row |= {"positive": _positive(first, i)} if alike else {}
        for (arm, p), values in zip(measured, estimates, strict=True):
            row |= {} if alike else {f"{arm.title}, positive": _positive(p, i)}
            row[f"{arm.title}, {PRINTED}"] = _plain(arm.published.auc.get(label))
            row[f"{arm.title}, {HERE}"] = values[i].as_dict()
        rows.append(row)
    last: dict[str, Any] = dict.fromkeys(rows[0]) | {"label": "macro"}
    for arm, p in measured:
        found = macro_auc(p.truth, p.probability, p.patients, names=p.labels)
        last[f"{arm.title}, {PRINTED}"] = _plain(arm.published.macro_auc)
        last[f"{arm.title}, {HERE}"] = found.as_dict()
        notes += [f"{arm.title}, macro AUC: {found.note}."] if found.note else []
    return Table("AUC", without_empty([*rows, last]), tuple(notes))


def final(result: ArmResult) -> Predictions:
    """The films that an arm is judged on: the published list where there is one, else all held-out films."""
    return result.pooled if result.list is None else result.list


def films_notes(variant: Variant, results: Sequence[ArmResult]) -> tuple[str, ...]:
    """Which films `final` gives, in a sentence, or in one an arm where arms differ."""
    words = {variant.arms[result.arm].title: _films_in_words(result) for result in results}
    if len(set(words.values())) == 1:
        return (f"Here: {next(iter(words.values()))}.",)
    return tuple(f"{title}, here: {said}." for title, said in words.items())


def parted_how(result: ArmResult) -> str:
    """How the films of an arm were parted, in words."""
    split = result.jobs[0].recipe.data.split
    if split.leaky:
        return "by film (leaky: films of one patient on both sides)"
    own = ", a film of unknown patient counting as one of its own" if split.without_patient == "own" else ""
    return f"by patient{own}"


def percent(estimate: Estimate) -> dict[str, Any]:
    """An estimate of a share as a cell in per cent."""
    cell = estimate.as_dict()
    scaled = {
        key: None if cell[key] is None else 100 * float(cell[key] or 0) for key in ("value", "low", "high")
    }
    return {**cell, **scaled, "unit": "%"}


def _films_in_words(result: ArmResult) -> str:
    films = final(result)
    n = f"{len(films.films):,} films of {len(set(films.patients)):,} patients"
    if result.list is not None:
        return f"{n} of the published test list, mean of {len(result.members)} models"
    splits = {job.recipe.data.split.model_dump_json() for job in result.jobs}
    if len(result.jobs) > 1 and len(splits) == 1:
        return f"{n}, each scored by the model of the first of {len(result.jobs)} seeds"
    if result.jobs[0].recipe.data.split.kind == "kfold":
        return f"{n}, each scored by the model of the fold that held it out"
    return (
        f"{n}, parted {parted_how(result)}, each scored by the model of the first of {len(result.jobs)} repetitions"
        " that held it out"
    )


def _positive(films: Predictions, label: int) -> int:
    return int(np.nansum(films.truth[:, label]))


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


def _printed_folds(title: str, published: Published) -> list[dict[str, Any]]:
    """A row, or none where the paper prints no accuracy."""
    values, mean = published.fold_accuracy, published.accuracy
    if not values and mean is None:
        return []
    cells: dict[str, Any] = {f"fold {i + 1}": f"{value:.2f}" for i, value in enumerate(values)}
    cells |= {"mean": f"{np.mean(values) if mean is None else mean:.2f}"}
    cells |= {"deviation": f"{np.std(values, ddof=1):.2f}"} if len(values) > 1 else {}
    return [{"arm": title, "whose": PRINTED, **cells}]


def _folds_here(result: ArmResult) -> dict[str, Any]:
    whole = joined(result.folds)
    everything = percent(proportion(whole.right, whole.patients))
    if len(result.folds) == 1:  # one fold has no spread: its interval over films stands for it
        return {f"fold {result.jobs[0].number}": everything, "all films": everything}
    values = [100 * float(fold.right.mean()) for fold in result.folds]
    cells: Mapping[str, Any] = {
        f"fold {job.number}": f"{value:.2f}" for job, value in zip(result.jobs, values, strict=True)
    }
    spread = {"mean": f"{np.mean(values):.2f}", "deviation": f"{np.std(values, ddof=1):.2f}"}
    return {**cells, **spread, "all films": everything}


def without_empty(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Columns of printed figures that the paper does not print are left out."""
    keep = [key for key in rows[0] if any(row[key] is not None for row in rows)]
    return [{key: row[key] for key in keep} for row in rows]


def _plain(value: float | None) -> str | None:
    return None if value is None else f"{value:g}"
