"""Similarity of maps before and after weights are made random, held to SciPy and scikit-image."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from scipy.stats import spearmanr

from hilum.errors import EvaluationError
from hilum.evaluation.saliency import NO_HEAT, NOT_FINITE
from hilum.evaluation.saliency_sanity import randomisation, similarity, ssim


def maps(seed, shape=(31, 24)):
    random = np.random.default_rng(seed)
    first = gaussian_filter(random.random(shape), 2)
    second = first + gaussian_filter(random.random(shape), 1)
    return first - first.min(), 7 * (second - np.quantile(second, 0.3))  # the second with many pixels below 0


@pytest.mark.parametrize("seed", range(3))
def test_spearman_is_scipys(seed):
    first, second = maps(seed)
    wanted = spearmanr(first.ravel(), second.clip(0).ravel()).statistic
    assert similarity(first, second).spearman.value == pytest.approx(wanted)


@pytest.mark.parametrize("seed", range(3))
def test_ssim_is_that_of_scikit_image(seed):
    metrics = pytest.importorskip("skimage.metrics", reason="scikit-image is not installed")
    first, second = (values.clip(0) / values.max() for values in maps(seed))
    wanted = metrics.structural_similarity(
        first, second, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=1.0
    )
    assert ssim(first, second) == pytest.approx(wanted)
    assert similarity(*maps(seed)).ssim.value == pytest.approx(wanted)


def test_ssim_window_by_window():
    first, second = (values.clip(0) / values.max() for values in maps(5, (13, 12)))
    steps = np.arange(-5, 6)
    window = np.exp(-(steps[:, None] ** 2 + steps**2) / (2 * 1.5**2))
    window /= window.sum()
    seen = []
    for r in range(3):
        for c in range(2):
            x, y = first[r : r + 11, c : c + 11], second[r : r + 11, c : c + 11]
            a, b = (window * x).sum(), (window * y).sum()
            va, vb = (window * (x - a) ** 2).sum(), (window * (y - b) ** 2).sum()
            cov = (window * (x - a) * (y - b)).sum()
            seen.append((2 * a * b + 1e-4) * (2 * cov + 9e-4) / ((a**2 + b**2 + 1e-4) * (va + vb + 9e-4)))
    assert ssim(first, second) == pytest.approx(np.mean(seen))


def test_the_same_map_at_any_scale_is_1_and_an_opposite_one_is_not():
    first, _ = maps(0)
    same = similarity(first, 3 * first)
    assert same.spearman.value == pytest.approx(1)
    assert same.ssim.value == pytest.approx(1)
    other = similarity(first, first.max() - first)
    assert other.spearman.value == pytest.approx(-1)
    assert other.ssim.value < 0.5


def test_maps_that_cannot_be_compared():
    first, _ = maps(0)
    nothing = similarity(first, np.zeros_like(first))
    assert math.isnan(nothing.spearman.value)
    assert nothing.ssim.note == f"{NO_HEAT} after"
    both = similarity(first * np.nan, -first)
    assert both.spearman.note == f"{NOT_FINITE} before and {NO_HEAT} after"
    flat = similarity(first, np.ones_like(first))
    assert flat.spearman.note == "a map of one value has no ranks"
    assert 0 < flat.ssim.value < 1
    for other in (first.T, first[:, 1:]):
        with pytest.raises(EvaluationError, match="cannot be compared"):
            similarity(first, other)
    with pytest.raises(EvaluationError, match="11 pixels or more"):
        similarity(first[:10], first[:10])


def test_a_check_over_films_has_intervals_by_patient_and_says_what_is_left_out():
    pairs = [maps(seed) for seed in range(12)]
    before = [first for first, _ in pairs]
    after = [second for _, second in pairs]
    after[3] = np.zeros_like(after[3])
    patients = np.repeat(list("abcdef"), 2)
    found = randomisation(before, after, patients, replicates=200)
    values = np.array([similarity(*p).ssim.value for p in zip(before, after, strict=True)])
    by_patient = np.nanmean(values.reshape(6, 2), 1)
    assert found.ssim.value == pytest.approx(by_patient.mean())
    assert found.ssim.low < found.ssim.value < found.ssim.high
    assert found.spearman.n == 11
    assert found.spearman.note == "1 of 12 films left out (heatmap without heat after: 1)"
    json.dumps(found.as_dict(), allow_nan=False)
    with pytest.raises(EvaluationError, match="cannot be paired"):
        randomisation(before, after[:-1])
