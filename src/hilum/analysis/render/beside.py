"""A film twice in one picture: what readers marked on the left, what detectors give on the right, a colour a class."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from typing import Any

import cv2

from hilum.analysis.render.pictures import fitted, to_grey
from hilum.analysis.report import NormalResult, Report
from hilum.analysis.truth import Size, TrueBox
from hilum.bundles.card import RESEARCH_USE
from hilum.findings import VINBIG14

SIDE = 900  # pixels of a film's long side
INCHES, DOTS = 5.0, 150
# Fourteen hues that stand out from grey, neighbours far apart; what is no class of VinBigData takes the last ones in turn.
COLOURS = (
    "#ff4b4b", "#4dd2ff", "#ffd23f", "#7dff6b", "#ff8ad8", "#b58cff", "#ff9a3d", "#3dffc5",
    "#c7e04a", "#6b9bff", "#ff6f91", "#9be7ff", "#e0b87d", "#b0ffb0", "#ffffff", "#d0d0ff",
)  # fmt: skip


def beside_png(
    report: Report, truth: Sequence[TrueBox], size: Size | None = None, name: str | None = None
) -> bytes:
    """PNG of the report's film with `truth` (in the film's pixels) beside the report's boxes.

    `size`: width and height that the film was published with; the picture has its shape, as a squashed copy has not.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle

    film = report.film
    wide, high = size or (float(film.width), float(film.height))
    scale = SIDE / max(wide, high)
    shape = max(1, round(wide * scale)), max(1, round(high * scale))
    grey = cv2.resize(to_grey(fitted(film.pixels, SIDE)), shape, interpolation=cv2.INTER_AREA)
    across, down = (INCHES * side / max(wide, high) for side in (wide, high))
    given = [(box.name, box.box, box.reader or "") for box in truth]
    found = [(box.name, box.box, f"{box.score:.2f}") for box in report.boxes]
    names = _ordered({each[0] for each in (*given, *found)})
    figure = Figure(figsize=(2 * across + 0.3, down + 0.95 + 0.22 * -(-len(names) // 5)), facecolor="#101113")
    canvas = FigureCanvasAgg(figure)
    below = figure.get_figheight() - down - 0.6
    for column, (title, boxes) in enumerate(((_truth_title(truth), given), (_found_title(report), found))):
        axes = figure.add_axes(
            (
                (0.1 + column * (across + 0.1)) / figure.get_figwidth(),
                below / figure.get_figheight(),
                across / figure.get_figwidth(),
                down / figure.get_figheight(),
            )
        )
        axes.imshow(
            grey, cmap="gray", vmin=0, vmax=255, extent=(0, film.width, film.height, 0), aspect="auto"
        )
        axes.set_axis_off()
        axes.set_title(title, color="#f0f0ee", fontsize=9, loc="left")
        for label, (x1, y1, x2, y2), note in boxes:
            colour = COLOURS[_number(label, names)]
            axes.add_patch(Rectangle((x1, y1), x2 - x1, y2 - y1, fill=False, edgecolor=colour, linewidth=1.3))
            axes.text(
                x1, y1, note, color=colour, fontsize=6, va="bottom", ha="left", clip_on=True, parse_math=False
            )
    handles = [
        Rectangle((0, 0), 1, 1, fill=False, edgecolor=COLOURS[_number(n, names)], linewidth=1.6)
        for n in names
    ]
    if names:
        legend = figure.legend(
            handles, names, loc="lower left", ncols=5, fontsize=7.5, frameon=False, labelcolor="#f0f0ee",
            bbox_to_anchor=(0.005, 0.2 / figure.get_figheight()), handlelength=1.2, columnspacing=1.4,
        )  # fmt: skip
        for text in legend.get_texts():  # a name is no formula
            text.set_parse_math(False)
    heading = name or (film.path.name if film.path is not None else "film")
    figure.text(
        0.01, 1 - 0.2 / figure.get_figheight(), heading, color="#f0f0ee", fontsize=9, parse_math=False
    )
    figure.text(0.01, 0.06 / figure.get_figheight(), RESEARCH_USE, color="#a5a8ac", fontsize=6.5)
    made = io.BytesIO()
    figure.set_dpi(DOTS)
    canvas.print_png(made, pil_kwargs={"compress_level": 6})
    return made.getvalue()


def _ordered(names: Iterable[str]) -> list[str]:
    """VinBigData's classes in the order of their numbers, then others by name."""
    there = set(names)
    return [name for name in VINBIG14 if name in there] + sorted(there - set(VINBIG14))


def _number(name: str, names: Sequence[str]) -> int:
    if name in VINBIG14:
        return VINBIG14.index(name)
    others = [each for each in names if each not in VINBIG14]
    return len(COLOURS) - 1 - others.index(name) % len(COLOURS)


def _truth_title(truth: Sequence[TrueBox]) -> str:
    readers = len({box.reader for box in truth if box.reader})
    by = f", {readers} reader{'s' * (readers != 1)}" if readers else ""
    return f"Readers: {_count(truth)}{by}"


def _found_title(report: Report) -> str:
    how = report.detection
    normal = "" if how is None or how.normal is None else f"; {_normal(how.normal)}"
    return f"Output: {_count(report.boxes)} over threshold{normal}"


def _count(boxes: Sequence[Any]) -> str:
    return f"{len(boxes)} box{'es' * (len(boxes) != 1)}" if boxes else "no box"


def _normal(found: NormalResult) -> str:
    return f"normal {100 * found.probability:.0f} %{', all dropped' if found.dropped else ''}"
