"""The film as the page gets it: all that it holds, with the window of its own header to begin with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.data import get_testdata_file

from hilum.images.read import read
from hilum.service.frames import _frame, windowed
from tests.images.films import film, ramp, save

PATHS = {
    "linear": {"WindowCenter": 1500, "WindowWidth": 800},
    "exact": {"WindowCenter": 1500, "WindowWidth": 800, "VOILUTFunction": "LINEAR_EXACT"},
    "rescaled": {"WindowCenter": 300, "WindowWidth": 1000, "RescaleSlope": 0.5, "RescaleIntercept": -100},
    "inverted": {"WindowCenter": 1500, "WindowWidth": 800, "photometric": "MONOCHROME1"},
    "padded": {"WindowCenter": 1500, "WindowWidth": 800, "PixelPaddingValue": 0},
    "wider than the film": {"WindowCenter": 2000, "WindowWidth": 9000},
}


def a_frame(path: Path, **elements: Any) -> tuple[np.ndarray, np.ndarray, tuple[float, float]]:
    """The film as an analysis sees it, the page's pixels, and the window to begin with."""
    save(film(ramp(12, False), **elements), path)
    frame = _frame(path)
    return read(path).pixels, frame.pixels(), frame.window


@pytest.mark.parametrize("name", PATHS)
def test_the_page_begins_at_the_header_window_and_reaches_beyond_it(name: str, tmp_path: Path) -> None:
    seen, pixels, window = a_frame(tmp_path / "film.dcm", **PATHS[name])
    shown = windowed(pixels, *window).astype(int)
    assert np.abs(shown - np.rint(seen * 255)).max() <= 1
    assert (pixels.min(), pixels.max()) == (0, 65535)
    if name != "wider than the film":
        cut_off = (seen == 0) | (seen == 1)
        assert cut_off.mean() > 0.3
        assert len(np.unique(pixels[cut_off])) > 100, "what the window cuts off is there"


def test_a_curve_is_applied_and_a_film_without_a_window_shows_its_range(tmp_path: Path) -> None:
    curved = {"WindowCenter": 1500, "WindowWidth": 800, "VOILUTFunction": "SIGMOID"}
    for elements in (curved, {}):
        seen, pixels, window = a_frame(tmp_path / "film.dcm", **elements)
        assert window == (0.5, 1.0)
        assert np.abs(pixels / 65535 - seen).max() < 1e-4


def test_a_window_of_one_value_and_a_film_of_one_value(tmp_path: Path) -> None:
    seen, pixels, window = a_frame(tmp_path / "film.dcm", WindowCenter=1500, WindowWidth=1)
    assert (windowed(pixels, *window) == np.rint(seen * 255)).mean() > 0.999
    save(film(np.full((4, 4), 7), WindowCenter=5, WindowWidth=3), tmp_path / "flat.dcm")
    assert _frame(tmp_path / "flat.dcm").window == (0.5, 1.0)


def test_the_real_film_begins_as_an_analysis_sees_it() -> None:
    path = Path(str(get_testdata_file("RG1_UNCR.dcm")))
    frame = _frame(path)
    shown = windowed(frame.pixels(), *frame.window).astype(int)
    assert np.abs(shown - np.rint(read(path).pixels * 255)).max() <= 1
