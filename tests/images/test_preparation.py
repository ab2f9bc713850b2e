"""Placement, filters and the preparation chain, against plain NumPy and SciPy twins."""

from __future__ import annotations

from typing import Literal

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pydantic import ValidationError
from scipy import ndimage

from hilum.images import enhance
from hilum.images.placement import Placement
from hilum.images.preparation import (
    Clahe,
    Gaussian,
    Median,
    NonLocalMeans,
    Percentile,
    Preparation,
    UnitVariance,
    quantise,
)

Aspect = Literal["squash", "pad", "crop"]
ASPECTS: tuple[Aspect, ...] = ("squash", "pad", "crop")
sides = st.integers(8, 90)


def film(height: int = 60, width: int = 44, seed: int = 0) -> NDArray[np.float32]:
    """Smooth noise in [0, 1]."""
    noise = np.random.default_rng(seed).random((height, width)).astype(np.float32)
    return np.clip(ndimage.gaussian_filter(noise, 2) * 4 - 1.5, 0, 1).astype(np.float32)


@settings(max_examples=60, deadline=None)
@given(h=sides, w=sides, size=st.tuples(sides, sides), aspect=st.sampled_from(ASPECTS), data=st.data())
def test_boxes_round_trip(h: int, w: int, size: tuple[int, int], aspect: Aspect, data: st.DataObject) -> None:
    place = Preparation(size=size, aspect=aspect).place((h, w))
    corner = st.floats(-100, 200, allow_nan=False)
    boxes = np.array(data.draw(st.lists(st.tuples(corner, corner, corner, corner), max_size=4))).reshape(
        -1, 4
    )
    np.testing.assert_allclose(place.boxes_to_source(place.boxes_to_prepared(boxes)), boxes, atol=1e-6)


@settings(max_examples=60, deadline=None)
@given(h=sides, w=sides, size=st.tuples(sides, sides))
def test_where_the_whole_film_lies(h: int, w: int, size: tuple[int, int]) -> None:
    """Squashed it fills the image, padded it lies inside and touches two sides, cropped it covers the image."""
    whole = np.array([[0, 0, w, h]], np.float64)
    height, width = size
    squashed = Preparation(size=size, aspect="squash").place((h, w)).boxes_to_prepared(whole)[0]
    np.testing.assert_allclose(squashed, [0, 0, width, height])
    x1, y1, x2, y2 = Preparation(size=size, aspect="pad").place((h, w)).boxes_to_prepared(whole)[0]
    assert min(x1, y1) == 0
    assert x1 >= 0
    assert y1 >= 0
    assert x2 <= width + 1e-9
    assert y2 <= height + 1e-9
    assert x2 - x1 == pytest.approx(width) or y2 - y1 == pytest.approx(height)
    x1, y1, x2, y2 = Preparation(size=size, aspect="crop").place((h, w)).boxes_to_prepared(whole)[0]
    assert x1 <= 0
    assert y1 <= 0
    assert x2 >= width - 1e-9
    assert y2 >= height - 1e-9


@pytest.mark.parametrize("aspect", ASPECTS)
@pytest.mark.parametrize("source", [(300, 200), (200, 300), (96, 80)])
def test_a_disc_is_where_its_box_says(source: tuple[int, int], aspect: Aspect) -> None:
    """Pixels, mask and box of one disc agree in the prepared image."""
    height, width = source
    cx, cy, radius = 0.55 * width, 0.47 * height, 0.12 * min(source)
    y, x = np.mgrid[:height, :width] + 0.5
    disc = ((x - cx) ** 2 + (y - cy) ** 2 <= radius**2).astype(np.uint8)
    preparation = Preparation(size=(128, 112), aspect=aspect)
    box = np.array([[cx - radius, cy - radius, cx + radius, cy + radius]])
    x1, y1, x2, y2 = preparation.place(source).boxes_to_prepared(box)[0]
    for image in (preparation.pixels(disc.astype(np.float32)) > 127, preparation.mask(disc) > 0):
        rows, columns = np.flatnonzero(image.any(1)), np.flatnonzero(image.any(0))
        found = [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]
        np.testing.assert_allclose(found, [x1, y1, x2, y2], atol=1.5)


@pytest.mark.parametrize("aspect", ASPECTS)
def test_mask_follows_pixels(aspect: Aspect) -> None:
    """A mask laid on the prepared grid is the thresholded film laid on it, but for the edge's mixed pixels."""
    shape = np.zeros((150, 120), np.uint8)
    shape[30:100, 20:90] = 1
    preparation = Preparation(size=(64, 64), aspect=aspect)
    soft = preparation.pixels(shape.astype(np.float32)).astype(float) / 255
    mask = preparation.mask(shape)
    assert set(np.unique(mask)) == {0, 1}
    clear = (soft < 0.1) | (soft > 0.9)
    assert clear.mean() > 0.9
    np.testing.assert_array_equal(mask[clear], (soft[clear] > 0.5).astype(np.uint8))


def test_mask_keeps_its_labels() -> None:
    labels = np.random.default_rng(0).choice(np.array([0, 127, 255], np.uint8), (50, 70))
    assert set(np.unique(Preparation(size=(33, 41)).mask(labels))) <= {0, 127, 255}


@pytest.mark.parametrize("aspect", ASPECTS)
@pytest.mark.parametrize("grid", [(128, 112), (8, 7), (16, 28)])
def test_map_to_source_is_aligned(aspect: Aspect, grid: tuple[int, int]) -> None:
    """A map that holds the prepared image's own x (or y) comes back as the x of each source pixel's centre."""
    source = (210, 260)
    place = Preparation(size=(128, 112), aspect=aspect).place(source)
    step_x, step_y = 112 / grid[1], 128 / grid[0]
    x = np.broadcast_to((np.arange(grid[1]) + 0.5) * step_x, grid).astype(np.float32)
    y = np.broadcast_to(((np.arange(grid[0]) + 0.5) * step_y)[:, None], grid).astype(np.float32)
    back_x, back_y = place.map_to_source(x), place.map_to_source(y)
    assert back_x.shape == source
    expected_x = np.clip((np.arange(260) + 0.5) * place.scale_x + place.left, step_x / 2, 112 - step_x / 2)
    expected_y = np.clip((np.arange(210) + 0.5) * place.scale_y + place.top, step_y / 2, 128 - step_y / 2)
    # OpenCV places sub-pixels in steps of 1/32.
    np.testing.assert_allclose(back_x, np.broadcast_to(expected_x, source), atol=step_x / 30)
    np.testing.assert_allclose(back_y, np.broadcast_to(expected_y[:, None], source), atol=step_y / 30)


@given(
    source=st.tuples(st.integers(20, 90), st.integers(20, 90)),
    cells=st.sampled_from([(24, 32), (12, 16), (7, 7), (48, 64)]),
    aspect=st.sampled_from(ASPECTS),
)
@settings(max_examples=60, deadline=None)
def test_map_to_source_is_bilinear_between_the_middles_of_cells(
    source: tuple[int, int], cells: tuple[int, int], aspect: Aspect
) -> None:
    """By hand, one axis after the other; padding takes part within half a cell."""
    place = Preparation(size=(24, 32), aspect=aspect).place(source)
    values = np.random.default_rng(0).random(cells)
    fy, fx = cells[0] / 24, cells[1] / 32
    y = ((np.arange(source[0]) + 0.5) * place.scale_y + place.top) * fy - 0.5
    x = ((np.arange(source[1]) + 0.5) * place.scale_x + place.left) * fx - 0.5
    expected = _between(_between(values, y).T, x).T
    # OpenCV 4 places sub-pixels in steps of 1/32.
    exactly = 1e-5 if int(cv2.__version__.split(".")[0]) >= 5 else 1 / 30
    np.testing.assert_allclose(place.map_to_source(values), expected, atol=exactly)


def _between(values: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Rows of `values` at fractional `places`, held at the ends."""
    low = np.clip(np.floor(places).astype(int), 0, len(values) - 2)
    share = np.clip(places - low, 0, 1)[:, None]
    return values[low] * (1 - share) + values[low + 1] * share


def test_map_to_source_of_an_unchanged_film_is_the_map() -> None:
    values = film(24, 32)
    np.testing.assert_allclose(
        Placement((24, 32), (24, 32), 1, 1, 0, 0).map_to_source(values), values, atol=1e-6
    )


@pytest.mark.parametrize("bits", [8, 16])
@settings(max_examples=40, deadline=None)
@given(value=st.floats(-0.25, 1.25))
def test_quantise_rounds_to_nearest(bits: Literal[8, 16], value: float) -> None:
    stored = quantise(np.full((1, 1), value, np.float32), bits)
    top = 2**bits - 1
    assert stored.dtype == (np.uint8 if bits == 8 else np.uint16)
    assert abs(int(stored[0, 0]) - min(max(value, 0), 1) * top) <= 0.51


@pytest.mark.parametrize("bits", [8, 16])
def test_the_tensor_is_the_stored_image_normalised(bits: Literal[8, 16]) -> None:
    preparation = Preparation(size=(40, 32), bits=bits)
    stored = preparation.pixels(film())
    tensor = preparation.tensor(stored[None])
    assert tensor.shape == (1, 3, 40, 32)
    assert tensor.dtype == torch.float32
    for channel, (mean, std) in enumerate(zip(preparation.mean, preparation.std, strict=True)):
        expected = (stored / (2**bits - 1) - mean) / std
        np.testing.assert_allclose(tensor[0, channel].numpy(), expected, atol=2e-6)
    from_torch = preparation.tensor(torch.from_numpy(stored[None].astype(np.int32)))
    assert torch.equal(from_torch, tensor)


def test_resize_keeps_the_mean_where_it_shrinks_and_bilinear_where_it_grows() -> None:
    pixels = film(64, 48)
    halves = enhance.resize(pixels, 32, 24)
    np.testing.assert_allclose(halves, pixels.reshape(32, 2, 24, 2).mean((1, 3)), atol=1e-6)
    grown = enhance.resize(pixels, 128, 96)
    y, x = (np.mgrid[:128, :96] + 0.5) / 2 - 0.5
    expected = ndimage.map_coordinates(pixels, [y, x], order=1, mode="nearest")
    np.testing.assert_allclose(grown, expected, atol=1e-5)
    assert enhance.resize(pixels, 64, 48) is pixels


@pytest.mark.parametrize("size", [3, 5])
def test_median_by_scipy(size: int) -> None:
    pixels = film()
    expected = ndimage.median_filter(pixels, size, mode="nearest")
    np.testing.assert_array_equal(enhance.median(pixels, size), expected)


def test_a_large_median_runs_at_8_bit() -> None:
    pixels = film()
    expected = ndimage.median_filter(np.rint(pixels * 255), 9, mode="nearest") / 255
    np.testing.assert_allclose(enhance.median(pixels, 9), expected, atol=1e-6)


def test_gaussian_by_its_formula() -> None:
    pixels, size, sigma = film(), 7, 1.3
    offsets = np.arange(size) - size // 2
    kernel = np.exp(-(offsets**2) / (2 * sigma**2))
    kernel /= kernel.sum()
    expected = ndimage.correlate(pixels.astype(float), np.outer(kernel, kernel), mode="mirror")
    np.testing.assert_allclose(enhance.gaussian(pixels, size, sigma), expected, atol=1e-5)


def test_non_local_means_removes_noise_and_keeps_edges() -> None:
    clean = np.full((64, 64), 0.25, np.float32)
    clean[:, 32:] = 0.75
    noisy = np.clip(clean + np.random.default_rng(0).normal(0, 0.02, clean.shape), 0, 1).astype(np.float32)
    out = enhance.non_local_means(noisy, strength=0.05)
    assert np.abs(out - clean).mean() < 0.4 * np.abs(noisy - clean).mean()
    assert out[:, 32].mean() - out[:, 31].mean() == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize(("low", "high"), [(0, 100), (1, 99), (5, 90)])
def test_stretch_by_its_formula(low: float, high: float) -> None:
    pixels = film() * 0.5 + 0.2
    floor, ceiling = np.percentile(pixels, [low, high])
    expected = np.clip((pixels - floor) / (ceiling - floor), 0, 1)
    got = enhance.stretch(pixels, low, high)
    np.testing.assert_allclose(got, expected, atol=1e-5)
    assert (got.min(), got.max()) == (0, 1)


def test_unit_variance_by_its_formula() -> None:
    pixels = film()
    expected = np.clip((pixels - pixels.mean()) / pixels.std() / 6 + 0.5, 0, 1)
    np.testing.assert_allclose(enhance.unit_variance(pixels, 3.0), expected, atol=1e-5)


def test_clahe_of_one_tile_without_limit_is_histogram_equalisation() -> None:
    pixels = film(64, 64)
    stored = np.rint(pixels * 255).astype(np.uint8)
    rank = np.searchsorted(np.sort(stored.ravel()), stored, side="right") / stored.size
    np.testing.assert_allclose(enhance.clahe(pixels, clip=1e6, grid=1), rank, atol=1 / 255)


def test_clahe_raises_local_contrast_within_its_limit() -> None:
    pixels = film(128, 128) * 0.1 + 0.45
    spread = [enhance.clahe(pixels, clip).std() for clip in (1.0, 2.0, 4.0)]
    assert pixels.std() < spread[0] < spread[1] < spread[2]


FILTERS = {
    "median 3": lambda p: enhance.median(p, 3),
    "median 7": lambda p: enhance.median(p, 7),
    "gaussian": enhance.gaussian,
    "non-local means": enhance.non_local_means,
    "stretch": enhance.stretch,
    "unit variance": enhance.unit_variance,
    "clahe": enhance.clahe,
}


@pytest.mark.parametrize("name", FILTERS)
@settings(max_examples=15, deadline=None)
@given(h=st.integers(16, 50), w=st.integers(16, 50), seed=st.integers(0, 99), constant=st.booleans())
def test_every_filter_keeps_shape_type_and_range(
    name: str, h: int, w: int, seed: int, constant: bool
) -> None:
    pixels = np.full((h, w), seed / 99, np.float32) if constant else film(h, w, seed)
    before = pixels.copy()
    got = FILTERS[name](pixels)
    assert got.shape == (h, w)
    assert got.dtype == np.float32
    assert np.isfinite(got).all()
    assert got.min() >= 0
    assert got.max() <= 1
    np.testing.assert_array_equal(pixels, before)
    if constant:
        assert np.ptp(got) <= 1e-6


def test_constant_films_have_said_values() -> None:
    grey = np.full((20, 20), 0.3, np.float32)
    assert (enhance.stretch(grey) == 0).all()
    assert (enhance.unit_variance(grey) == 0.5).all()


@pytest.mark.parametrize("call", [lambda p: enhance.median(p, 4), lambda p: enhance.gaussian(p, 0)])
def test_even_sizes_are_refused(call: object) -> None:
    with pytest.raises(ValueError, match="odd"):
        call(film())  # type: ignore[operator]


def test_the_chain_runs_in_its_order() -> None:
    """Resize, denoise, normalise, CLAHE, quantise: done by hand with OpenCV and NumPy."""
    pixels = film(100, 90)
    preparation = Preparation(
        size=(48, 48),
        denoise=Median(size=3),
        normalise=Percentile(low=1, high=99),
        clahe=Clahe(clip=2, grid=4),
        bits=16,
    )
    by_hand = cv2.medianBlur(cv2.resize(pixels, (48, 48), interpolation=cv2.INTER_AREA), 3)
    floor, ceiling = np.percentile(by_hand, [1, 99])
    by_hand = np.clip((by_hand - floor) / (ceiling - floor), 0, 1).astype(np.float32)
    expected = cv2.createCLAHE(2.0, (4, 4)).apply(np.rint(by_hand * 255).astype(np.uint8)).astype(int) * 257
    np.testing.assert_allclose(preparation.pixels(pixels).astype(int), expected, atol=1)


@pytest.mark.parametrize(
    "changes",
    [
        {"denoise": Gaussian(size=3)},
        {"denoise": NonLocalMeans()},
        {"normalise": UnitVariance()},
        {"clahe": Clahe()},
        {"bits": 16},
        {"size": (32, 33)},
        {"aspect": "pad"},
    ],
)
def test_preparation_travels_as_json_and_names_its_pixels(changes: dict[str, object]) -> None:
    plain = Preparation(size=(32, 32))
    other = Preparation.model_validate({"size": (32, 32), **changes})
    assert Preparation.model_validate_json(other.model_dump_json()) == other
    assert other.stored_digest != plain.stored_digest
    grey = Preparation(size=(32, 32), channels=1, mean=(0.5,), std=(0.25,))
    assert grey.stored_digest == plain.stored_digest  # mean and std are not in the stored pixels


@pytest.mark.parametrize(
    "wrong",
    [
        {"size": (4, 64)},
        {"size": (64, 64), "channels": 1},
        {"size": (64, 64), "colour": "red"},
        {"size": (64, 64), "denoise": {"kind": "sharpen"}},
    ],
)
def test_wrong_preparations_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Preparation.model_validate(wrong)
