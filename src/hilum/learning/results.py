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
from hilum.evaluation.overlap import OverlapScores, summarise_overlap
from hilum.evaluation.subgroups import Subgroup, age_bands, subgroup_table
from hilum.evaluation.summary import Summary, multiclass_summary, multilabel_summary
from hilum.learning.material import patient_keys
from hilum.learning.progress import tracked

logger = logging.getLogger(__name__)

SHOWN = ("auc", "average_precision", "sensitivity", "specificity", "f1", "ece")


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
    """Write `predictions.parquet`, `metrics.json` and plots to `folder`; return the card's section."""
    folder.mkdir(parents=True, exist_ok=True)
    names = bundle.labels
    scores = bundle.probabilities(torch.from_numpy(logits)).double().numpy()
    patients = np.array(patient_keys(manifest))
    exclusive = bundle.info.task == "multiclass"
    if exclusive:
        cuts = None
        summary = multiclass_summary(truth, scores, patients, names)
        one_hot = np.where(truth[:, None] >= 0, np.eye(len(names))[truth], np.nan)
    else:
        cuts = [label.threshold.value if label.threshold else np.nan for label in bundle.info.labels]
        summary = multilabel_summary(truth, scores, cuts, patients, names)
        one_hot = truth
    parts = subgroup_table(one_hot, scores, _columns(manifest), cuts, patients, names)
    _write_predictions(folder / "predictions.parquet", manifest, names, logits, scores, one_hot)
    _draw(folder, bundle, names, one_hot, logits, scores, summary)
    result = {
        "note": f"{summary.films} films of {summary.patients} patients; intervals are 95 %, by patient.",
        "facts": {_plain(k): v.as_dict() for k, v in summary.overall.items() if not k.startswith("micro")},
        "tables": {
            "per output": [_row(label) for label in summary.as_dict()["labels"]],
            "subgroups": [_subgroup(part.as_dict()) for part in parts if _shown(part)],
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

    `scores`: a film each, in the manifest's order; lengths in `unit`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    summary = summarise_overlap(scores, patient_keys(manifest), unit=unit)
    table = manifest.table.select("image_id", "patient")
    pl.concat([table, pl.DataFrame([vars(score) for score in scores])], how="horizontal").write_csv(
        folder / "films.csv"
    )
    _write_json(folder / "metrics.json", summary.as_dict())
    facts = {
        _plain(row["metric"]): {k: row[k] for k in ("value", "low", "high", "n")} for row in summary.table()
    }
    note = (
        f"{summary.films} films of {summary.patients} patients; means over patients, intervals are 95 %, by patient;"
        f" distances in {unit}s."
    )
    return {"note": note, "facts": facts, "tables": {}}


def _row(label: dict[str, Any]) -> dict[str, Any]:
    row = {"output": label["name"], "n": label["n"], "positive": label["positives"]}
    return row | {_plain(name): {k: label[name][k] for k in ("value", "low", "high")} for name in SHOWN}


def _plain(name: str) -> str:
    return name.replace("_", " ").replace("auc", "AUC").replace("ece", "ECE").replace("iou", "IoU")


def _subgroup(part: dict[str, Any]) -> dict[str, Any]:
    shown = {name: part[name] for name in ("attribute", "value", "films", "patients")}
    return shown | {
        "macro AUC": {k: part["macro_auc"][k] for k in ("value", "low", "high")},
        "note": part["macro_auc"]["note"],
    }


def _shown(part: Subgroup) -> bool:
    """Every single attribute; of pairs only those with films enough (metrics.json holds all)."""
    return "&" not in part.attribute or part.macro_auc.defined


def _columns(manifest: Manifest) -> dict[str, list[Any]]:
    """Sex, age band, view and source of each film, None where unknown; only those that tell films apart."""
    table = manifest.table
    columns = {name: table[name].to_list() for name in ("sex", "view", "source")}
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
    pl.concat([table, pl.DataFrame(columns)], how="horizontal").write_parquet(path)


def _draw(
    folder: Path,
    bundle: Bundle,
    names: Sequence[str],
    truth: NDArray[Any],
    logits: NDArray[Any],
    scores: NDArray[Any],
    summary: Summary,
) -> None:
    plots.plot_roc(truth, scores, folder / "roc.png", names)
    plots.plot_precision_recall(truth, scores, folder / "precision-recall.png", names)
    if summary.confusion is not None:
        plots.plot_confusion(summary.confusion, folder / "confusion.png", names)
    plain = Calibration.none_softmax() if summary.confusion is not None else Calibration.none(len(names))
    plots.plot_reliability(truth, plain.apply(logits), scores, folder / "reliability.png", names)


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n")
