"""A film twice in one picture: boxes lie where they are on the film, whatever shape it was published in."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from hilum.analysis.render.beside import DOTS, INCHES, beside_png
from hilum.analysis.report import BoxResult, Report
from hilum.analysis.truth import TrueBox
from hilum.images.radiograph import Radiograph

BOX = (20.0, 60.0, 80.0, 160.0)
ACROSS, DOWN = 100, 200


def drawn(png: bytes, size: tuple[float, float], right: bool) -> np.ndarray:
    """The corners of what is coloured on one of the two pictures of a film, in the film's pixels."""
    image = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR).astype(int)
    wide, high = (INCHES * DOTS * side / max(size) for side in size)
    left, top = DOTS * (0.1 + right * (wide / DOTS + 0.1)), DOTS * 0.6
    panel = image[round(top) : round(top + high), round(left) : round(left + wide)]
    rows, columns = np.nonzero(np.ptp(panel, axis=2) > 60)
    found = columns.min(), rows.min(), columns.max() + 1, rows.max() + 1
    return np.array(found) * np.array([ACROSS / wide, DOWN / high] * 2)


@pytest.mark.parametrize("size", [None, (200.0, 200.0), (300.0, 150.0)])
def test_truth_lies_on_the_left_and_output_on_the_right_where_they_are_on_the_film(size):
    film = Radiograph(np.full((DOWN, ACROSS), 0.3, np.float32), format="array")
    shape = size or (ACROSS, DOWN)
    given = beside_png(Report(film, True, None), [TrueBox("Nodule or Mass", BOX)], size, "film")
    assert drawn(given, shape, right=False) == pytest.approx(BOX, abs=2)
    with pytest.raises(ValueError, match="zero-size"):
        drawn(given, shape, right=True)
    found = Report(film, True, None, boxes=(BoxResult("Nodule or Mass", 0.5, BOX, "a"),))
    x1, _, x2, y2 = drawn(beside_png(found, [], size, "film"), shape, right=True)
    assert (x1, x2, y2) == pytest.approx((BOX[0], BOX[2], BOX[3]), abs=2)  # its score stands above it


def test_a_name_is_no_formula():
    film = Radiograph(np.full((50, 40), 0.3, np.float32), format="array")
    made = beside_png(Report(film, True, None), [TrueBox(r"A $\b$", (1, 1, 20, 20), r"$\foo$")], name=r"$\c$")
    assert made.startswith(b"\x89PNG")
