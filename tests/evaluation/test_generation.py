"""FID, KID, density, coverage and nearness to training films, each beside its definition written out."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import linalg
from scipy.stats import wasserstein_distance

from hilum.errors import EvaluationError
from hilum.evaluation.generation import (
    closeness,
    density_and_coverage,
    frechet_distance,
    kernel_distance,
)
from hilum.evaluation.memorisation import memorisation
from hilum.evaluation.sliced import sliced_wasserstein


def drawn(seed: int, films: int, width: int, shift: float = 0.0, scale: float = 1.0) -> np.ndarray:
    chance = np.random.default_rng(seed)
    mixed = chance.normal(size=(width, width)) / math.sqrt(width)
    return chance.normal(shift, scale, (films, width)) @ (np.eye(width) + 0.3 * mixed)


@pytest.mark.filterwarnings("ignore:Matrix is singular")
@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.integers(3, 60), st.integers(3, 60), st.integers(1, 12))
def test_fid_is_heusels_with_the_root_of_the_matrix(seed: int, n: int, m: int, width: int):
    """More films than features and fewer."""
    a, b = drawn(seed, n, width, 0.4), drawn(seed + 1, m, width, 0, 1.5)
    first, second = (np.atleast_2d(np.cov(x, rowvar=False)) for x in (a, b))
    # scipy's root wants a matrix that is not singular; with fewer films than features the limit is taken.
    tiny = 1e-10 * np.eye(width)
    root = linalg.sqrtm((first + tiny) @ (second + tiny))
    wanted = ((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(first + second - 2 * np.real(root))
    assert frechet_distance(a, b) == pytest.approx(float(wanted), rel=1e-3, abs=1e-3)


def test_fid_of_normal_distributions_in_one_dimension_is_that_of_their_parameters():
    a, b = np.array([[1.0], [2.0], [3.0]]), np.array([[2.0], [6.0], [10.0]])
    assert frechet_distance(a, b) == pytest.approx((2 - 6) ** 2 + (1 - 4) ** 2)
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-9)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 12), st.integers(2, 12), st.integers(1, 5))
def test_kid_is_the_unbiased_mmd_by_two_loops(seed: int, n: int, m: int, width: int):
    a, b = drawn(seed, n, width, 0.3), drawn(seed + 1, m, width)

    def k(x: np.ndarray, y: np.ndarray) -> float:
        return (float(x @ y) / width + 1) ** 3

    within = [
        sum(k(x[i], x[j]) for i in range(len(x)) for j in range(len(x)) if i != j) / (len(x) * (len(x) - 1))
        for x in (a, b)
    ]
    between = sum(k(x, y) for x in a for y in b) / (n * m)
    assert kernel_distance(a, b) == pytest.approx(within[0] + within[1] - 2 * between, rel=1e-8, abs=1e-8)


def test_kid_of_one_distribution_is_nought_in_the_mean():
    found = [kernel_distance(*np.random.default_rng(i).normal(size=(2, 20, 6))) for i in range(400)]
    assert abs(np.mean(found)) < 3 * np.std(found) / 20
    assert min(found) < 0


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 15), st.integers(4, 15), st.integers(1, 3))
def test_density_and_coverage_are_naeems_by_counting(seed: int, n: int, m: int, k: int):
    a, b = drawn(seed, n, 3, 0.2), drawn(seed + 1, m, 3)
    reach = [
        sorted(float(np.linalg.norm(x - y)) for j, y in enumerate(b) if j != i)[k - 1]
        for i, x in enumerate(b)
    ]
    inside = [[float(np.linalg.norm(x - y)) <= r for y, r in zip(b, reach, strict=True)] for x in a]
    dense, covered = density_and_coverage(a, b, k)
    assert dense.mean() == pytest.approx(sum(map(sum, inside)) / (k * n))
    assert covered.tolist() == [float(any(row[i] for row in inside)) for i in range(m)]


def test_the_figures_know_good_films_from_bad_ones():
    real = drawn(0, 120, 8)
    alike, far, one = drawn(0, 240, 8)[120:], drawn(1, 120, 8, 3.0), np.tile(real[:1], (120, 1))
    good, bad, flat = (closeness(x, real, np.arange(120) // 2, halves=40) for x in (alike, far, one))
    assert good.fid.value < bad.fid.value
    assert good.kid.low < 0.05 < bad.kid.low
    assert good.coverage.value > 0.8
    assert bad.coverage.value < 0.2
    assert flat.coverage.value < 0.2
    for each in (good.fid, good.kid, good.density, good.coverage):
        assert each.low <= each.value <= each.high
        assert each.n == 120
    assert good.fid.method.startswith("half-samples")


def test_half_samples_are_as_wide_as_the_figure_varies():
    """KID of a shifted set, drawn anew 60 times: the interval's half width beside the deviation."""
    values, widths = [], []
    for i in range(60):
        chance = np.random.default_rng(i)
        found = closeness(chance.normal(0.5, 1, (80, 4)), chance.normal(size=(80, 4)), halves=60, seed=i).kid
        values.append(found.value)
        widths.append((found.high - found.low) / 2)
    assert np.mean(widths) / 1.96 == pytest.approx(np.std(values), rel=0.35)


def test_too_few_films_have_no_interval_and_bad_ones_no_figure():
    found = closeness(drawn(0, 6, 3), drawn(1, 9, 3))
    assert math.isnan(found.fid.low)
    assert "too few" in found.fid.note
    with pytest.raises(EvaluationError, match="two films"):
        frechet_distance(np.ones((1, 3)), np.ones((4, 3)))
    with pytest.raises(EvaluationError, match="not finite"):
        kernel_distance(np.full((3, 2), np.nan), np.ones((4, 2)))
    with pytest.raises(EvaluationError, match="no 5-th neighbour"):
        density_and_coverage(np.ones((4, 2)), np.ones((5, 2)))
    with pytest.raises(EvaluationError, match="3 features, real ones 2"):
        closeness(np.ones((9, 3)), np.ones((9, 2)))


def test_copies_are_found_and_strangers_are_not():
    training, held_out, fresh = drawn(0, 900, 6)[:300], drawn(0, 900, 6)[300:600], drawn(0, 900, 6)[600:]
    chance = np.random.default_rng(5)
    copies = training[:150] + chance.normal(0, 1e-3, (150, 6))
    found = memorisation(
        np.concatenate([copies, fresh[:150]]), training, held_out, np.arange(300) // 2, replicates=200
    )
    assert found.nearest[:150].tolist() == list(range(150))
    assert found.nearer[1.0].value == pytest.approx(0.5, abs=0.03)
    plain = memorisation(fresh, training, held_out, replicates=300)
    for p in (1.0, 5.0):
        assert plain.nearer[p].low <= p / 100 <= plain.nearer[p].high
    wanted = [min(float(np.linalg.norm(x - y)) for y in training) for x in fresh[:10]]
    assert plain.distance[:10] == pytest.approx(wanted)
    with pytest.raises(EvaluationError, match="unlike numbers"):
        memorisation(fresh, training[:, :3], held_out)


def test_sliced_wasserstein_is_the_mean_over_lines():
    a, b = drawn(0, 20, 5), drawn(1, 20, 5, 1.0)
    axes = np.random.default_rng(7).normal(size=(5, 16))
    axes /= np.linalg.norm(axes, axis=0)
    wanted = np.mean([wasserstein_distance(a @ axis, b @ axis) for axis in axes.T])
    assert sliced_wasserstein(a, b, 16, seed=7) == pytest.approx(float(wanted))
    assert sliced_wasserstein(a, a[::-1]) == pytest.approx(0, abs=1e-12)
    with pytest.raises(EvaluationError, match="same"):
        sliced_wasserstein(a, b[:3])
