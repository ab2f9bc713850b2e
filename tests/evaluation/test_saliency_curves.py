"""Insertion and deletion, held to a loop that changes one block of pixels after the other."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from sklearn.metrics import auc

from hilum.errors import EvaluationError
from hilum.evaluation import saliency_curves as curves
from hilum.evaluation.saliency import NO_HEAT, NOT_FINITE


def bright_spot(images):
    """Probability of a finding that is the brightness of one corner, unevenly weighted."""
    weights = np.zeros((12, 9))
    weights[:4, :3] = np.arange(1, 13).reshape(4, 3)
    inside = (np.asarray(images, np.float64) * weights).reshape(len(images), -1).sum(1)
    return 1 / (1 + np.exp(4 - inside / 10))


@pytest.fixture
def film():
    random = np.random.default_rng(0)
    image = random.random((12, 9)).astype(np.float32)
    return image, random.random((12, 9))


def walk(start, end, heat, blocks):
    """Each block's pixels copied from `end`, hottest first, one image at a time."""
    now = start.copy()
    order = sorted(np.ndindex(heat.shape), key=lambda at: -heat[at])
    seen = [float(bright_spot(now[None])[0])]
    for block in blocks:
        for _ in range(block):
            at = (..., *order.pop(0))
            now[at] = end[at]
        seen.append(float(bright_spot(now[None])[0]))
    assert not order
    return seen


@pytest.mark.parametrize("batch", [1, 4, 100])
def test_curves_agree_with_a_loop_over_blocks(film, batch):
    image, heat = film
    baseline = curves.mean_filled(image)
    calls = []

    def counted(images):
        calls.append(len(images))
        return bright_spot(images)

    for curve, wanted in (
        (curves.deletion, walk(image, baseline, heat, [12] * 9)),
        (curves.insertion, walk(baseline, image, heat, [12] * 9)),
    ):
        calls.clear()
        found = curve(image, heat, counted, baseline, steps=9, batch=batch)
        np.testing.assert_allclose(found.probabilities, wanted, rtol=1e-6)
        np.testing.assert_allclose(found.shares, np.arange(10) / 9)
        assert found.area.value == pytest.approx(auc(np.arange(10) / 9, wanted))
        assert sum(calls) == 10
        assert max(calls) <= batch


def test_colour_and_uneven_blocks(film):
    image, heat = film
    three = np.stack([image, image**2, 1 - image])
    baseline = curves.blurred(three, 2.0)
    found = curves.deletion(three, heat, lambda x: bright_spot(x[:, 1]), baseline, steps=5)
    blocks = np.diff(np.round(found.shares * 108)).astype(int).tolist()
    assert sum(blocks) == 108
    assert max(blocks) - min(blocks) <= 1
    wanted = walk(three[1], baseline[1], heat, blocks)
    np.testing.assert_allclose(found.probabilities, wanted, rtol=1e-6)
    pixel_by_pixel = curves.deletion(three, heat, lambda x: bright_spot(x[:, 1]), baseline, steps=1000)
    np.testing.assert_allclose(pixel_by_pixel.shares, np.arange(109) / 108)


def test_the_model_s_own_map_is_better_than_its_opposite():
    """The best order for this model is its weights': nothing falls or rises faster."""
    image = np.ones((12, 9), np.float32)
    weights = np.zeros((12, 9))
    weights[:4, :3] = np.arange(1, 13).reshape(4, 3)
    none = np.zeros_like(image)
    best, worst = ((weights, none), (weights.max() - weights, none))
    areas = {
        (name, curve): getattr(curves, curve)(image, heat, bright_spot, base).area.value
        for name, (heat, base) in {"best": best, "worst": worst}.items()
        for curve in ("deletion", "insertion")
    }
    assert areas["best", "deletion"] < areas["worst", "deletion"] - 0.5
    assert areas["best", "insertion"] > areas["worst", "insertion"] + 0.5


def test_pixels_of_equal_heat_are_shuffled_by_the_seed():
    heat = np.zeros((20, 20))
    heat[3, 4], heat[5, 6] = 2.0, 1.0
    place = curves.hottest_first(heat)
    assert (place[3, 4], place[5, 6]) == (0, 1)
    assert sorted(place.ravel()) == list(range(400))
    np.testing.assert_array_equal(place, curves.hottest_first(heat))
    assert (place != curves.hottest_first(heat, seed=1)).any()
    rows = np.nonzero(place < 200)[0]
    assert 7 < rows.mean() < 12  # not the film's upper half


def test_baselines():
    image = np.random.default_rng(1).random((2, 15, 11)).astype(np.float32)
    filled, soft = curves.mean_filled(image), curves.blurred(image, 1.5)
    for channel in range(2):
        np.testing.assert_allclose(filled[channel], image[channel].mean(), rtol=1e-6)
        np.testing.assert_allclose(soft[channel], gaussian_filter(image[channel], 1.5), rtol=1e-6)
    theirs = cv2.GaussianBlur(image[0], (13, 13), 1.5, borderType=cv2.BORDER_REFLECT)
    np.testing.assert_allclose(soft[0], theirs, atol=1e-5)
    np.testing.assert_array_equal(curves.mean_filled(image[0]), filled[0])


@pytest.mark.parametrize(
    ("heat", "said"), [(np.zeros((12, 9)), NO_HEAT), (np.full((12, 9), math.nan), NOT_FINITE)]
)
def test_a_map_without_an_order_gives_no_curve(film, heat, said):
    found = curves.deletion(film[0], heat, bright_spot, curves.mean_filled(film[0]))
    assert len(found.shares) == len(found.probabilities) == 0
    assert math.isnan(found.area.value)
    assert found.area.note == said


def test_what_does_not_fit_is_refused(film):
    image, heat = film
    base = curves.mean_filled(image)
    for pictures in ((image.T, base.T), (image, base.T), (image[None, None], base[None, None])):
        with pytest.raises(EvaluationError, match="do not fit a heatmap"):
            curves.insertion(pictures[0], heat, bright_spot, pictures[1])
    with pytest.raises(EvaluationError, match="0 steps"):
        curves.insertion(image, heat, bright_spot, base, steps=0)
    with pytest.raises(EvaluationError, match=r"are \(16, 1\)"):
        curves.insertion(image, heat, lambda x: bright_spot(x)[:, None], base)
    for wrong in (math.nan, 3.0, -0.1):
        with pytest.raises(EvaluationError, match="no probability"):
            curves.insertion(image, heat, lambda x, wrong=wrong: np.full(len(x), wrong), base)
