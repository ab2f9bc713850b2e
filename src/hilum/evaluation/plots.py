"""Figures for runs and cards: numbers and a path in, a PNG out. Colours are told apart by colour-blind
readers too. Several arms side by side are drawn by `plots_arms`, risk over coverage by `plots_uncertainty`.

matplotlib is imported late, and figures are drawn without its global state, so threads and notebooks do not
meet.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from hilum.evaluation.arrays import Floats, as_pair, label_names
from hilum.evaluation.ranking import auc, average_precision, precision_recall_curve, roc_curve
from hilum.evaluation.reliability import expected_calibration_error, reliability_curve

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe & Ito's palette without its yellow, which is too pale for a line on white.
BLUE, ORANGE, GREEN, RED, PURPLE, SKY, GREY = (
    "#0072B2",
    "#E69F00",
    "#009E73",
    "#D55E00",
    "#CC79A7",
    "#56B4E9",
    "#666666",
)
COLOURS = (BLUE, RED, GREEN, ORANGE, PURPLE, SKY)


def plot_roc(
    truth: ArrayLike, scores: ArrayLike, path: str | Path, names: Sequence[str] | None = None
) -> Path:
    """ROC curves, a small panel a label, each with its AUC. Truth and scores (n, labels)."""
    labels, values = as_pair(truth, scores)
    areas = auc(labels, values)

    def draw(axes: Axes, i: int) -> str:
        axes.plot([0, 1], [0, 1], color=GREY, linewidth=0.8, linestyle=":")
        if np.isnan(areas[i]):
            return "AUC undefined"
        curve = roc_curve(labels[:, i], values[:, i])
        axes.plot(curve.x, curve.y, color=BLUE, linewidth=1.6)
        return f"AUC {areas[i]:.3f}"

    return panels(labels, names, path, draw, "1 − specificity", "sensitivity")


def plot_precision_recall(
    truth: ArrayLike, scores: ArrayLike, path: str | Path, names: Sequence[str] | None = None
) -> Path:
    """Precision-recall curves, a small panel a label, with the prevalence as the line that chance gives."""
    labels, values = as_pair(truth, scores)
    averages = average_precision(labels, values)

    def draw(axes: Axes, i: int) -> str:
        if np.isnan(averages[i]):
            return "undefined: no positives"
        prevalence = float(np.nanmean(labels[:, i]))
        axes.axhline(prevalence, color=GREY, linewidth=0.8, linestyle=":")
        curve = precision_recall_curve(labels[:, i], values[:, i])
        axes.step(curve.x, curve.y, color=BLUE, linewidth=1.4, where="pre")
        return f"AP {averages[i]:.3f}, prevalence {prevalence:.3f}"

    return panels(labels, names, path, draw, "recall", "precision")


def plot_reliability(
    truth: ArrayLike,
    before: ArrayLike,
    after: ArrayLike,
    path: str | Path,
    names: Sequence[str] | None = None,
    bins: int = 10,
) -> Path:
    """Share of positives over predicted probability, before and after calibration, a small panel a label.

    All (n, labels). The larger a point, the more films in its bin.
    """
    labels, raw = as_pair(truth, before)
    _, calibrated = as_pair(truth, after)
    errors = [expected_calibration_error(labels, values) for values in (raw, calibrated)]

    def draw(axes: Axes, i: int) -> str:
        axes.plot([0, 1], [0, 1], color=GREY, linewidth=0.8, linestyle=":")
        for values, colour, marker in ((raw, ORANGE, "s"), (calibrated, BLUE, "o")):
            curve = reliability_curve(labels[:, i], values[:, i], bins)
            size = 6 + 60 * np.sqrt(curve.count / max(1, curve.count.sum()))
            axes.plot(curve.predicted, curve.observed, color=colour, linewidth=1, alpha=0.4)
            axes.scatter(curve.predicted, curve.observed, s=size, c=colour, marker=marker, linewidths=0)
        return f"ECE {errors[0][i]:.3f} → {errors[1][i]:.3f}"

    marks = [("before", ORANGE, "s"), ("after calibration", BLUE, "o")]
    return panels(labels, names, path, draw, "predicted probability", "share of positives", marks)


def plot_confusion(matrix: ArrayLike, path: str | Path, names: Sequence[str] | None = None) -> Path:
    """A confusion matrix (classes, classes), rows the truth: counts, coloured by the share of the row."""
    counts = np.asarray(matrix, np.float64)
    called = [_shown(name) for name in label_names(names, len(counts))]
    total = counts.sum(1, keepdims=True)
    share = np.divide(counts, total, out=np.zeros_like(counts), where=total > 0)
    size = 1.9 + 0.85 * len(counts)
    figure, axes = single(size, size)
    axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
    for row, column in np.ndindex(*counts.shape):
        dark = share[row, column] > 0.55
        text = f"{counts[row, column]:.0f}\n{100 * share[row, column]:.0f} %"
        axes.text(column, row, text, ha="center", va="center", color="white" if dark else "black", fontsize=9)
    axes.set_xticks(range(len(counts)), called, rotation=30, ha="right")
    axes.set_yticks(range(len(counts)), called)
    axes.set_xlabel("called")
    axes.set_ylabel("truth")
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    return save(figure, path)


def plot_training(
    curves: Mapping[str, Mapping[str, ArrayLike]],
    path: str | Path,
    phases: Sequence[float] = (),
    chosen: float | None = None,
) -> Path:
    """Curves of a run, a panel a quantity.

    Parameters
    ----------
    curves: quantity ("loss", "AUC") to series ("train", "validation") to one value an epoch; NaN is not
        drawn.
    phases: epochs at which a new phase starts, as thin lines.
    chosen: the epoch whose weights were kept.
    """
    from matplotlib.ticker import MaxNLocator

    figure, axes_of = grid(len(curves), 4.2, 3.0)
    for axes, (quantity, series) in zip(axes_of, curves.items(), strict=True):
        for colour, (name, values) in zip(cycle(COLOURS), series.items(), strict=False):
            value = np.asarray(values, np.float64)
            drawn = ~np.isnan(value)
            epoch = np.arange(len(value))
            axes.plot(
                epoch[drawn], value[drawn], color=colour, linewidth=1.6, marker="o", markersize=3, label=name
            )
        for start in phases:
            axes.axvline(start - 0.5, color=GREY, linewidth=0.8, linestyle=":")
        if chosen is not None:
            axes.axvline(chosen, color=GREEN, linewidth=1, label="kept")
        axes.set_xlabel("epoch")
        axes.set_ylabel(quantity)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.legend(frameon=False, fontsize=8)
    return save(figure, path)


def plot_label_counts(counts: Mapping[str, int], path: str | Path, total: int | None = None) -> Path:
    """Films of each label as bars, most frequent first, with counts (and shares of `total`)."""
    ordered = sorted(counts.items(), key=lambda item: item[1])
    figure, axes = single(6.4, 0.9 + 0.28 * max(1, len(ordered)))
    bars = axes.barh(
        [_shown(name) for name, _ in ordered], [count for _, count in ordered], color=BLUE, height=0.72
    )
    texts = [f"{c:,}" if total is None else f"{c:,} ({100 * c / max(1, total):.1f} %)" for _, c in ordered]
    axes.bar_label(bars, texts, padding=3, fontsize=8)
    axes.margins(x=0.18, y=0.01)
    axes.set_xlabel("films")
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.tick_params(axis="y", length=0)
    return save(figure, path)


def plot_intervals(
    rows: Sequence[tuple[str, float, float, float]],
    path: str | Path,
    quantity: str,
    reference: float | None = None,
) -> Path:
    """Values with intervals, a row each (name, value, low, high): per-label AUCs, or one AUC by subgroup."""
    figure, axes = single(6.4, 0.9 + 0.28 * max(1, len(rows)))
    if reference is not None:
        axes.axvline(reference, color=GREY, linewidth=0.8, linestyle=":")
    for row, (_, value, low, high) in enumerate(reversed(rows)):
        axes.plot([low, high], [row, row], color=BLUE, linewidth=1.6, solid_capstyle="butt")
        axes.plot(value, row, color=BLUE, marker="o", markersize=5)
    axes.set_yticks(range(len(rows)), [_shown(name) for name, *_ in reversed(rows)])
    axes.set_ylim(-0.6, len(rows) - 0.4)
    axes.set_xlabel(quantity)
    axes.tick_params(axis="y", length=0)
    return save(figure, path)


def panels(
    labels: Floats,
    names: Sequence[str] | None,
    path: str | Path,
    draw: Any,
    x: str,
    y: str,
    marks: Sequence[tuple[str, str, str]] = (),
) -> Path:
    """A unit square a label; `draw(axes, i)` draws and gives the caption under the label's name."""
    called = label_names(names, labels.shape[1])
    figure, axes_of = grid(labels.shape[1], 2.3, 2.95)
    for i, axes in enumerate(axes_of):
        caption = draw(axes, i)
        positives, known = int(np.nansum(labels[:, i])), int((~np.isnan(labels[:, i])).sum())
        title = textwrap.shorten(_shown(called[i]), 28)
        axes.set_title(f"{title}\n{caption}\n{positives:,} of {known:,} positive", fontsize=8)
        axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal")
        axes.set_xticks([0, 0.5, 1], ["0", "0.5", "1"])
        axes.set_yticks([0, 0.5, 1], ["0", "0.5", "1"])
        axes.tick_params(labelsize=7)
    figure.supxlabel(x, fontsize=9)
    figure.supylabel(y, fontsize=9)
    if marks:
        from matplotlib.lines import Line2D

        lines = [Line2D([], [], color=c, marker=m, markersize=5, label=name) for name, c, m in marks]
        figure.legend(handles=lines, loc="outside upper right", ncols=len(lines), frameon=False, fontsize=8)
    return save(figure, path)


def _shown(name: str) -> str:
    return name.replace("_", " ")


def grid(count: int, width: float, height: float, columns: int = 5) -> tuple[Figure, list[Axes]]:
    """A figure of `count` axes, at most `columns` a row, each so many inches."""
    from matplotlib.figure import Figure

    columns = max(1, min(columns, count))
    rows = max(1, -(-count // columns))
    figure = Figure(figsize=(columns * width + 0.4, rows * height + 0.4), layout="constrained")
    axes_of = list(np.ravel(figure.subplots(rows, columns, squeeze=False)))
    for spare in axes_of[count:]:
        spare.remove()
    for axes in axes_of[:count]:
        axes.spines[["top", "right"]].set_visible(False)
    return figure, axes_of[:count]


def single(width: float, height: float) -> tuple[Figure, Axes]:
    figure, (axes,) = grid(1, width, height)
    return figure, axes


def save(figure: Figure, path: str | Path) -> Path:
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    FigureCanvasAgg(figure)
    # No software line: the same numbers then give the same bytes.
    figure.savefig(target, format="png", dpi=150, metadata={"Software": None})
    return target
