"""Do the models look at lungs? What `looks` saw, as tables and in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl

from hilum.analysis.examine import NONE
from hilum.evaluation.bootstrap import mean_over_patients
from hilum.evaluation.covers import ACCURACY, covered_accuracy, covered_aucs
from hilum.evaluation.ranking import auc
from hilum.evaluation.saliency import Score, differences, hit_rate, summarise_scores
from hilum.evaluation.verdict import Verdict, compare_seeds
from hilum.studies.comparisons import Compared
from hilum.studies.study import Study, Variant
from hilum.studies.tables import Table

COVERS = {
    NONE: "nothing",
    "lungs": "the lungs",
    "lung_box": "a box around the lungs",
    "outside_lungs": "all but the lungs",
    "border": "the border",
}
LUNGS = "lungs"


def heat(study: Study, variant: Variant, seen: pl.DataFrame) -> Table:
    """The share of heat inside the lungs, on the films of the positive class, and its difference to the reference's."""
    rows: list[dict[str, Any]] = []
    ill = seen.filter("truth")
    reference = _mean_over_runs(ill, variant.reference) if variant.reference in set(ill["arm"]) else None
    for arm in _arms(variant, ill):
        films, runs = _mean_over_runs(ill, arm), ill.filter(arm=arm)
        row: dict[str, Any] = {
            "arm": variant.arms[arm].title,
            "heat in the lungs": summarise_scores(_scores(films, "energy"), films["patient"]).as_dict(),
            "hottest point in the lungs": hit_rate(_scores(runs, "pointing"), runs["patient"]).as_dict(),
            "lungs' share of the film": mean_over_patients(films["lung_area"], films["patient"]).as_dict(),
            "reference less this arm": None,
        }
        if reference is not None and arm != variant.reference:
            gap = differences(_scores(reference, "energy"), _scores(films, "energy"))
            row["reference less this arm"] = summarise_scores(gap, films["patient"]).as_dict()
        rows.append(row)
    count, patients = ill["film"].n_unique(), ill["patient"].n_unique()
    notes = (
        f"{count:,} tested films of {study.positive}, of {patients:,} patients; the heatmap is that of {study.positive},"
        " each film's share the mean over an arm's runs. An even map would have the lungs' share of the film."
        f" The reference is {variant.arms[variant.reference].title}; intervals are over patients, for these trained models.",
    )
    return Table(f"Where the heat for {study.positive} lies", rows, notes)


def covers(study: Study, variant: Variant, seen: pl.DataFrame) -> Table:
    """Accuracy and AUC of the mean of an arm's runs on whole and on covered films, and what the cover takes of either."""
    rows = []
    for arm in _arms(variant, seen):
        films = _mean_over_runs(seen, arm)
        truth = films["truth"].to_numpy()
        scores = {cover: films[f"p:{cover}"].to_numpy() for cover in COVERS}
        areas = covered_aucs(
            truth[:, None].astype(float), {c: s[:, None] for c, s in scores.items()}, films["patient"]
        )
        exact = covered_accuracy(
            truth.astype(int), {c: np.column_stack([1 - s, s]) for c, s in scores.items()}, films["patient"]
        )
        by_cover = {each.cover: each for each in areas if each.quantity != "macro AUC"}
        for each in exact:
            area = by_cover[each.cover]
            rows.append(
                {
                    "arm": variant.arms[arm].title,
                    "covered": COVERS[each.cover],
                    "AUC": area.value.as_dict(),
                    "AUC changes by": area.difference.as_dict() if each.cover != NONE else None,
                    ACCURACY: each.value.as_dict(),
                    "accuracy changes by": each.difference.as_dict() if each.cover != NONE else None,
                }
            )
    count, ill = seen["film"].n_unique(), seen.filter("truth")["film"].n_unique()
    notes = (
        f"{count:,} tested films, {ill:,} of them of {study.positive}; the mean probability of an arm's runs. What is"
        " covered takes the mean of what is not. Accuracy is that of the more probable class; a model that calls every film"
        f" the commoner class has {max(ill, count - ill) / count:.3f}.",
    )
    return Table("With parts of the films covered", rows, notes)


def verdicts(study: Study, variant: Variant, seen: pl.DataFrame) -> Compared | None:
    """The two questions, over runs; None where there are fewer than two runs or arms, or no reference."""
    arms = _arms(variant, seen)
    runs = {arm: sorted(set(seen.filter(arm=arm)["fold"])) for arm in arms}
    shared = sorted(set.intersection(*map(set, runs.values()))) if runs else []
    if variant.reference not in arms or len(arms) < 2 or len(shared) < 2:
        return None
    titled = {variant.arms[arm].title: [_run(seen, arm, fold) for fold in shared] for arm in arms}
    reference = variant.arms[variant.reference].title
    asked: Mapping[str, Any] = {
        "share of heat inside the lungs": _heat,
        "AUC lost with the lungs covered,": _lost_auc,
        "accuracy lost with the lungs covered,": _lost_accuracy,
        "AUC lost with all but the lungs covered,": _lost_auc_outside,
    }
    found: list[Verdict] = []
    notes = [
        "A model that looks at lungs has more heat inside them, loses more when they are covered, and less when all else"
        " is. Each run is one training with its own films and seed, tested on the same films."
    ]
    for quantity, measure in asked.items():
        values = {title: [measure(run) for run in each] for title, each in titled.items()}
        if np.isfinite(list(values.values())).all():
            found += compare_seeds(values, reference, quantity=quantity)
        else:
            notes.append(f"Not compared, for in some run it could not be measured: {quantity.strip(',')}.")
    return Compared("Does it look at lungs?", tuple(found), tuple(notes))


def _arms(variant: Variant, seen: pl.DataFrame) -> list[str]:
    there = set(seen["arm"])
    return [arm for arm in variant.arms if arm in there]


def _run(seen: pl.DataFrame, arm: str, fold: int) -> pl.DataFrame:
    return seen.filter(arm=arm, fold=fold)


def _mean_over_runs(seen: pl.DataFrame, arm: str) -> pl.DataFrame:
    """A row a film, in one order: each number the mean over the arm's runs, NaN where every run's is.

    A film whose heat cannot be measured in one run is measured by the others.
    """
    numbers = [
        pl.col(c).fill_nan(None).mean().fill_null(float("nan"))
        for c in seen.columns
        if seen[c].dtype == pl.Float64
    ]
    rows = seen.filter(arm=arm).group_by("film", maintain_order=True)
    return rows.agg(pl.col("patient", "truth").first(), *numbers).sort("film")


def _scores(films: pl.DataFrame, column: str) -> list[Score]:
    return [Score(value, "" if value == value else "heatmap without heat") for value in films[column]]


def _heat(run: pl.DataFrame) -> float:
    ill = run.filter("truth")
    return mean_over_patients(ill["energy"], ill["patient"], replicates=1).value


def _lost_auc(run: pl.DataFrame, cover: str = LUNGS) -> float:
    truth = run["truth"].to_numpy().astype(float)
    whole, covered = (float(auc(truth, run[f"p:{c}"].to_numpy())[0]) for c in (NONE, cover))
    return whole - covered


def _lost_auc_outside(run: pl.DataFrame) -> float:
    return _lost_auc(run, "outside_lungs")


def _lost_accuracy(run: pl.DataFrame) -> float:
    truth = run["truth"].to_numpy()
    whole, covered = (((run[f"p:{c}"].to_numpy() > 0.5) == truth).mean() for c in (NONE, LUNGS))
    return float(whole - covered)
