"""The figures of a study, drawn from its runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import polars as pl

from hilum.analysis.analyzer import segment_lungs
from hilum.analysis.explain import explain
from hilum.bundles import load
from hilum.datasets.manifest import Manifest
from hilum.evaluation import plots
from hilum.evaluation.confusion import confusion_matrix
from hilum.evaluation.plots_arms import plot_films, plot_heatmaps, plot_losses, plot_roc_arms, plot_samples
from hilum.images.read import read
from hilum.studies.comparisons import shared_folds
from hilum.studies.dropout import Sampled
from hilum.studies.films import label_counts
from hilum.studies.results import ArmResult, aligned
from hilum.studies.study import Study, Variant
from hilum.studies.tables import final

FILMS = 8
"""Films whose predictions are shown."""

HEATED = 4
"""Films whose heatmaps are shown."""

PIXELS = 320


def draw(study: Study, variant: Variant, results: Sequence[ArmResult], folder: Path) -> list[Path]:
    """Label distribution, ROC of every arm, losses, AUC by epoch; confusion matrices of exclusive classes."""
    titles = {result.arm: variant.arms[result.arm].title for result in results}
    films = {titles[result.arm]: final(result) for result in results}
    first = next(iter(films.values()))
    whole = Manifest.load(results[0].jobs[0].folder / "manifest.parquet")
    drawn = [
        plots.plot_label_counts(label_counts(whole, first.labels), folder / "labels.png", len(whole)),
        plot_roc_arms(
            {arm: p.truth for arm, p in films.items()},
            {arm: p.probability for arm, p in films.items()},
            folder / "roc.png",
            first.labels,
        ),
        _epochs(results, titles, folder / "losses.png", "loss"),
    ]
    if study.metric != "mean_ap":  # the score of detectors is another
        drawn.append(_epochs(results, titles, folder / "auc-by-epoch.png", "score"))
    if study.metric == "accuracy":
        for result in results:
            p = final(result)
            matrix = confusion_matrix(p.truth.argmax(1), p.probability.argmax(1), len(p.labels))
            drawn.append(plots.plot_confusion(matrix, folder / f"confusion-{result.arm}.png", p.labels))
    return drawn


def draw_predictions(variant: Variant, results: Sequence[ArmResult], folder: Path) -> list[Path]:
    """Films with the truth and each arm's most probable outputs, from a fold that all arms have; none where they share no
    film.
    """
    titles = [variant.arms[result.arm].title for result in results]
    folds = shared_folds(results)
    if not folds:
        return []
    panels = _panels(results, titles, folds[0])
    return [plot_films(panels, folder / "predictions.png")] if panels else []


def draw_heatmaps(
    study: Study, variant: Variant, results: Sequence[ArmResult], films: Manifest, path: Path
) -> Path | None:
    """Some tested films of the positive class with the heatmap of each arm's first run; None without such a film."""
    ill = films.filter(pl.col("class") == str(study.positive))
    if study.looks is None or not len(ill):
        return None
    segmenter, rows = load(study.looks.segmenter), []
    bundles = {variant.arms[r.arm].title: load(r.jobs[0].folder / "bundle") for r in results}
    paths = ill.paths()
    for place in paths[:: max(1, len(paths) // HEATED)][:HEATED]:
        film = read(place)
        maps = {
            title: explain(bundle, film)[bundle.labels.index(str(study.positive))]
            for title, bundle in bundles.items()
        }
        rows.append((film.pixels, segment_lungs(segmenter, film).mask, maps))
    return plot_heatmaps(rows, path)


def draw_samples(sampled: Sampled, title: str, path: Path) -> Path:
    """The histogram of one film's Monte Carlo samples."""
    return plot_samples(
        sampled.example, path, f"{title}: {sampled.label}, film {sampled.film}", sampled.example_probability
    )


def _epochs(results: Sequence[ArmResult], titles: dict[str, str], path: Path, column: str) -> Path:
    """`loss` or `score` over the epochs of each arm's first run, which the panel's title names."""
    curves, phases = {}, {}
    for result in results:
        job = result.jobs[0]
        table = pl.read_csv(job.folder / "history.csv")
        name = f"{titles[result.arm]}, fold {job.number}"
        curves[name] = {
            short: table[f"{long}_{column}"].cast(pl.Float64).to_numpy()
            for short, long in (("train", "training"), ("validation", "validation"))
            if f"{long}_{column}" in table.columns  # runs of before have no training score
        }
        named = table["phase"].to_list()
        phases[name] = [i + 1 for i in range(1, len(named)) if named[i] != named[i - 1]]
    return plot_losses(curves, path, phases, quantity={"loss": "loss", "score": "macro AUC"}[column])


def _panels(results: Sequence[ArmResult], titles: Sequence[str], fold: int) -> list[tuple[np.ndarray, str]]:
    """Films with a finding, each with the text under it."""
    films = aligned([result.of_fold(fold) for result in results])
    job = next(job for job in results[0].jobs if job.fold == fold)
    manifest = Manifest.load(job.folder / "manifest.parquet")
    where = dict(zip(manifest.image_ids, manifest.paths(), strict=True))
    ill = np.flatnonzero(np.nansum(films[0].truth, 1) > 0)
    shown = ill[:: max(1, len(ill) // FILMS)][:FILMS]
    panels = []
    for row in shown:
        labels = films[0].labels
        truth = ", ".join(labels[i] for i in np.flatnonzero(films[0].truth[row] == 1))
        lines = [f"truth: {truth}"]
        for title, p in zip(titles, films, strict=True):
            best = np.argsort(-p.probability[row])[:2]
            calls = ", ".join(f"{labels[i]} {100 * p.probability[row, i]:.0f} %" for i in best)
            lines.append(f"{title}: {calls}")
        pixels = read(where[str(films[0].films[row])]).pixels
        scale = PIXELS / max(pixels.shape)
        small = cv2.resize(pixels, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        panels.append((small, "\n".join(lines)))
    return panels
