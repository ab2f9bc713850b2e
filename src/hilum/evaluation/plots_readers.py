"""Figures of several readers of the same films: what they marked, how large, and how far they agree."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from hilum.evaluation.plots import BLUE, COLOURS, GREY, grid, save, single

_SHADES = ("#CFE2EF", "#6BAED6", "#0B4F8A", "#08306B", "#000000")
"""Pale to dark: the more readers, the darker."""


def plot_agreeing_readers(films: Mapping[str, Sequence[int]], path: str | Path) -> Path:
    """Films of each finding as bars, most first, shaded by how many of their readers marked it.

    films: a finding to its films marked by exactly 1, 2, ... readers.
    """
    ordered = sorted(films.items(), key=lambda item: sum(item[1]))
    figure, axes = single(7.2, 1.1 + 0.28 * max(1, len(ordered)))
    left = np.zeros(len(ordered))
    for number in range(max(map(len, films.values()))):
        values = np.array([counts[number] if number < len(counts) else 0 for _, counts in ordered])
        shade = _SHADES[min(number, len(_SHADES) - 1)]
        label = f"{number + 1} reader" + "s" * bool(number)
        bars = axes.barh(
            [name for name, _ in ordered], values, left=left, color=shade, height=0.72, label=label
        )
        left += values
    axes.bar_label(bars, [f"{n:,.0f}" for n in left], padding=3, fontsize=8)
    axes.margins(x=0.1, y=0.01)
    axes.set_xlabel("films on which so many readers boxed it")
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.tick_params(axis="y", length=0)
    axes.legend(frameon=False, fontsize=8, loc="lower right")
    return save(figure, path)


def plot_box_areas(shares: Mapping[str, ArrayLike], path: str | Path) -> Path:
    """Boxes' share of their film's area, a box plot a finding, largest median first, on a logarithmic axis.

    The box holds half of the values, the whiskers 90 %; the line is the median. shares: a finding to (n,) in (0, 1].
    """
    known = {name: _known(values) for name, values in shares.items()}
    known = {name: values for name, values in known.items() if len(values)}
    ordered = sorted(known.items(), key=lambda item: float(np.median(item[1])))
    figure, axes = single(7.2, 1.1 + 0.28 * max(1, len(ordered)))
    axes.boxplot(
        [values for _, values in ordered],
        orientation="horizontal",
        whis=(5, 95),
        showfliers=False,
        widths=0.62,
        patch_artist=True,
        boxprops={"facecolor": _SHADES[0], "edgecolor": BLUE},
        whiskerprops={"color": BLUE},
        capprops={"color": BLUE},
        medianprops={"color": COLOURS[1], "linewidth": 1.6},
    )
    axes.set_yticks(range(1, len(ordered) + 1), [f"{name} ({len(v):,})" for name, v in ordered])
    axes.set_xscale("log")
    axes.set_xlabel("share of the film's area (boxes: half of the values; whiskers: 90 %)")
    axes.xaxis.set_major_formatter(_percent)
    axes.tick_params(axis="y", length=0)
    return save(figure, path)


def plot_area_histograms(shares: Mapping[str, ArrayLike], path: str | Path, bins: int = 30) -> Path:
    """Boxes' share of their film's area, a histogram a finding, on one logarithmic axis. shares as in `plot_box_areas`."""
    known = {name: _known(values) for name, values in shares.items()}
    known = {name: values for name, values in known.items() if len(values)}
    figure, axes_of = grid(len(known), 2.3, 1.8)
    lowest = min((values.min() for values in known.values()), default=1e-4)
    edges = np.geomspace(lowest, 1.0, bins + 1)
    for axes, (name, values) in zip(axes_of, known.items(), strict=True):
        axes.hist(values, bins=edges.tolist(), color=BLUE)
        axes.axvline(float(np.median(values)), color=COLOURS[1], linewidth=1.2)
        axes.set_title(f"{name}\n{len(values):,} boxes", fontsize=8)
        axes.set_xscale("log")
        axes.set_xticks([1e-4, 1e-2, 1.0])
        axes.xaxis.set_major_formatter(_percent)
        axes.tick_params(labelsize=7)
    figure.supxlabel("share of the film's area; the line is the median", fontsize=9)
    figure.supylabel("boxes", fontsize=9)
    return save(figure, path)


def plot_estimate_columns(
    columns: Mapping[str, Mapping[str, tuple[float, float, float]]], path: str | Path
) -> Path:
    """Values up to 1 with intervals, a panel a quantity, a row a name that all panels share.

    columns: a quantity to a name to (value, low, high), NaN for none.
    """
    names = list(dict.fromkeys(name for rows in columns.values() for name in rows))
    figure, axes_of = grid(len(columns), 3.0, 1.0 + 0.25 * max(1, len(names)))
    place = {name: row for row, name in enumerate(reversed(names))}
    for number, (axes, (quantity, rows)) in enumerate(zip(axes_of, columns.items(), strict=True)):
        for name, (value, low, high) in rows.items():
            axes.plot([low, high], [place[name]] * 2, color=BLUE, linewidth=1.6, solid_capstyle="butt")
            axes.plot(value, place[name], color=BLUE, marker="o", markersize=4)
        axes.set_yticks(range(len(names)), list(place) if number == 0 else [""] * len(names))
        axes.set_ylim(-0.6, len(names) - 0.4)
        axes.grid(axis="y", color="#EEEEEE", linewidth=0.6)
        axes.set_xlabel(quantity, fontsize=9)
        axes.set_xlim(min(0.0, axes.get_xlim()[0]), 1.0)
        axes.set_xticks([0, 0.5, 1])
        axes.tick_params(axis="y", length=0)
    return save(figure, path)


def plot_reader_pairs(
    names: Sequence[str], panels: Mapping[str, tuple[ArrayLike, ArrayLike]], path: str | Path
) -> Path:
    """Who reads like whom: a matrix a panel, coloured by kappa, with the films that two readers share in each cell.

    panels: a title to kappa (readers, readers), NaN where unknown, and films (readers, readers).
    """
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    side = 0.36 * len(names) + 1.2
    figure, axes_of = grid(len(panels), side, side, columns=2)
    norm = Normalize(0, 1)
    for axes, (title, (kappa, films)) in zip(axes_of, panels.items(), strict=True):
        values, shared = np.asarray(kappa, np.float64), np.asarray(films)
        axes.imshow(np.ma.masked_invalid(values), cmap="viridis", norm=norm)
        axes.set_xticks(range(len(names)), names, fontsize=7, rotation=90)
        axes.set_yticks(range(len(names)), names, fontsize=7)
        axes.tick_params(length=0)
        axes.set_title(title, fontsize=9)
        for (row, column), n in np.ndenumerate(shared):
            if n:
                colour = GREY if np.isnan(values[row, column]) else "wk"[int(values[row, column] > 0.55)]
                axes.text(column, row, f"{n:,}", ha="center", va="center", fontsize=5, color=colour)
        axes.spines[:].set_visible(False)
    figure.colorbar(ScalarMappable(norm, "viridis"), ax=axes_of, shrink=0.6, label="kappa")
    return save(figure, path)


def _known(values: ArrayLike) -> np.ndarray:
    array = np.asarray(values, np.float64)
    return array[np.isfinite(array) & (array > 0)]


def _percent(value: float, _: object) -> str:
    return f"{100 * value:g} %"
