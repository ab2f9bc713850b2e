"""Words on pictures, in Pillow's built-in font: the overlay's caption, and the names of what it shows."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from hilum import __version__
from hilum.analysis.render import words
from hilum.analysis.render.pictures import shown
from hilum.analysis.report import FindingResult, Report
from hilum.bundles.card import RESEARCH_USE

Picture = NDArray[np.uint8]
Colour = tuple[int, int, int]
Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

ROWS = 6  # findings; the rest are counted
INK, QUIET, AMBER, GROUND = (240, 240, 238), (165, 168, 172), (255, 190, 92), (16, 17, 19)


def caption(report: Report, width: int, leading: int) -> Picture:
    """What the picture shows, in words, RGB (h, width, 3): the `leading` findings whose heat it shows come first."""
    size = _size(width)
    font, step, indent = ImageFont.load_default(size), round(size * 1.5), round(size * 1.1)
    rows = [
        (row, colour, marked and first)
        for text, colour, marked in _lines(report, leading)
        for first, row in _wrapped(text, font, width - 2 * size - indent)
    ]
    image = Image.new("RGB", (width, len(rows) * step + 2 * size), GROUND)
    draw = ImageDraw.Draw(image)
    for i, (text, colour, marked) in enumerate(rows):
        x, y = size, size + i * step
        if marked:
            base = y + size * 0.9
            draw.polygon([(x, base), (x + size * 0.7, base), (x + size * 0.35, y + size * 0.2)], colour)
        draw.text((x + indent, y), text, colour, font=font)
    return np.asarray(image)


def tagged(picture: Picture, tags: Iterable[tuple[str, int, int]]) -> Picture:
    """The picture with each name on a dark ground about its point (x, y), moved down where two would meet."""
    image = Image.fromarray(picture)
    draw = ImageDraw.Draw(image)
    size = round(_size(image.width) * 0.85)
    font, pad = ImageFont.load_default(size), round(size * 0.35)
    taken: list[tuple[float, float, float, float]] = []
    for name, x, y in tags:
        text = _plain(name)
        wide, high = font.getlength(text) + 2 * pad, size + 2 * pad
        left = min(max(0.0, x - wide / 2), max(0.0, image.width - wide))
        top = min(max(0.0, y - high / 2), max(0.0, image.height - high))
        while any(left < r and left + wide > q and top < b and top + high > t for q, t, r, b in taken):
            top += high
        taken.append((left, top, left + wide, top + high))
        draw.rounded_rectangle(taken[-1], pad, GROUND)
        draw.text((left + pad, top + pad * 0.7), text, INK, font=font)
    return np.asarray(image)


def _size(width: int) -> int:
    return max(13, min(26, width // 52))


def _lines(report: Report, leading: int) -> list[tuple[str, Colour, bool]]:
    """Each line with its colour, and whether a triangle marks it."""
    name = report.film.path.name if report.film.path is not None else "film"
    ending = (f"{RESEARCH_USE} Hilum {__version__}", QUIET, False)
    if not report.analysable:
        reason = f"Not analysed: {report.reason or 'no reason given'}"
        return [(name, QUIET, False), (reason, AMBER, True), ending]
    first = shown(report)[:leading]
    rest = [f for f in report.findings if f.positive and f not in first]
    named = [*first, *sorted(rest, key=words.standing, reverse=True)]
    lines = [(_line(f), INK if f.positive else QUIET, f.positive) for f in named[:ROWS]]
    more = f"{len(named) - ROWS} more in the report." if len(named) > ROWS else ""
    counts = [f"{count}. {more}" for count in words.counts(report)]
    caveat = [words.CAVEAT] if first else []
    tail = [(text, QUIET, False) for text in (*counts, *words.called(report), *caveat)]
    return [(name, QUIET, False), *lines, *tail, ending]


def _line(f: FindingResult) -> str:
    bounds = f" ({words.interval(f.interval)})" if f.interval else ""
    limit = f" threshold {words.percent(f.threshold)} %" if f.threshold is not None else ""
    group = f"{f.group}: " if f.group else ""
    return f"{group}{f.name}  {words.percent(f.probability)} %{bounds}, {words.verdict(f)}{limit}"


def _plain(text: str) -> str:
    """Text that the built-in font can draw; what it cannot is `?`, line breaks are spaces."""
    return " ".join(text.replace("–", "-").encode("latin-1", "replace").decode("latin-1").split())


def _wrapped(text: str, font: Font, room: float) -> Iterable[tuple[bool, str]]:
    """The text in rows no wider than `room` pixels, each with whether it is the first; a word too long is cut."""
    first, row = True, ""
    for word in _plain(text).split(" "):
        if row and font.getlength(f"{row} {word}") > room:
            yield first, row
            first, row = False, ""
        while len(word) > 1 and font.getlength(word) > room:
            word = word[:-1]
        row = f"{row} {word}" if row else word
    yield first, row
