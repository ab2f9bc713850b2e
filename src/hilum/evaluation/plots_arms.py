"""Figures that set several arms beside each other: curves of each in one panel a label or a quantity."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from hilum.evaluation.arrays import as_pair
from hilum.evaluation.plots import COLOURS, GREY, grid, panels, save
from hilum.evaluation.ranking import auc, roc_curve

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LINE = 44
"""Characters under a film before a line goes on below."""


def plot_roc_arms(
    truth: Mapping[str, ArrayLike], scores: Mapping[str, ArrayLike], path: str | Path, names: Sequence[str]
) -> Path:
    """ROC curves of every arm, a small panel a label, with each arm's AUC.

    truth, scores: by arm, each (n, labels). Arms may have been measured on different films: a panel's counts are then the
    first arm's, and the legend says how many films each arm has.
    """
    pairs = {arm: as_pair(truth[arm], scores[arm]) for arm in scores}
    areas = {arm: auc(*pair) for arm, pair in pairs.items()}

    def draw(axes: Axes, i: int) -> str:
        axes.plot([0, 1], [0, 1], color=GREY, linewidth=0.8, linestyle=":")
        for colour, (arm, (labels, values)) in zip(cycle(COLOURS), pairs.items(), strict=False):
            if not np.isnan(areas[arm][i]):
                curve = roc_curve(labels[:, i], values[:, i])
                axes.plot(curve.x, curve.y, color=colour, linewidth=1.2)
        return "AUC " + ", ".join("–" if np.isnan(a[i]) else f"{a[i]:.2f}" for a in areas.values())

    first = next(iter(pairs.values()))[0]
    alike = all(np.array_equal(labels, first, equal_nan=True) for labels, _ in pairs.values())
    shown = [arm if alike else f"{arm} ({len(labels):,} films)" for arm, (labels, _) in pairs.items()]
    marks = [(arm, colour, "o") for colour, arm in zip(cycle(COLOURS), shown, strict=False)]
    return panels(first, names, path, draw, "1 − specificity", "sensitivity", marks)


def plot_losses(
    curves: Mapping[str, Mapping[str, ArrayLike]],
    path: str | Path,
    phases: Mapping[str, Sequence[int]] | None = None,
    quantity: str = "loss",
) -> Path:
    """Training and validation loss over epochs, a panel an arm: arm to series ("train", "validation") to values.

    phases: by arm, the epochs (from 1) with which a further phase begins, as thin lines. quantity: what the values are.
    """
    figure, axes_of = grid(len(curves), 3.4, 2.8)
    for axes, (arm, series) in zip(axes_of, curves.items(), strict=True):
        for colour, (name, values) in zip(cycle(COLOURS), series.items(), strict=False):
            axes.plot(
                np.arange(1, len(np.asarray(values)) + 1), values, color=colour, linewidth=1.4, label=name
            )
        for start in (phases or {}).get(arm, ()):
            axes.axvline(start - 0.5, color=GREY, linewidth=0.8, linestyle=":")
        axes.set_title(arm, fontsize=9)
        axes.set_xlabel("epoch")
        axes.set_ylabel(quantity)
        axes.legend(frameon=False, fontsize=8)
    return save(figure, path)


def plot_shares(
    lines: Mapping[str, Sequence[tuple[float, float, float, float]]], path: str | Path, quantity: str
) -> Path:
    """A quantity against the share of labels, a line a start: name to (share in (0, 1], value, low, high).

    Names that end in "probe" are drawn dashed with hollow marks, in the colour of the name before it. An interval of NaN is
    not drawn.
    """
    figure, (axes,) = grid(1, 7.2, 4.6)
    starts = list(dict.fromkeys(name.removesuffix(", linear probe") for name in lines))
    colours = dict(zip(starts, cycle((*COLOURS, GREY)), strict=False))
    for name, points in lines.items():
        start = name.removesuffix(", linear probe")
        inside = colours[start] if name == start else "white"
        aside = 1 + 0.03 * (starts.index(start) - len(starts) / 2)  # so that intervals do not hide each other
        share, value, low, high = np.array(sorted(points), np.float64).T
        reach = np.nan_to_num(np.stack([value - low, high - value]))
        axes.errorbar(
            100 * share * aside, value, reach, color=colours[start], linewidth=1.4, capsize=2, marker="o", markersize=4,
            markerfacecolor=inside, linestyle="-" if name == start else "--", label=name,
        )  # fmt: skip
    axes.set_xscale("log")
    ticks = sorted({100 * point[0] for points in lines.values() for point in points})
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.minorticks_off()
    axes.set_xlabel("training patients whose labels are used, %")
    axes.set_ylabel(quantity)
    axes.legend(frameon=False, fontsize=7, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return save(figure, path)


def plot_samples(samples: ArrayLike, path: str | Path, title: str, deterministic: float) -> Path:
    """A histogram of the Monte Carlo samples (k,) of one film's probability, with the deterministic one as a line."""
    values = np.asarray(samples, np.float64)
    figure, (axes,) = grid(1, 4.8, 3.2)
    axes.hist(values, bins=min(25, max(5, len(values) // 4)), color=COLOURS[0], alpha=0.8)
    axes.axvline(deterministic, color=COLOURS[1], linewidth=1.4, label=f"deterministic {deterministic:.3f}")
    axes.axvline(
        values.mean(),
        color=GREY,
        linewidth=1.2,
        linestyle=":",
        label=f"mean {values.mean():.3f}, deviation {values.std(ddof=1):.3f}",
    )
    axes.set_title(title, fontsize=9)
    axes.set_xlabel("probability")
    axes.set_ylabel(f"of {len(values)} samples")
    axes.legend(frameon=False, fontsize=8)
    return save(figure, path)


def plot_films(films: Sequence[tuple[ArrayLike, str]], path: str | Path) -> Path:
    """Films (h, w) in [0, 1], each with the text under it: predictions beside the truth. Lines wider than a film go on."""
    under = [
        "\n".join(textwrap.fill(line, LINE, subsequent_indent="   ") for line in text.splitlines())
        for _, text in films
    ]
    lines = max((text.count("\n") + 1 for text in under), default=0)
    figure, axes_of = grid(len(films), 2.6, 2.7 + 0.125 * lines)
    for axes, (pixels, _), text in zip(axes_of, films, under, strict=True):
        axes.imshow(np.asarray(pixels), cmap="gray", vmin=0, vmax=1)
        axes.set_xticks([])
        axes.set_yticks([])
        axes.spines[:].set_visible(False)
        axes.set_xlabel(text, fontsize=7, loc="left")
    return save(figure, path)


def plot_heatmaps(
    films: Sequence[tuple[ArrayLike, ArrayLike, Mapping[str, ArrayLike]]], path: str | Path
) -> Path:
    """Films beside each other's heatmaps, a row a film: (pixels (h, w) in [0, 1], lungs (h, w), heat (h, w) by arm)."""
    import cv2

    columns = 1 + len(films[0][2])
    figure, axes_of = grid(columns * len(films), 2.4, 2.6, columns=columns)
    for row, (pixels, lungs, maps) in enumerate(films):
        shown: list[tuple[str, ArrayLike | None]] = [("film and lungs", None), *maps.items()]
        for axes, (title, heat) in zip(axes_of[row * columns :], shown, strict=False):
            film = np.asarray(pixels)
            axes.imshow(film, cmap="gray", vmin=0, vmax=1)
            if heat is not None:
                size = film.shape[::-1]
                laid = cv2.resize(np.asarray(heat, np.float32), size, interpolation=cv2.INTER_LINEAR)
                axes.imshow(laid, cmap="inferno", vmin=0, vmax=1, alpha=0.45)
            axes.contour(np.asarray(lungs), levels=[0.5], colors=[COLOURS[0]], linewidths=0.8)
            axes.set_xticks([])
            axes.set_yticks([])
            axes.spines[:].set_visible(False)
            if row == 0:
                axes.set_title(title, fontsize=8)
    return save(figure, path)
