"""Films decoded at the resolution that is needed: the same film, smaller; whole where a smaller one would say otherwise."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image
from pydicom import dcmread, uid
from pydicom.data import get_testdata_file
from pydicom.encaps import get_frame

from hilum.errors import ReadError
from hilum.images import reduced
from hilum.images.read import read
from tests.images.films import film, save, save_compressed
from tests.phantom import phantom

WINDOW = {"WindowCenter": 2048, "WindowWidth": 4096}
J2K, JPEG = uid.JPEG2000Lossless, uid.JPEGBaseline8Bit


def stored(height: int = 330, width: int = 301, bits: int = 12) -> np.ndarray:
    return np.rint(phantom(3, height, width).pixels * ((1 << bits) - 1)).astype(np.int64)


def written(path: Path, values: np.ndarray, syntax: uid.UID = J2K, **elements: Any) -> Path:
    return save_compressed(film(values, **{**WINDOW, **elements}), path / "film.dcm", syntax)


def averaged(pixels: np.ndarray, like: np.ndarray) -> np.ndarray:
    return cv2.resize(pixels, like.shape[::-1], interpolation=cv2.INTER_AREA)


@pytest.mark.parametrize(("least", "expected"), [(921, 0), (920, 1), (461, 1), (460, 2), (230, 3), (1, 3)])
def test_a_film_is_halved_as_often_as_leaves_what_is_needed(least, expected):
    assert reduced.level_for(1955, 1841, least) == expected


def test_without_a_need_a_film_is_decoded_whole():
    assert reduced.level_for(5000, 5000, None) == 0


@pytest.mark.parametrize("level", [1, 2, 3])
def test_a_real_film_is_the_average_of_the_whole_one(level):
    path = get_testdata_file("RG1_J2KR.dcm")
    whole, small = read(path), read(path, 1841 >> level)
    assert small.pixels.shape == (-(-1955 >> level), -(-1841 >> level))
    assert small.whole == small.size == (1955, 1841)
    assert (small.digest, small.notices, small.bits) == (whole.digest, whole.notices, whole.bits)
    difference = small.pixels - averaged(whole.pixels, small.pixels)
    inner = slice(8, -8)
    assert abs(difference[inner, inner].mean()) < 2e-4  # a shift in grey
    assert np.abs(difference[inner, inner]).mean() < 0.01
    nudged = [np.roll(small.pixels, s, axis=(0, 1)) for s in ((1, 0), (-1, 0), (0, 1), (0, -1))]
    error = [np.abs(p - averaged(whole.pixels, p))[inner, inner].mean() for p in (small.pixels, *nudged)]
    assert error[0] == min(error)  # nor one in place


def test_the_whole_level_is_the_whole_decoding(tmp_path):
    path = written(tmp_path, stored())
    stream = get_frame(dcmread(path).PixelData, 0, number_of_frames=1)
    assert (reduced.jpeg2000(stream, 0, 12) == stored()).all()


@pytest.mark.parametrize("bits", [8, 10, 16])
def test_depths(tmp_path, bits):
    centre = {"WindowCenter": 1 << (bits - 1), "WindowWidth": 1 << bits}
    path = save_compressed(film(stored(bits=bits), bits, **centre), tmp_path / "film.dcm", J2K)
    small, whole = read(path, 100), read(path)
    assert small.whole == (330, 301)
    assert np.abs(small.pixels - averaged(whole.pixels, small.pixels)).mean() < 0.01


def test_baseline_jpeg_in_dicom(tmp_path):
    ds = film(stored(bits=8), 8, WindowCenter=128, WindowWidth=256)
    place = tmp_path / "film.jpg"
    Image.fromarray(stored(bits=8).astype(np.uint8)).save(place, quality=95)
    from pydicom.encaps import encapsulate

    ds.PixelData = encapsulate([place.read_bytes()])
    ds["PixelData"].is_undefined_length = True
    ds.file_meta.TransferSyntaxUID = JPEG
    ds.save_as(tmp_path / "film.dcm", enforce_file_format=True)
    for path in (tmp_path / "film.dcm", place):
        small, whole = read(path, 150), read(path)
        assert (small.pixels.shape, small.whole, whole.whole) == ((165, 151), (330, 301), None)
        assert np.abs(small.pixels - averaged(whole.pixels, small.pixels)).mean() < 0.01


def test_a_turned_film_has_its_upright_size(tmp_path):
    small = read(written(tmp_path, stored(), PatientOrientation=["F", "L"]), 100)
    assert small.whole == (301, 330)
    assert small.pixels.shape == (151, 165)


def test_a_jpeg_turned_by_its_exif_has_its_upright_size(tmp_path):
    picture = Image.fromarray(stored(bits=8).astype(np.uint8))
    exif = Image.Exif()
    exif[0x0112] = 6
    picture.save(tmp_path / "film.jpg", exif=exif)
    assert read(tmp_path / "film.jpg", 150).whole == (301, 330) == read(tmp_path / "film.jpg").size


WHOLE: dict[str, dict[str, Any]] = {
    "no window": {},
    "padding": {"PixelPaddingValue": 0},
    "signed": {"signed": True},
}


def test_bits_above_the_film_s_own_are_set_aside_on_the_whole_film(tmp_path):
    path = written(tmp_path, stored())
    ds = dcmread(path)
    ds.BitsStored, ds.HighBit = 10, 9
    ds.save_as(path)
    assert read(path, 100).whole is None


@pytest.mark.parametrize("elements", WHOLE.values(), ids=WHOLE)
def test_what_only_the_whole_film_can_say_is_asked_of_it(tmp_path, elements):
    shown = WINDOW if elements else {}
    path = save_compressed(film(stored(bits=11), **shown, **elements), tmp_path / "film.dcm", J2K)
    assert read(path, 100).whole is None
    assert (read(path, 100).pixels == read(path).pixels).all()


def test_a_drawing_is_counted_on_the_whole_film(tmp_path):
    drawing = np.zeros((330, 301), np.int64)
    for step in range(1, 4):
        drawing[50 * step : 330 - 50 * step, 40 * step : 301 - 40 * step] = 1024 * step
    path = written(tmp_path, drawing)
    assert read(path, 100).whole is None
    Image.fromarray((drawing // 16).astype(np.uint8)).save(tmp_path / "drawing.jpg", quality=100)
    assert len(np.unique(read(path, 100).pixels)) == 4
    assert read(tmp_path / "drawing.jpg", 100).whole is None


@pytest.mark.parametrize("keep", [0.3, 0.6, 0.9, 0.99])
def test_a_stream_that_is_cut_short_is_left_to_the_whole_decoding(tmp_path, keep):
    path = written(tmp_path, stored())
    ds = dcmread(path)
    stream = get_frame(ds.PixelData, 0, number_of_frames=1)
    assert reduced.jpeg2000(stream, 1, 12) is not None
    assert reduced.jpeg2000(stream[: int(len(stream) * keep)], 1, 12) is None


def test_a_damaged_jpeg_is_refused_at_any_size(tmp_path):
    Image.fromarray(stored(bits=8).astype(np.uint8)).save(tmp_path / "film.jpg")
    data = (tmp_path / "film.jpg").read_bytes()
    (tmp_path / "film.jpg").write_bytes(data[: len(data) // 2])
    with pytest.raises(ReadError, match="cut short"):
        read(tmp_path / "film.jpg", 100)


def test_syntaxes_without_levels_are_read_whole(tmp_path):
    path = save(film(stored(), **WINDOW), tmp_path / "film.dcm")
    assert read(path, 10).whole is None
