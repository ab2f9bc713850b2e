"""The overlay picture: the film with the lungs' outline and the heat of the leading findings, and a caption."""

from __future__ import annotations

from functools import cache

import cv2
import numpy as np
from numpy.typing import NDArray

from hilum.analysis.render.caption import Picture, caption, tagged
from hilum.analysis.render.pictures import DISPLAY_SIDE, Grey, contours, level_colours, shown, to_grey
from hilum.analysis.report import Report

HEATS = 3  # more than three maps in one picture cannot be told apart
SMALLEST = 720  # pixels of the long side, so that the caption of a thumbnail can still be read
OPACITY = 0.55
LUNG, HEAT_EDGE, BOX = (94, 200, 229), (255, 244, 214), (255, 190, 92)


def overlay(report: Report, side: int = DISPLAY_SIDE) -> Picture:
    """The captioned picture, RGB, its long side at most `side` pixels."""
    report = report.in_full()
    room = side
    while True:
        height, width = _extent(report, room)
        below = caption(report, width, HEATS)
        if height + below.shape[0] <= side or room < side // 4:
            return np.vstack([drawn(report, room), below])
        room -= max(1, side // 40)


def drawn(report: Report, side: int = DISPLAY_SIDE) -> Picture:
    """The film with outlines, named heat and boxes, RGB, its long side at most `side` pixels."""
    height, width = _extent(report, side)
    way = cv2.INTER_AREA if height < report.film.height else cv2.INTER_CUBIC
    grey = to_grey(cv2.resize(report.film.pixels, (width, height), interpolation=way))
    line = max(1, round(max(height, width) / 700))
    tags: list[tuple[str, int, int]] = []
    heats = {f.name: f.heatmap for f in shown(report)[:HEATS] if f.heatmap is not None}
    if not heats:
        picture = np.repeat(grey[..., None], 3, axis=2)
    else:
        maps = [cv2.resize(h, (width, height), interpolation=cv2.INTER_LINEAR) for h in heats.values()]
        picture = heated(grey, np.max(maps, axis=0))
        for name, heat in zip(heats, maps, strict=True):
            if heat.max() > 0:
                core = (heat >= 0.5 * heat.max()).astype(np.uint8)
                cv2.polylines(picture, contours(core), True, HEAT_EDGE, line, cv2.LINE_AA)
                y, x = np.unravel_index(int(heat.argmax()), heat.shape)
                tags.append((name, int(x), int(y)))
    if report.lungs is not None:
        for mask in (report.lungs.left, report.lungs.right):
            small = cv2.resize(mask, (width, height), interpolation=cv2.INTER_NEAREST)
            cv2.polylines(picture, contours(small), True, LUNG, line, cv2.LINE_AA)
    scale = np.array([width / report.film.width, height / report.film.height] * 2)
    for box in report.boxes:
        x1, y1, x2, y2 = (int(v) for v in np.rint(np.array(box.box) * scale))
        cv2.rectangle(picture, (x1, y1), (x2, y2), BOX, line, cv2.LINE_AA)
        tags.append((box.name, (x1 + x2) // 2, y1))
    return tagged(picture, tags) if tags else picture


def _extent(report: Report, side: int) -> tuple[int, int]:
    """Height and width of the film as drawn: its long side at most `side` pixels, a small film's SMALLEST."""
    film = report.film
    longest = max(film.height, film.width)
    scale = min(side, max(longest, SMALLEST)) / longest
    return max(1, round(film.height * scale)), max(1, round(film.width * scale))


def heated(grey: Grey, heat: NDArray[np.float32]) -> Picture:
    """A film (h, w) with heat in [0, 1] laid over it, RGB."""
    return np.take(_blends(), to_grey(heat).astype(np.int32) * 256 + grey, axis=0)


@cache
def _blends() -> NDArray[np.uint8]:
    """Each level of heat over each grey level, RGB (256 * 256, 3)."""
    colours = level_colours()[:, None]
    alpha = colours[..., 3:] * (OPACITY / 255)
    grey = np.arange(256)[None, :, None]
    return np.rint(grey * (1 - alpha) + colours[..., :3] * alpha).astype(np.uint8).reshape(-1, 3)
