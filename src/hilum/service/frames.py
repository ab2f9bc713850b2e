"""Films as the page shows them: decoded in a process of its own, within limits, at most 4096 pixels on the long side.

Window and level act on all that the film holds: 0 is the blackest value in it and 1 the whitest. They begin at the window of
its own header, and reach beyond it. Where a header asks for a curve (a VOI LUT, a sigmoid) they act on what that gives.
"""

from __future__ import annotations

import hashlib
import threading
import zlib
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from hilum.analysis.workers import Failed
from hilum.clinic.companion import Companion
from hilum.clinic.intake import LOOK_MEMORY, LOOK_SECONDS
from hilum.images.dicom import read_unwindowed
from hilum.images.dicom_file import looks_like_dicom, parse_dicom
from hilum.images.dicom_header import value
from hilum.images.preparation import quantise
from hilum.images.read import read
from hilum.service.problems import Problem

SIDE = 4096  # pixels; what a browser's canvas takes everywhere
KEPT = 128 * 2**20  # bytes of frames in memory
PERSON = ("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "AccessionNumber")


@dataclass(frozen=True)
class Frame:
    """`packed`: zlib of the pixels, uint16 little-endian, row by row, (height, width); `film`: (height, width) of the film
    itself; `window`: (centre, width) to begin with; `person`: what its header says of whom it shows."""

    height: int
    width: int
    film: tuple[int, int]
    window: tuple[float, float]
    packed: bytes
    person: dict[str, str]

    def pixels(self) -> NDArray[np.uint16]:
        stored = np.frombuffer(zlib.decompress(self.packed), "<u2")
        return stored.reshape(self.height, self.width)


class Frames:
    """Frames of films by path; the last ones are kept in memory."""

    def __init__(self) -> None:
        self._companion = Companion(_framer, LOOK_SECONDS, LOOK_MEMORY)
        self._kept: OrderedDict[str, Frame] = OrderedDict()
        self._lock = threading.Lock()

    def of(self, path: Path) -> Frame:
        """Raises Problem (404, 422)."""
        if not path.is_file():
            raise Problem(404, "its file is not in the store any more")
        with self._lock:
            if path.name in self._kept:
                self._kept.move_to_end(path.name)
                return self._kept[path.name]
        made = self._companion.ask(path)
        if isinstance(made, Failed):
            raise Problem(422, made.fault, made.mend)
        with self._lock:
            self._kept[path.name] = made
            while len(self._kept) > 1 and sum(len(frame.packed) for frame in self._kept.values()) > KEPT:
                self._kept.popitem(last=False)
        return made

    def close(self) -> None:
        self._companion.close()


def windowed(
    pixels: NDArray[np.uint16], centre: float, width: float, invert: bool = False
) -> NDArray[np.uint8]:
    """Grey values of a window: `centre` and `width` (above 0) in the film's [0, 1]; the page computes the same table.

    y = floor(255 * clip((v - (centre - width / 2)) / width, 0, 1) + 0.5), v = pixel / 65535; 255 - y where inverted.
    """
    values = np.arange(65536, dtype=np.float64) / 65535
    table = np.floor(np.clip((values - (centre - width / 2)) / width, 0, 1) * 255 + 0.5).astype(np.uint8)
    return (255 - table if invert else table)[pixels]


def etag(*parts: object) -> str:
    return f'"{hashlib.sha256(repr(parts).encode()).hexdigest()[:32]}"'


def _framer() -> Callable[[Path], Frame]:
    """What the process runs."""
    return _frame


def _frame(path: Path) -> Frame:
    data = path.read_bytes()
    dicom = looks_like_dicom(data)
    film, window = read_unwindowed(data) if dicom else (read(path), (0.5, 1.0))
    pixels = film.pixels
    scale = SIDE / max(film.height, film.width)
    if scale < 1:
        size = max(1, round(film.width * scale)), max(1, round(film.height * scale))
        pixels = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)  # type: ignore[assignment]
    stored = quantise(pixels, 16)
    packed = zlib.compress(stored.astype("<u2").tobytes(), 1)
    return Frame(
        stored.shape[0],
        stored.shape[1],
        (film.height, film.width),
        window,
        packed,
        _person(data) if dicom else {},
    )


def _person(data: bytes) -> dict[str, str]:
    dataset, _ = parse_dicom(data)
    found = {keyword: str(value(dataset, keyword) or "").strip(" \0")[:200] for keyword in PERSON}
    return {keyword: told for keyword, told in found.items() if told}
