"""What a bundle is measured to do on a set of films: predictions, metrics with intervals, plots, and the card's section."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from numpy.typing import ArrayLike, NDArray

from hilum.bundles import Bundle
from hilum.datasets.manifest import Manifest
from hilum.evaluation import plots
from hilum.evaluation.calibration import Calibration
from hilum.evaluation.label_summary import BEFORE
from hilum.evaluation.overlap import OverlapScores, summarise_overlap, without_outline
from hilum.evaluation.subgroups import OverlapSubgroup, Subgroup, age_bands, overlap_subgroups, subgroup_table
from hilum.evaluation.summary import Summary, multiclass_summary, multilabel_summary
from hilum.learning.material import patient_keys
from hilum.learning.writing import named, whole, write_whole
from hilum.progress import tracked

logger = logging.getLogger(__name__)

SHOWN = ("auc", "average_precision", "sensitivity", "specificity", "f1", BEFORE, "ece")
SHOWN_OF_MASKS = ("dice", "iou", "hausdorff95", "surface_distance")
FEWEST = 5  # patients that a pair of attributes must have to be shown; metrics.json holds all


def predict_store(
    bundle: Bundle, images: NDArray[Any], rows: NDArray[np.int64], batch: int = 32
) -> NDArray[np.float32]:
    """Logits of stored films: (n, labels), or (n, labels, h, w) of a segmenter."""
    bundle.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    found = []
    with torch.inference_mode():
        for start in tracked(range(0, len(rows), batch), "predicting"):
            prepared = bundle.info.preparation.tensor(images[rows[start : start + batch]])
            found.append(bundle(prepared.contiguous(memory_format=torch.channels_last)).float().numpy())
    return np.concatenate(found)


def measure_classifier(
    bundle: Bundle, logits: NDArray[np.float32], truth: NDArray[Any], manifest: Manifest, folder: Path
) -> dict[str, Any]:
    """Write `predictions.parquet`, `metrics.json` and plots to `folder`; return the card's section.

    Each file is whole or not there; WriteError names one that cannot be written.
    """
    _make(folder)
    names = bundle.labels
    scores = bundle.probabilities(torch.from_numpy(logits)).double().numpy()
    before = uncalibrated(bundle, logits)
    patients = np.array(patient_keys(manifest))
    exclusive = bundle.info.task == "multiclass"
    if exclusive:
        cuts = None
        summary = multiclass_summary(truth, scores, patients, names, uncalibrated=before)
        one_hot = np.where(truth[:, None] >= 0, np.eye(len(names))[truth], np.nan)
    else:
        cuts = [label.threshold.value if label.threshold else np.nan for label in bundle.info.labels]
        summary = multilabel_summary(truth, scores, cuts, patients, names, uncalibrated=before)
        one_hot = truth
    parts = subgroup_table(one_hot, scores, _columns(manifest), cuts, patients, names)
    _write_predictions(folder / "predictions.parquet", manifest, names, logits, scores, one_hot)
    _draw(folder, names, one_hot, logits, scores, summary)
    result = {
        "note": f"{summary.films} films of {summary.patients} patients; intervals are 95 %, by patient.",
        "facts": {
            plain_name(k): v.as_dict() for k, v in summary.overall.items() if not k.startswith("micro")
        },
        "tables": {
            "per output": [label_row(label) for label in summary.as_dict()["labels"]],
            "subgroups": [subgroup_row(part.as_dict()) for part in parts if _shown(part)],
        },
    }
    _write_json(
        folder / "metrics.json", {**summary.as_dict(), "subgroups": [part.as_dict() for part in parts]}
    )
    return result


def measure_segmenter(
    scores: Sequence[OverlapScores], manifest: Manifest, folder: Path, unit: str
) -> dict[str, Any]:
    """Write `films.csv` and `metrics.json` to `folder`; return the card's section.

    `scores`: a film each, in the manifest's order; lengths in `unit`, such as "pixels of the film". Each file is whole
    or not there; WriteError names one that cannot be written.
    """
    _make(folder)
    patients = patient_keys(manifest)
    summary = summarise_overlap(scores, patients, unit=unit)
    parts = overlap_subgroups(scores, _columns(manifest), patients, unit=unit)
    table = manifest.table.select("image_id", "patient")
    with whole(folder / "films.csv") as work:
        pl.concat([table, pl.DataFrame([vars(score) for score in scores])], how="horizontal").write_csv(work)
    _write_json(
        folder / "metrics.json", {**summary.as_dict(), "subgroups": [part.as_dict() for part in parts]}
    )
    facts = {
        plain_name(row["metric"]): {k: row[k] for k in ("value", "low", "high", "n")}
        for row in summary.table()
    }
    note = (
        f"{summary.films} films of {summary.patients} patients; means over patients, intervals are 95 %, by patient;"
        f" distances in {unit}."
    )
    names = manifest.image_ids
    for why, films in without_outline(scores).items():
        note += f" No distance, for {why}: {len(films)} films, the first is {names[films[0]]}."
    rows = [_overlap_subgroup(part) for part in parts if _shown_of_masks(part)]
    return {"note": note, "facts": facts, "tables": {"subgroups": rows}}


def uncalibrated(bundle: Bundle, logits: NDArray[np.float32]) -> NDArray[np.float64] | None:
    """Probabilities (n, labels) as they would be without the bundle's calibration; None where it has none."""
    scaling = bundle.info.calibration
    if scaling is None or (
        set(scaling.slope) == {1.0} and not any(scaling.intercept) and not scaling.half_at
    ):
        return None
    return _plain_calibration(bundle.info.task == "multiclass", len(bundle.labels)).apply(logits)


def _plain_calibration(exclusive: bool, labels: int) -> Calibration:
    return Calibration.none_softmax() if exclusive else Calibration.none(labels)


def label_row(label: dict[str, Any]) -> dict[str, Any]:
    row = {"output": label["name"], "n": label["n"], "positive": label["positives"]}
    return row | {plain_name(name): _bounds(label[name]) for name in SHOWN if name in label}


def _bounds(estimate: dict[str, Any]) -> dict[str, Any]:
    return {k: estimate[k] for k in ("value", "low", "high")}


def plain_name(name: str) -> str:
    return name.replace("_", " ").replace("auc", "AUC").replace("ece", "ECE").replace("iou", "IoU")


def subgroup_row(part: dict[str, Any]) -> dict[str, Any]:
    shown = {name: part[name] for name in ("attribute", "value", "films", "patients")}
    return shown | {
        "macro AUC": _bounds(part["macro_auc"]),
        "note": part["macro_auc"]["note"],
    }


def _shown(part: Subgroup) -> bool:
    """Every single attribute; of pairs only those with films enough (metrics.json holds all)."""
    return "&" not in part.attribute or part.macro_auc.defined


def _overlap_subgroup(part: OverlapSubgroup) -> dict[str, Any]:
    found = part.as_dict()
    shown = {name: found[name] for name in ("attribute", "value", "films", "patients")}
    return shown | {plain_name(name): _bounds(found[name]) for name in SHOWN_OF_MASKS}


def _shown_of_masks(part: OverlapSubgroup) -> bool:
    return "&" not in part.attribute or part.overlap.patients >= FEWEST


def _columns(manifest: Manifest) -> dict[str, list[Any]]:
    """Sex, age band, view, source and collection (of a source made of several) of each film, None where unknown; only
    those that tell films apart.
    """
    table = manifest.table
    named_so = [name for name in ("sex", "view", "source", "collection") if name in table.columns]
    columns: dict[str, list[Any]] = {name: table[name].to_list() for name in named_so}
    columns["age"] = age_bands(table["age"].cast(pl.Float64).to_numpy()).tolist()
    return {name: values for name, values in columns.items() if len(set(values)) > 1}


def _write_predictions(
    path: Path,
    manifest: Manifest,
    names: Sequence[str],
    logits: ArrayLike,
    scores: ArrayLike,
    truth: ArrayLike,
) -> None:
    columns = {}
    for kind, values in (("logit", logits), ("probability", scores), ("truth", truth)):
        for name, column in zip(names, np.asarray(values, np.float32).T, strict=True):
            columns[f"{kind}:{name}"] = column
    table = manifest.table.select("image_id", "patient", "source", "view", "sex", "age")
    with whole(path) as work:
        pl.concat([table, pl.DataFrame(columns)], how="horizontal").write_parquet(work)


def _draw(
    folder: Path,
    names: Sequence[str],
    truth: NDArray[Any],
    logits: NDArray[Any],
    scores: NDArray[Any],
    summary: Summary,
) -> None:
    plain = _plain_calibration(summary.confusion is not None, len(names)).apply(logits)
    with named(folder / "roc.png") as place:
        plots.plot_roc(truth, scores, place, names)
    with named(folder / "precision-recall.png") as place:
        plots.plot_precision_recall(truth, scores, place, names)
    if summary.confusion is not None:
        with named(folder / "confusion.png") as place:
            plots.plot_confusion(summary.confusion, place, names)
    with named(folder / "reliability.png") as place:
        plots.plot_reliability(truth, plain, scores, place, names)


def _make(folder: Path) -> None:
    with named(folder):
        folder.mkdir(parents=True, exist_ok=True)


def _write_json(path: Path, content: dict[str, Any]) -> None:
    write_whole(path, json.dumps(content, indent=1, allow_nan=False) + "\n")
