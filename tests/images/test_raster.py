"""PNG, JPEG and TIFF: told by content, 16 bits kept, colour and orientation handled."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image

from hilum.errors import LimitError, ReadError
from hilum.images.read import read, read_array

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (30, 40), dtype=np.uint8)
DEEP = RNG.integers(0, 65536, (30, 40), dtype=np.uint16)
RGB = RNG.integers(0, 256, (30, 40, 3), dtype=np.uint8)
LUMA = np.array([0.299, 0.587, 0.114])


def saved(image: Image.Image, path: Path, **options: Any) -> Path:
    image.save(path, **options)
    return path


def test_png_8_bit_by_content_not_by_name(tmp_path: Path) -> None:
    path = saved(Image.fromarray(GREY), tmp_path / "film.dcm", format="PNG")
    got = read(path)
    assert (got.format, got.bits, got.colour, got.notices, got.path) == ("png", 8, 0.0, (), path)
    np.testing.assert_allclose(got.pixels, GREY / 255, atol=1e-7)


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_16_bits_are_kept(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"deep.{suffix}"
    assert cv2.imwrite(str(path), DEEP)
    got = read(path)
    assert got.bits == 16
    np.testing.assert_allclose(got.pixels, DEEP / 65535, atol=1e-7)
    assert len(np.unique(got.pixels)) == len(np.unique(DEEP))


@pytest.mark.parametrize(
    ("top", "bits"), [(200, 8), (1000, 10), (4095, 12), (4096, 14), (16383, 14), (16384, 16)]
)
def test_the_range_of_16_bit_files(tmp_path: Path, top: int, bits: int) -> None:
    values = np.linspace(0, top, 1200).astype(np.uint16).reshape(30, 40)
    assert cv2.imwrite(str(tmp_path / "deep.png"), values)
    got = read(tmp_path / "deep.png")
    assert got.bits == bits
    assert got.pixels.max() == pytest.approx(top / (2**bits - 1))
    assert ("range_guessed" in {n.code for n in got.notices}) == (bits < 16)


def test_a_black_16_bit_file_is_black(tmp_path: Path) -> None:
    assert cv2.imwrite(str(tmp_path / "black.png"), np.zeros((4, 4), np.uint16))
    assert (read(tmp_path / "black.png").pixels == 0).all()


def test_jpeg(tmp_path: Path) -> None:
    path = saved(Image.fromarray(GREY), tmp_path / "film.jpg", quality=95)
    np.testing.assert_allclose(read(path).pixels, np.asarray(Image.open(path)) / 255, atol=1e-7)
    assert read(path).format == "jpeg"


def test_colour_is_recorded_and_becomes_luma(tmp_path: Path) -> None:
    got = read(saved(Image.fromarray(RGB), tmp_path / "rgb.png"))
    np.testing.assert_allclose(got.pixels, RGB @ LUMA / 255, atol=1e-6)
    assert got.colour == pytest.approx(
        np.abs(RGB.astype(float) - np.roll(RGB.astype(float), 1, 2)).mean() / 255
    )


def test_grey_in_three_channels_is_exactly_grey(tmp_path: Path) -> None:
    got = read(saved(Image.fromarray(np.dstack([GREY] * 3)), tmp_path / "grey.png"))
    assert got.colour == 0
    np.testing.assert_array_equal(got.pixels, GREY.astype(np.float32) / np.float32(255))


def test_palette_and_bilevel(tmp_path: Path) -> None:
    palette = Image.fromarray(GREY // 64 * 64).convert("P")
    np.testing.assert_allclose(
        read(saved(palette, tmp_path / "p.png")).pixels, GREY // 64 * 64 / 255, atol=1e-6
    )
    bilevel = read(saved(Image.fromarray(GREY > 127), tmp_path / "1.png"))
    np.testing.assert_array_equal(bilevel.pixels, (GREY > 127).astype(np.float32))


def test_opaque_alpha_changes_nothing_and_transparent_is_black(tmp_path: Path) -> None:
    alpha = np.full_like(GREY, 255)
    opaque = read(saved(Image.fromarray(np.dstack([GREY, alpha])), tmp_path / "la.png"))
    np.testing.assert_allclose(opaque.pixels, GREY / 255, atol=1e-6)
    assert opaque.notices == ()
    alpha[:10] = 0
    part = read(saved(Image.fromarray(np.dstack([GREY, alpha])), tmp_path / "part.png"))
    assert (part.pixels[:10] == 0).all()
    np.testing.assert_allclose(part.pixels[10:], GREY[10:] / 255, atol=1e-6)
    assert {n.code for n in part.notices} == {"transparency"}


def test_16_bit_colour_and_alpha_keep_their_depth(tmp_path: Path) -> None:
    opaque = np.full_like(DEEP, 65535)
    assert cv2.imwrite(str(tmp_path / "rgba.png"), np.dstack([DEEP, DEEP, DEEP, opaque]))
    got = read(tmp_path / "rgba.png")
    assert (got.bits, got.colour) == (16, 0)
    np.testing.assert_allclose(got.pixels, DEEP / 65535, atol=1e-7)


@pytest.mark.parametrize(("values", "byteorder"), [(GREY, "<"), (GREY, ">"), (DEEP, "<")])
def test_tiff_white_is_zero(tmp_path: Path, values: np.ndarray, byteorder: str) -> None:
    path = tmp_path / "white.tif"
    tifffile.imwrite(path, values, photometric="miniswhite", byteorder=byteorder)
    top = np.iinfo(values.dtype).max
    np.testing.assert_allclose(read(path).pixels, (top - values) / top, atol=1e-6)


def test_big_endian_16_bit_white_is_zero_is_refused_not_shown_inverted(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "white.tif", DEEP, photometric="miniswhite", byteorder=">")
    with pytest.raises(ReadError, match="cannot read"):
        read(tmp_path / "white.tif")


@pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_adobe_deflate", "packbits"])
def test_tiff_compressions(tmp_path: Path, compression: str) -> None:
    path = saved(Image.fromarray(DEEP), tmp_path / "film.tif", compression=compression)
    np.testing.assert_allclose(read(path).pixels, DEEP / 65535, atol=1e-7)


def test_tiff_of_two_pages_and_float_are_refused(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "pages.tif", np.stack([GREY, GREY]), photometric="minisblack")
    with pytest.raises(ReadError, match="2 pages"):
        read(tmp_path / "pages.tif")
    tifffile.imwrite(tmp_path / "float.tif", GREY.astype(np.float32))
    with pytest.raises(ReadError, match="without a known range"):
        read(tmp_path / "float.tif")


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["png", "tif", "16-bit colour png", "jpg"])
def test_exif_orientation(tmp_path: Path, orientation: int, kind: str) -> None:
    """Each of the eight stored ways is turned back to one upright image."""
    upright = np.kron(np.arange(1, 13).reshape(3, 4) * 20, np.ones((8, 8))).astype(np.uint8)
    # What a camera stored: the inverse of what the tag tells a viewer to do (EXIF 2.3, tag 0x0112).
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.T,
        6: np.rot90(upright),
        7: upright[::-1, ::-1].T,
        8: np.rot90(upright, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"film.{kind[-3:]}"
    if kind == "16-bit colour png":
        deep = np.dstack([stored.astype(np.uint16) * 257] * 3)
        assert cv2.imwrite(str(path), deep)
        block = exif.tobytes()[6:]
        data = path.read_bytes()
        import struct
        import zlib

        chunk = (
            struct.pack(">L", len(block)) + b"eXIf" + block + struct.pack(">L", zlib.crc32(b"eXIf" + block))
        )
        path.write_bytes(data[:33] + chunk + data[33:])
    elif kind == "jpg":
        Image.fromarray(np.ascontiguousarray(stored)).save(path, exif=exif, quality=100)
    elif kind == "tif":
        tifffile.imwrite(path, np.ascontiguousarray(stored), extratags=[(274, "H", 1, orientation, True)])
    else:
        Image.fromarray(np.ascontiguousarray(stored)).save(path, exif=exif)
    got = read(path).pixels
    assert got.shape == upright.shape
    np.testing.assert_allclose(got, upright / 255, atol=0.02 if kind == "jpg" else 1e-6)


def test_truncated_rasters_are_refused(tmp_path: Path) -> None:
    deep_colour = tmp_path / "deep.png"
    assert cv2.imwrite(str(deep_colour), np.dstack([DEEP] * 3))
    files = [deep_colour]
    for suffix in ("png", "jpg", "tif"):
        files.append(saved(Image.fromarray(GREY), tmp_path / f"film.{suffix}"))
    for path in files:
        data = path.read_bytes()
        path.write_bytes(data[: len(data) * 2 // 3])
        with pytest.raises(ReadError):
            read(path)


def test_arrays() -> None:
    np.testing.assert_allclose(read_array(GREY).pixels, GREY / 255, atol=1e-7)
    got = read_array(DEEP, view="PA", age=61.0)
    assert (got.format, got.view, got.age, got.bits) == ("array", "PA", 61.0, 16)
    floats = RNG.random((8, 8))
    np.testing.assert_allclose(read_array(floats).pixels, floats, atol=1e-7)
    floats[0, 0] = 0.5
    assert read_array(RGB).colour > 0.1


@pytest.mark.parametrize(
    "pixels",
    [
        np.zeros((2, 2, 2), np.uint8),
        np.zeros((0, 4)),
        np.full((4, 4), 1.5),
        np.full((4, 4), np.nan),
        np.zeros((4, 4), np.int32),
        np.zeros((4, 4, 3)),
    ],
)
def test_arrays_without_a_meaning_are_refused(pixels: np.ndarray) -> None:
    with pytest.raises(ReadError):
        read_array(pixels)


def test_an_array_larger_than_a_film_is_refused() -> None:
    with pytest.raises(LimitError):
        read_array(np.broadcast_to(np.uint8(0), (10_000, 10_000)))
