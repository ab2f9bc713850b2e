"""The lung crop holds the lungs whatever the mask, and what is prepared from it comes back to its place."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from hilum.images.crop import LEAST, Window, lung_crop
from hilum.images.preparation import Preparation
from tests.phantom import phantom

MANY = settings(max_examples=80, deadline=None)


@st.composite
def masks(draw: st.DrawFn) -> np.ndarray:
    """Up to four filled ellipses or boxes anywhere on a film of any shape, over its edges too."""
    height, width = draw(st.integers(8, 90)), draw(st.integers(8, 90))
    mask = np.zeros((height, width), np.uint8)
    for _ in range(draw(st.integers(0, 4))):
        x, y = draw(st.integers(-5, width + 5)), draw(st.integers(-5, height + 5))
        a, b = draw(st.integers(0, width // 2)), draw(st.integers(0, height // 2))
        value = draw(st.sampled_from([1, 2, 255]))
        if draw(st.booleans()):
            cv2.ellipse(mask, (x, y), (a, b), 0, 0, 360, value, -1)
        else:
            cv2.rectangle(mask, (x - a, y - b), (x + a, y + b), value, -1)
    return mask


@st.composite
def windows(draw: st.DrawFn) -> Window:
    height, width = draw(st.integers(8, 120)), draw(st.integers(8, 120))
    across, down = draw(st.integers(1, width)), draw(st.integers(1, height))
    left, top = draw(st.integers(0, width - across)), draw(st.integers(0, height - down))
    return Window((height, width), left, top, across, down)


def kept_by_hand(mask: np.ndarray) -> np.ndarray:
    """Parts of at least a tenth of the largest, by flood fill."""
    left = (mask > 0).astype(np.uint8)
    parts = []
    while left.any():
        y, x = np.argwhere(left)[0]
        before = left.copy()
        cv2.floodFill(left, None, (int(x), int(y)), 0, flags=8)
        parts.append(before != left)
    largest = max((int(part.sum()) for part in parts), default=0)
    return sum((p for p in parts if p.sum() * 10 >= largest), start=np.zeros(mask.shape, bool))


@MANY
@given(masks(), st.floats(0, 0.5))
def test_the_window_is_a_square_inside_the_film_that_holds_all_lungs(mask, margin):
    window = lung_crop(mask, margin)
    lungs = kept_by_hand(mask)
    if lungs.sum() < LEAST * mask.size or not lungs.any():
        assert window is None
        return
    height, width = mask.shape
    x1, y1, x2, y2 = window.box
    assert 0 <= x1 < x2 <= width
    assert 0 <= y1 < y2 <= height
    assert window.cut(lungs).sum() == lungs.sum()
    rows, columns = np.flatnonzero(lungs.any(1)), np.flatnonzero(lungs.any(0))
    longest = max(rows[-1] - rows[0], columns[-1] - columns[0]) + 1
    if longest <= min(height, width):
        assert window.width == window.height == min(round(longest * (1 + 2 * margin)), height, width)
    else:
        assert (window.height, window.width) == (min(height, longest), min(width, longest))


@MANY
@given(masks())
def test_no_smaller_square_holds_the_lungs(mask):
    window = lung_crop(mask, 0)
    assume(window is not None)
    inside = window.cut(kept_by_hand(mask))
    spans = [np.ptp(np.flatnonzero(inside.any(axis))) + 1 for axis in (0, 1)]
    assert max(spans) == max(inside.shape)


def test_a_phantoms_lungs_have_the_margin_on_their_longer_side():
    lungs = phantom(0, 1000, 900).lungs
    window = lung_crop(lungs, 0.05)
    x, y, across, down = cv2.boundingRect((lungs > 0).astype(np.uint8))
    longest, start = max((across, x), (down, y))
    assert window.width == window.height == round(1.1 * longest)
    near = start - (window.left if longest == across else window.top)
    assert near == pytest.approx(0.05 * longest, abs=1)


def test_specks_far_from_the_lungs_do_not_widen_the_window():
    lungs = (phantom(1).lungs > 0).astype(np.uint8)
    scattered = lungs.copy()
    scattered[1:6, 1:6] = 1
    scattered[-6:-1, -6:-1] = 1
    assert lung_crop(scattered) == lung_crop(lungs)


def test_a_film_with_one_lung_is_cut_around_it():
    lung = (phantom(2).lungs == 1).astype(np.uint8)
    window = lung_crop(lung)
    assert window.cut(lung).sum() == lung.sum()
    assert window.width == window.height < lung.shape[1]


@pytest.mark.parametrize("value", [1, 255])
def test_a_full_mask_keeps_the_whole_film_and_an_empty_one_has_no_window(value):
    full = np.full((60, 40), value, np.uint8)
    assert lung_crop(full) == Window((60, 40), 0, 0, 40, 60)
    assert lung_crop(np.zeros_like(full)) is None
    speck = np.zeros_like(full)
    speck[30, 20:25] = value
    assert lung_crop(speck) is None


def test_lungs_at_the_edge_shift_the_square_inwards():
    mask = np.zeros((100, 100), np.uint8)
    mask[0:40, 90:100] = 1
    assert lung_crop(mask, 0.1) == Window((100, 100), 52, 0, 48, 48)


@MANY
@given(
    windows(),
    st.sampled_from(["squash", "pad", "crop"]),
    st.integers(8, 512),
    st.lists(st.tuples(*[st.floats(-50, 200)] * 4), max_size=4),
)
def test_boxes_go_forth_and_back_to_their_place(window, aspect, size, boxes):
    place = window.within(Preparation(size=(size, size), aspect=aspect).place((window.height, window.width)))
    boxes = np.array(boxes, np.float64).reshape(-1, 4)
    there = place.boxes_to_prepared(boxes)
    np.testing.assert_allclose(place.boxes_to_source(there), boxes, rtol=0, atol=1e-9)
    inner = Preparation(size=(size, size), aspect=aspect).place((window.height, window.width))
    shift = np.array([window.left, window.top] * 2)
    np.testing.assert_allclose(there, inner.boxes_to_prepared(boxes - shift), rtol=1e-12, atol=1e-6)


@MANY
@given(windows())
def test_the_windows_corners_are_the_prepared_images(window):
    place = window.within(Preparation(size=(512, 512)).place((window.height, window.width)))
    corners = place.boxes_to_prepared(np.array([window.box]))
    np.testing.assert_allclose(corners, [[0, 0, 512, 512]], rtol=0, atol=1e-9)


@MANY
@given(windows(), st.integers(0, 2**32 - 1), st.integers(120, 512))
def test_masks_go_forth_and_back_without_a_pixel_lost(window, seed, size):
    """Prepared at no less than the window's own size; nothing outside the window comes back."""
    mask = np.random.default_rng(seed).integers(0, 3, window.film, np.uint8)
    back = window.mask_to_film(Preparation(size=(size, size)).mask(window.cut(mask)))
    outside = np.ones(window.film, bool)
    window.cut(outside)[...] = False
    np.testing.assert_array_equal(window.cut(back), window.cut(mask))
    assert not back[outside].any()


@MANY
@given(windows(), st.integers(0, 2**32 - 1))
def test_a_prepared_mask_smaller_than_the_window_survives_the_way_to_the_film(window, seed):
    side = min(window.width, window.height)
    assume(side >= 8)
    mask = np.random.default_rng(seed).integers(0, 2, (side, side), np.uint8)
    forth = Preparation(size=(side, side)).mask(window.cut(window.mask_to_film(mask)))
    np.testing.assert_array_equal(forth, mask)


def test_a_heatmap_of_the_crop_lies_on_the_film_where_the_crop_does():
    """A blob drawn on the film is cut, prepared, taken for a heatmap and carried back to where it was drawn."""
    film = np.zeros((300, 260), np.float32)
    film[140:160, 90:110] = 1
    window = Window((300, 260), 50, 80, 150, 150)
    preparation = Preparation(size=(448, 448), bits=16)
    heat = preparation.pixels(window.cut(film)).astype(np.float32) / 65535
    back = window.within(preparation.place((150, 150))).map_to_source(heat)
    assert back.shape == film.shape
    np.testing.assert_array_equal(back > 0.5, film > 0.5)


def test_an_image_or_preparation_of_another_size_is_refused():
    window = Window((30, 20), 2, 3, 10, 12)
    with pytest.raises(ValueError, match="the image has"):
        window.cut(np.zeros((20, 30)))
    with pytest.raises(ValueError, match="what was prepared"):
        window.within(Preparation(size=(64, 64)).place((10, 12)))
    with pytest.raises(ValueError, match="margin"):
        lung_crop(np.ones((9, 9), np.uint8), -0.1)
