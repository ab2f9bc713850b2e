"""The figures of a study, drawn from its runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import polars as pl

from hilum.datasets.manifest import Manifest
from hilum.evaluation import plots
from hilum.evaluation.confusion import confusion_matrix
from hilum.evaluation.plots_arms import plot_films, plot_losses, plot_roc_arms, plot_samples
from hilum.images.read import read
from hilum.studies.dropout import Sampled
from hilum.studies.results import ArmResult, aligned
from hilum.studies.study import Study, Variant
from hilum.studies.tables import final

FILMS = 8
"""Films whose predictions are shown."""

PIXELS = 320


def draw(study: Study, variant: Variant, results: Sequence[ArmResult], folder: Path) -> list[Path]:
    """Label distribution, ROC of every arm, losses, predictions on films; confusion matrices of exclusive classes."""
    titles = {result.arm: variant.arms[result.arm].title for result in results}
    films = {titles[result.arm]: final(result) for result in results}
    first = next(iter(films.values()))
    whole = Manifest.load(results[0].jobs[0].folder / "manifest.parquet")
    drawn = [
        plots.plot_label_counts(_counts(whole, first.labels), folder / "labels.png", len(whole)),
        plot_roc_arms(
            {arm: p.truth for arm, p in films.items()},
            {arm: p.probability for arm, p in films.items()},
            folder / "roc.png",
            first.labels,
        ),
        plot_losses({titles[result.arm]: _losses(result) for result in results}, folder / "losses.png"),
        _predictions(results, titles, folder / "predictions.png"),
    ]
    if study.metric == "accuracy":
        for result in results:
            p = final(result)
            matrix = confusion_matrix(p.truth.argmax(1), p.probability.argmax(1), len(p.labels))
            drawn.append(plots.plot_confusion(matrix, folder / f"confusion-{result.arm}.png", p.labels))
    return drawn


def draw_samples(sampled: Sampled, title: str, path: Path) -> Path:
    """The histogram of one film's Monte Carlo samples."""
    return plot_samples(
        sampled.example, path, f"{title}: {sampled.label}, film {sampled.film}", sampled.example_probability
    )


def _counts(manifest: Manifest, labels: Sequence[str]) -> dict[str, int]:
    table = manifest.table
    if "class" in table.columns and table["class"].is_not_null().any():
        return {label: int((table["class"] == label).sum()) for label in labels}
    names, values = manifest.labels()
    return {label: int(np.nansum(values[:, names.index(label)])) for label in labels}


def _losses(result: ArmResult) -> dict[str, np.ndarray]:
    """Over the epochs of its first fold."""
    table = pl.read_csv(result.jobs[0].folder / "history.csv")
    return {
        name: table[f"{long}_loss"].to_numpy()
        for name, long in (("train", "training"), ("validation", "validation"))
    }


def _predictions(results: Sequence[ArmResult], titles: dict[str, str], path: Path) -> Path:
    """Films with a finding, with the truth and each arm's most probable outputs."""
    films = aligned([result.folds[0] for result in results])
    manifest = Manifest.load(results[0].jobs[0].folder / "manifest.parquet")
    where = dict(zip(manifest.image_ids, manifest.paths(), strict=True))
    ill = np.flatnonzero(np.nansum(films[0].truth, 1) > 0)
    shown = ill[:: max(1, len(ill) // FILMS)][:FILMS]
    panels = []
    for row in shown:
        labels = films[0].labels
        truth = ", ".join(labels[i] for i in np.flatnonzero(films[0].truth[row] == 1))
        lines = [f"truth: {truth}"]
        for result, p in zip(results, films, strict=True):
            best = np.argsort(-p.probability[row])[:2]
            calls = ", ".join(f"{labels[i]} {100 * p.probability[row, i]:.0f} %" for i in best)
            lines.append(f"{titles[result.arm]}: {calls}")
        pixels = read(where[str(films[0].films[row])]).pixels
        scale = PIXELS / max(pixels.shape)
        small = cv2.resize(pixels, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        panels.append((small, "\n".join(lines)))
    return plot_films(panels, path)
