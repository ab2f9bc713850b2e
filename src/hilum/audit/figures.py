"""The figures of an audit: what is left under covers, subgroups, probes, heat in the lungs, letters."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from hilum.audit.measures import Measures
from hilum.evaluation.estimate import Estimate
from hilum.evaluation.gaps import FEWEST_FILMS, FEWEST_PATIENTS
from hilum.evaluation.plots import BLUE, GREY, ORANGE, plot_intervals, save, single

ROWS = 40  # of a forest: more do not fit a page
COVER_NAMES = {
    "none": "whole film",
    "lungs": "lungs covered",
    "lung_box": "rectangle over the lungs",
    "outside_lungs": "only the lungs left",
    "border": "border covered",
}


def draw(found: Measures, folder: Path) -> list[tuple[str, Path]]:
    """Each figure that has something to show, as (caption, file)."""
    figures: list[tuple[str, Path]] = []
    quantity = found.covers[0].quantity
    rows = [
        _row(COVER_NAMES[c.cover], c.value)
        for c in found.covers
        if c.quantity == quantity and c.value.defined
    ]
    if rows:
        chance = found.covers[0].chance
        path = plot_intervals(rows, folder / "covers.png", quantity, None if math.isnan(chance) else chance)
        figures.append((f"The {quantity} with parts of the film covered; dotted: chance.", path))
    rows = [
        _row(f"{part.attribute}: {part.value} (n = {part.films})", part.macro_auc)
        for part in found.subgroups
        if part.macro_auc.defined and part.films >= FEWEST_FILMS and part.patients >= FEWEST_PATIENTS
    ][:ROWS]
    if rows:
        path = plot_intervals(rows, folder / "subgroups.png", "macro AUC", 0.5)
        figures.append(("The macro AUC by subgroup, each over the labels it has films enough for.", path))
    if any(it.probe.auc.defined for it in found.attributes.values()):
        figures.append(
            (
                "How well a probe names each attribute from the embedding, and how well the attribute alone tells the label"
                " that it tells best; dotted: chance.",
                _probes(found, folder / "probes.png"),
            )
        )
    rows = [
        _row(f"{h.label}{' *' if h.outside_by_nature else ''}", h.inside)
        for h in found.heat
        if h.inside.defined
    ]
    if rows:
        path = plot_intervals(rows, folder / "heat.png", "share of heat inside the lungs", found.lung_area)
        figures.append(
            (
                "Heat inside the lungs, positive films; dotted: the lungs' share of the film; *: may lie outside by nature.",
                path,
            )
        )
    rows = [
        _row(f"{row.label}: {side}", share)
        for row in found.lettered
        for side, share in (("positive", row.positives), ("negative", row.negatives))
        if share.defined
    ]
    if rows:
        path = plot_intervals(rows, folder / "letters.png", "share of films with letters")
        figures.append(("Films with letters on them.", path))
    return figures


def _row(name: str, e: Estimate) -> tuple[str, float, float, float]:
    low, high = (e.value if math.isnan(end) else end for end in (e.low, e.high))
    return name, e.value, low, high


def _probes(found: Measures, path: Path) -> Path:
    rows = [(name, it) for name, it in found.attributes.items() if it.probe.auc.defined]
    figure, axes = single(6.4, 1.3 + 0.5 * len(rows))
    axes.axvline(0.5, color=GREY, linewidth=0.8, linestyle=":")
    for at, (_, it) in enumerate(reversed(rows)):
        told = [e for e in it.told.values() if e.defined]
        best = max(told, key=lambda e: e.value) if told else None
        for shift, colour, estimate in ((0.12, BLUE, it.probe.auc), (-0.12, ORANGE, best)):
            if estimate is not None:
                _, value, low, high = _row("", estimate)
                axes.plot([low, high], [at + shift] * 2, color=colour, linewidth=1.6, solid_capstyle="butt")
                axes.plot(value, at + shift, color=colour, marker="o", markersize=5)
    axes.set_yticks(np.arange(len(rows)), [name for name, _ in reversed(rows)])
    axes.set_ylim(-0.6, len(rows) - 0.4)
    axes.set_xlabel("AUC")
    axes.tick_params(axis="y", length=0)
    from matplotlib.lines import Line2D

    marks = [
        Line2D([], [], color=BLUE, marker="o", label="probe names it"),
        Line2D([], [], color=ORANGE, marker="o", label="it alone tells a label"),
    ]
    figure.legend(handles=marks, loc="outside upper right", ncols=2, frameon=False, fontsize=8)
    return save(figure, path)
