"""The overlay picture: the film with the lungs' outline and the heat of the leading findings, and a caption below it."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from hilum import __version__
from hilum.analysis.render import words
from hilum.analysis.render.pictures import (
    DISPLAY_SIDE,
    contours,
    fitted,
    heat_layer,
    shown,
    standing,
    to_grey,
)
from hilum.analysis.report import FindingResult, Report
from hilum.bundles.card import RESEARCH_USE

Picture = NDArray[np.uint8]
Line = tuple[str, tuple[int, int, int], bool]
Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

HEATS = 3  # more than three maps in one picture cannot be told apart
SMALLEST = 720  # pixels of the long side, so that the caption of a thumbnail can still be read
LUNG, HEAT_EDGE = (94, 200, 229), (255, 244, 214)
INK, QUIET, AMBER, GROUND = (240, 240, 238), (165, 168, 172), (255, 190, 92), (16, 17, 19)


def overlay(report: Report, side: int = DISPLAY_SIDE) -> Picture:
    """The captioned picture, RGB, its long side at most `side` pixels."""
    lines = _lines(report)
    room = side
    while room > 64:
        height, width = _extent(report, room)
        if height + _caption_height(width, len(lines)) <= side:
            break
        room -= max(1, side // 100)
    film = drawn(report, room)
    return np.vstack([film, _caption(lines, film.shape[1])])


def _extent(report: Report, side: int) -> tuple[int, int]:
    """Height and width of the film as drawn: its long side at most `side` pixels, enlarged to SMALLEST where it is less."""
    film = report.film
    longest = max(film.height, film.width)
    scale = min(side, max(longest, SMALLEST)) / longest
    return max(1, round(film.height * scale)), max(1, round(film.width * scale))


def drawn(report: Report, side: int = DISPLAY_SIDE) -> Picture:
    """The film with outline and heat, without words, RGB, its long side at most `side` pixels."""
    height, width = _extent(report, side)
    way = cv2.INTER_AREA if height < report.film.height else cv2.INTER_CUBIC
    grey = to_grey(cv2.resize(report.film.pixels, (width, height), interpolation=way))
    picture = np.repeat(grey[..., None], 3, axis=2)
    line = max(1, round(max(height, width) / 700))
    heats = [f.heatmap for f in shown(report)[:HEATS] if f.heatmap is not None]
    if heats:
        small = [cv2.resize(h, (width, height), interpolation=cv2.INTER_LINEAR) for h in heats]
        layer = heat_layer(np.max(small, axis=0), side)
        alpha = layer[..., 3:].astype(np.float32) / 255 * 0.55
        picture = np.rint(picture * (1 - alpha) + layer[..., :3] * alpha).astype(np.uint8)
        for heat in small:
            core = (heat >= 0.5 * max(float(heat.max()), 1e-6)).astype(np.uint8)
            cv2.polylines(picture, contours(core), True, HEAT_EDGE, line, cv2.LINE_AA)
    if report.lungs is not None:
        for mask in (report.lungs.left, report.lungs.right):
            outline = contours(cv2.resize(mask, (width, height), interpolation=cv2.INTER_NEAREST))
            cv2.polylines(picture, outline, True, LUNG, line, cv2.LINE_AA)
    scale = np.array([width / report.film.width, height / report.film.height] * 2)
    for box in report.boxes:
        x1, y1, x2, y2 = (int(v) for v in np.rint(np.array(box.box) * scale))
        cv2.rectangle(picture, (x1, y1), (x2, y2), AMBER, line, cv2.LINE_AA)
    return picture


def _type_size(width: int) -> int:
    return max(13, min(26, width // 52))


def _caption_height(width: int, lines: int) -> int:
    size = _type_size(width)
    return lines * round(size * 1.5) + 2 * size


def _caption(lines: list[Line], width: int) -> Picture:
    size = _type_size(width)
    font = ImageFont.load_default(size)
    image = Image.new("RGB", (width, _caption_height(width, len(lines))), GROUND)
    draw = ImageDraw.Draw(image)
    for row, (text, colour, marked) in enumerate(lines):
        x, y = size, size + row * round(size * 1.5)
        if marked:
            base = y + size * 0.9
            draw.polygon([(x, base), (x + size * 0.7, base), (x + size * 0.35, y + size * 0.2)], colour)
            x += round(size * 1.1)
        draw.text((x, y), _cut(text, font, width - size - x), colour, font=font)
    return np.asarray(image)


def _lines(report: Report) -> list[Line]:
    """Each line of the caption with its colour, and whether a triangle marks it."""
    name = report.film.path.name if report.film.path is not None else "film"
    lines: list[Line] = [(_latin(name), QUIET, False)]
    if not report.analysable:
        lines.append((_latin(f"Not analysed: {report.reason or 'no reason given'}"), AMBER, True))
    else:
        leading = shown(report)[:HEATS]
        named = leading + [
            f for f in sorted(report.findings, key=standing, reverse=True) if f.positive and f not in leading
        ]
        lines += [(_latin(_line(f)), INK if f.positive else QUIET, f.positive) for f in named[: HEATS + 3]]
        lines.append((_latin(words.summary(report)), QUIET, False))
        if leading:
            lines.append((words.CAVEAT, QUIET, False))
    lines.append((f"{RESEARCH_USE} Hilum {__version__}", QUIET, False))
    return [line for line in lines if line[0]]


def _line(f: FindingResult) -> str:
    bounds = f" ({words.interval(f.interval)})" if f.interval else ""
    rule = (
        f"{words.verdict(f)} threshold {words.percent(f.threshold)}"
        if f.threshold is not None
        else words.verdict(f)
    )
    group = f"{f.group}: " if f.group else ""
    return f"{group}{f.name}  {words.percent(f.probability)} %{bounds}, {rule}"


def _latin(text: str) -> str:
    """Text that the built-in font can draw: what it cannot is `?`, line breaks are spaces."""
    return " ".join(text.encode("cp1252", "replace").decode("cp1252").split())


def _cut(text: str, font: Font, room: float) -> str:
    if font.getlength(text) <= room:
        return text
    while text and font.getlength(text + "…") > room:
        text = text[:-1]
    return text + "…"
