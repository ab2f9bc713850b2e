"""Specks and holes of masks, held to scipy's."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from hilum.images.mask_parts import without_holes, without_specks
from tests.phantom import phantom

CLEANERS = [without_specks, without_holes]


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 40), st.integers(1, 40), st.floats(0, 1))
def test_both_agree_with_scipy_on_any_mask(seed, height, width, share):
    mask = (np.random.default_rng(seed).random((height, width)) < share).astype(np.uint8)
    before = mask.copy()
    np.testing.assert_array_equal(without_holes(mask), ndimage.binary_fill_holes(mask))
    parts, count = ndimage.label(mask, np.ones((3, 3)))
    areas = ndimage.sum_labels(mask, parts, np.arange(1, count + 1))
    large = [n for n in range(1, count + 1) if areas[n - 1] >= 0.1 * areas.max()]
    np.testing.assert_array_equal(without_specks(mask), np.isin(parts, large))
    np.testing.assert_array_equal(mask, before)  # pure


@pytest.mark.parametrize("clean", CLEANERS)
@pytest.mark.parametrize("value", [0, 1])
def test_empty_and_full_masks_stay(clean, value):
    mask = np.full((40, 30), value, np.uint8)
    np.testing.assert_array_equal(clean(mask), mask)


@pytest.mark.parametrize("clean", CLEANERS)
@pytest.mark.parametrize("side", [1, 2])
def test_one_clean_lung_stays(clean, side):
    lung = (phantom(3).lungs == side).astype(np.uint8)
    np.testing.assert_array_equal(clean(lung), lung)
    assert clean(lung).dtype == np.uint8


def test_the_share_decides_what_a_speck_is():
    mask = np.zeros((30, 30), np.uint8)
    mask[:10, :10] = 1
    mask[20:24, 20:25] = 1  # a fifth of the larger part
    assert without_specks(mask, 0.2).sum() == 120
    assert without_specks(mask, 0.21).sum() == 100
