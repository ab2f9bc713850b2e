"""Lung masks: the right sides, no specks, no holes, and the film's own grid; judged by phantoms whose lungs are known."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hilum.images.lung_masks import find_lungs, split
from hilum.images.preparation import Preparation
from tests.phantom import phantom


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    """Dice."""
    return 2 * float((a & b).sum()) / float(a.sum() + b.sum())


@pytest.mark.parametrize("seed", range(4))
def test_the_persons_right_lung_is_on_the_films_left(seed):
    lungs = phantom(seed).lungs
    left, right = split((lungs > 0).astype(np.uint8))
    np.testing.assert_array_equal(right, lungs == 1)
    np.testing.assert_array_equal(left, lungs == 2)


def test_specks_go_and_holes_close():
    lungs = phantom(1).lungs
    mask = (lungs > 0).astype(np.uint8)
    inside = np.argwhere(cv2.erode((lungs == 1).astype(np.uint8), np.ones((41, 41), np.uint8)))
    y, x = inside[len(inside) // 2]
    mask[y - 6 : y + 6, x - 6 : x + 6] = 0
    mask[2:12, 2:12] = 1
    mask[-12:-2, 215:230] = 1
    left, right = split(mask)
    np.testing.assert_array_equal(right, lungs == 1)
    np.testing.assert_array_equal(left, lungs == 2)


def test_lungs_that_touch_are_parted_between_them():
    lungs = phantom(2).lungs
    mask = (lungs > 0).astype(np.uint8)
    mask[180:200, 130:300] = 1
    left, right = split(mask)
    assert not (left & right).any()
    assert overlap(right, (lungs == 1).astype(np.uint8)) > 0.97
    assert overlap(left, (lungs == 2).astype(np.uint8)) > 0.97


@pytest.mark.parametrize("side", [1, 2])
def test_a_single_lung_keeps_its_side(side):
    mask = (phantom(3).lungs == side).astype(np.uint8)
    left, right = split(mask)
    kept, other = (right, left) if side == 1 else (left, right)
    np.testing.assert_array_equal(kept, mask)
    assert not other.any()


def test_an_empty_mask_stays_empty():
    left, right = split(np.zeros((50, 40), np.uint8))
    assert not left.any()
    assert not right.any()


def test_a_full_mask_is_one_lung_on_one_side():
    """Nothing parts it: no valley, so it is not cut in two."""
    full = np.ones((50, 40), np.uint8)
    left, right = split(full)
    np.testing.assert_array_equal(left + right, full)
    assert not left.any() or not right.any()


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.integers(8, 60), st.integers(8, 60), st.floats(0.0, 1.0))
def test_any_mask_gives_two_disjoint_lungs(seed, height, width, share):
    mask = (np.random.default_rng(seed).random((height, width)) < share).astype(np.uint8)
    left, right = split(mask)
    assert left.shape == right.shape == mask.shape
    assert set(np.unique(left)) | set(np.unique(right)) <= {0, 1}
    assert not (left & right).any()
    if left.any() and right.any():
        assert np.flatnonzero(right.any(0)).mean() < np.flatnonzero(left.any(0)).mean()


@pytest.mark.parametrize("aspect", ["squash", "pad"])
def test_lungs_come_back_to_the_films_grid(aspect):
    film = phantom(5, 1100, 900)
    preparation = Preparation(size=(256, 256), aspect=aspect)
    soft = cv2.GaussianBlur(
        preparation.mask((film.lungs > 0).astype(np.uint8)).astype(np.float32), (0, 0), 1.5
    )
    soft[3:6, 3:6] = 0.9
    found = find_lungs(soft, preparation.place((1100, 900)), 0.5)
    assert found.mask.shape == (1100, 900)
    assert found.mask.dtype == np.uint8
    assert overlap(found.right, (film.lungs == 1).astype(np.uint8)) > 0.985
    assert overlap(found.left, (film.lungs == 2).astype(np.uint8)) > 0.985
    np.testing.assert_array_equal(found.left + found.right, found.mask)
    assert found.area_share == pytest.approx(float((film.lungs > 0).mean()), rel=0.03)
    assert not found.mask[:40, :40].any(), "the speck must not come back"


@pytest.mark.parametrize("side", [1, 2])
def test_a_film_with_one_lung_has_one_on_its_grid(side):
    film = phantom(4, 600, 500)
    preparation = Preparation(size=(256, 256))
    one = (film.lungs == side).astype(np.uint8)
    soft = cv2.GaussianBlur(preparation.mask(one).astype(np.float32), (0, 0), 1.5)
    found = find_lungs(soft, preparation.place((600, 500)), 0.5)
    kept, other = (found.right, found.left) if side == 1 else (found.left, found.right)
    assert overlap(kept, one) > 0.98
    assert not other.any()


def test_lungs_everywhere_cover_the_film():
    found = find_lungs(np.ones((64, 64)), Preparation(size=(64, 64)).place((200, 100)), 0.5)
    assert found.area_share == 1
    np.testing.assert_array_equal(found.left + found.right, found.mask)


def test_no_lungs_give_empty_masks():
    found = find_lungs(np.full((64, 64), 0.2), Preparation(size=(64, 64)).place((200, 100)), 0.5)
    assert found.area_share == 0
    assert not found.left.any()
    assert not found.right.any()
