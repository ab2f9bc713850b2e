"""PNG, JPEG and TIFF: told by content, 16 bits kept, colour and orientation handled."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from hilum.errors import LimitError, ReadError
from hilum.images import strips
from hilum.images.colour import to_grey
from hilum.images.read import decode, read, read_array

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


def png_of(values: np.ndarray, key: tuple[int, ...] | None = None) -> bytes:
    """A PNG (W3C PNG, sections 5 and 11) of 16-bit values (h, w, 2 to 4), written without any imaging library."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">L", len(data)) + kind + data + struct.pack(">L", zlib.crc32(kind + data))

    height, width, samples = values.shape
    header = struct.pack(">LLBBBBB", width, height, 16, {2: 4, 3: 2, 4: 6}[samples], 0, 0, 0)
    out = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header)
    if key is not None:
        out += chunk(b"tRNS", struct.pack(">3H", *key))
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    return out + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


@pytest.mark.parametrize("samples", [2, 3, 4])
def test_both_bytes_of_16_bit_colour_and_alpha_are_read(samples: int) -> None:
    values = RNG.integers(0, 65536, (30, 40, samples), dtype=np.uint16)
    got = decode(png_of(values))
    colours = values[..., :3] if samples > 2 else np.repeat(values[..., :1], 3, axis=2)
    alpha = values[..., -1:] / 65535 if samples != 3 else np.ones((30, 40, 1))
    mixed = np.rint(colours * alpha)
    np.testing.assert_allclose(got.pixels, mixed @ LUMA / 65535, atol=1.1 / 65535)
    assert got.bits == 16
    assert {n.code for n in got.notices} == ({"transparency"} if samples != 3 else set())


def test_the_transparent_colour_of_a_16_bit_png_is_black() -> None:
    values = RNG.integers(0, 65536, (30, 40, 3), dtype=np.uint16)
    got = decode(png_of(values, key=tuple(int(v) for v in values[3, 5])))
    assert got.pixels[3, 5] == 0
    assert {n.code for n in got.notices} == {"transparency"}
    expected = values @ LUMA / 65535
    expected[3, 5] = 0
    np.testing.assert_allclose(got.pixels, expected, atol=1e-6)
    assert decode(png_of(values, key=(1, 2, 3))).notices == ()


def whole(rgb: np.ndarray, top: int) -> tuple[np.ndarray, float]:
    """Luma of all rows at once, as it was before images were worked on in strips."""
    if (rgb[..., 0] == rgb[..., 1]).all() and (rgb[..., 1] == rgb[..., 2]).all():
        return rgb[..., 0].astype(np.float32) / np.float32(top), 0.0
    red, green, blue = (rgb[..., i].astype(np.float32) / np.float32(top) for i in range(3))
    apart = np.abs(red - green).mean() + np.abs(green - blue).mean() + np.abs(blue - red).mean()
    grey = np.float32(0.299) * red + np.float32(0.587) * green + np.float32(0.114) * blue
    return np.clip(grey, 0, 1), float(apart / 3)


@settings(max_examples=60, deadline=None)
@given(
    rgb=st.one_of(
        *(
            arrays(dtype, st.tuples(st.integers(1, 9), st.integers(1, 7), st.just(3)))
            for dtype in (np.uint8, np.uint16)
        )
    ),
    coloured_rows=st.integers(0, 9),
    strip=st.integers(1, 70),
)
def test_strips_are_the_whole(rgb: np.ndarray, coloured_rows: int, strip: int) -> None:
    """Pixel for pixel, also where the channels differ in some strips only; of any height of a strip."""
    rgb = np.concatenate([rgb[:coloured_rows], rgb[coloured_rows:, :, :1].repeat(3, axis=2)])
    top = np.iinfo(rgb.dtype).max
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(strips, "STRIP", strip)
        grey, colour = to_grey(rgb, top)
    expected, apart = whole(rgb, top)
    np.testing.assert_array_equal(grey, expected)
    assert colour == pytest.approx(apart, rel=1e-5, abs=1e-9)


@settings(max_examples=30, deadline=None)
@given(
    rgba=st.one_of(
        *(
            arrays(dtype, st.tuples(st.integers(1, 9), st.integers(1, 7), st.just(4)))
            for dtype in (np.uint8, np.uint16)
        )
    ),
    strip=st.integers(1, 70),
)
def test_strips_over_black_are_the_whole_over_black(rgba: np.ndarray, strip: int) -> None:
    top = np.iinfo(rgba.dtype).max
    alpha = rgba[..., 3:].astype(np.float32) / top
    mixed = np.rint(rgba[..., :3].astype(np.float32) * alpha).astype(rgba.dtype)
    if rgba.dtype == np.uint8:
        image = strips.Strips(Image.fromarray(rgba))
    else:
        high, low = ((rgba >> shift).astype(np.uint8) for shift in (8, 0))
        image = strips.Strips(Image.fromarray(high), Image.fromarray(low))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(strips, "STRIP", strip)
        rows = [image[part] for part in strips.strips_of(image.shape)]
        assert image.transparent == (rgba[..., 3].min() < top)
    np.testing.assert_array_equal(np.concatenate(rows), mixed)
    assert (image.shape, image.dtype) == (mixed.shape, mixed.dtype)


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
