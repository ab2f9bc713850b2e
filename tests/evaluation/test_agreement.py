from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import cohen_kappa_score

from hilum.boxes import iou
from hilum.errors import EvaluationError
from hilum.evaluation.agreement import cohen_kappa, fleiss_kappa, match, ratio_of_sums

RANDOM = np.random.default_rng(5)


def marks(n: int, rate: float, seed: int, flips: float = 0.2) -> tuple[np.ndarray, np.ndarray]:
    """Two readers of one truth, each of whom is wrong now and then."""
    random = np.random.default_rng(seed)
    truth = random.random(n) < rate
    first, second = ((truth ^ (random.random(n) < flips)).astype(float) for _ in range(2))
    return first, second


@pytest.mark.parametrize("rate", [0.05, 0.4, 0.8])
def test_cohen_is_scikit_learns(rate: float) -> None:
    first, second = marks(300, rate, 1)
    found = cohen_kappa(first, second, replicates=200)
    assert found.value == pytest.approx(cohen_kappa_score(first, second), abs=1e-12)
    assert found.low < found.value < found.high
    assert found.n == 300
    assert found.positives == int(((first == 1) | (second == 1)).sum())


def test_the_interval_is_that_of_drawing_films_and_scoring_each_draw() -> None:
    from hilum.evaluation.bootstrap import replicate_weights

    first, second = marks(60, 0.4, 2)
    found = cohen_kappa(first, second, replicates=150, seed=3)
    (weights,) = replicate_weights(60, None, 150, 3)
    each = [cohen_kappa_score(np.repeat(first, w), np.repeat(second, w)) for w in weights.astype(int)]
    np.testing.assert_allclose((found.low, found.high), np.quantile(each, [0.025, 0.975]), atol=1e-12)


def test_films_that_one_did_not_read_take_no_part() -> None:
    first, second = marks(100, 0.4, 4)
    first[:20], second[90:] = np.nan, np.nan
    found = cohen_kappa(first, second, replicates=20)
    assert found.value == pytest.approx(cohen_kappa_score(first[20:90], second[20:90]), abs=1e-12)
    assert found.n == 70


def test_columns_are_pooled_each_with_its_own_chance() -> None:
    pairs = [marks(80, rate, seed) for rate, seed in ((0.1, 1), (0.5, 2), (0.7, 3))]
    first, second = (np.stack([pair[i] for pair in pairs], 1) for i in (0, 1))
    first[:30, 2] = np.nan
    agreed = chance = films = 0.0
    for a, b in zip(first.T, second.T, strict=True):
        known = ~np.isnan(a)
        a, b, n = a[known], b[known], known.sum()
        agreed += (a == b).sum()
        chance += n * (a.mean() * b.mean() + (1 - a.mean()) * (1 - b.mean()))
        films += n
    pooled = (agreed - chance) / (films - chance)
    assert cohen_kappa(first, second, replicates=10).value == pytest.approx(pooled, abs=1e-12)


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_where_nothing_is_left_to_chance_kappa_is_undefined(value: float) -> None:
    same = np.full(30, value)
    assert not cohen_kappa(same, same).defined
    assert not fleiss_kappa(np.stack([3 * same, 3 - 3 * same], 1)).defined
    assert not cohen_kappa([], []).defined


def brute_fleiss(ratings: np.ndarray, categories: int) -> float:
    """By the paper: agreeing pairs of readers a film, one by one; ratings (films, readers)."""
    films, readers = ratings.shape
    pairs = list(itertools.permutations(range(readers), 2))
    observed = np.mean([np.mean([row[i] == row[j] for i, j in pairs]) for row in ratings])
    chance = sum(((ratings == c).sum() / (films * readers)) ** 2 for c in range(categories))
    return float((observed - chance) / (1 - chance))


@pytest.mark.parametrize(("readers", "categories"), [(2, 2), (3, 2), (5, 4)])
def test_fleiss_is_the_papers(readers: int, categories: int) -> None:
    ratings = RANDOM.integers(0, categories, (40, 1)) * (RANDOM.random((40, readers)) < 0.7)
    counts = np.stack([(ratings == c).sum(1) for c in range(categories)], 1)
    found = fleiss_kappa(counts, replicates=100)
    assert found.value == pytest.approx(brute_fleiss(ratings, categories), abs=1e-12)
    assert found.low <= found.value <= found.high


def test_fleiss_own_example() -> None:
    """Fleiss 1971, table 1: 30 patients, 6 psychiatrists, 5 diagnoses; kappa 0.430."""
    table = """0 0 0 6 0|0 3 0 0 3|0 1 4 0 1|0 0 0 0 6|0 3 0 3 0|2 0 4 0 0|0 0 4 0 2|2 0 3 1 0|2 0 0 4 0|0 0 0 0 6
    1 0 0 5 0|1 1 0 4 0|0 3 3 0 0|1 0 0 5 0|0 2 0 3 1|0 0 5 0 1|3 0 0 1 2|5 1 0 0 0|0 2 0 4 0|1 0 2 0 3
    0 0 0 0 6|0 1 0 5 0|0 2 0 1 3|2 0 0 4 0|1 0 0 4 1|0 5 0 1 0|4 0 0 0 2|0 2 0 4 0|1 0 5 0 0|0 0 0 0 6"""
    counts = [list(map(int, row.split())) for line in table.splitlines() for row in line.split("|")]
    assert fleiss_kappa(counts, replicates=10).value == pytest.approx(0.430, abs=5e-4)


def test_fleiss_refuses_films_with_other_numbers_of_readers() -> None:
    with pytest.raises(EvaluationError, match="different numbers"):
        fleiss_kappa([[1, 2], [2, 2]])


def test_a_ratio_of_sums_is_a_mean_over_boxes() -> None:
    parts, wholes = np.array([1.0, 5.0, 0.0]), np.array([2.0, 5.0, 0.0])
    found = ratio_of_sums(parts, wholes, replicates=50)
    assert found.value == pytest.approx(6 / 7)
    assert found.n == 2
    assert not ratio_of_sums([0.0], [0.0]).defined


boxes = st.lists(
    st.tuples(*(st.integers(0, 12) for _ in range(2)), *(st.integers(1, 6) for _ in range(2))), max_size=4
).map(lambda rows: np.array([(x, y, x + w, y + h) for x, y, w, h in rows], float).reshape(-1, 4))


@settings(max_examples=40, deadline=None)
@given(boxes, boxes, boxes, boxes)
def test_no_other_matching_overlaps_more(a: np.ndarray, b: np.ndarray, c: np.ndarray, d: np.ndarray) -> None:
    first, second = np.concatenate([a, c]), np.concatenate([b, d])
    rows, columns, overlap = match(first, second, [1] * len(a) + [7] * len(c), [1] * len(b) + [7] * len(d))
    assert len(set(rows)) == len(rows)
    assert len(set(columns)) == len(columns)
    assert ((rows < len(a)) == (columns < len(b))).all()
    np.testing.assert_allclose(overlap, iou(first, second)[rows, columns] if len(rows) else [])
    assert (overlap > 0).all()
    assert overlap.sum() == pytest.approx(greatest(a, b) + greatest(c, d))


def greatest(a: np.ndarray, b: np.ndarray) -> float:
    """The greatest sum of IoU over all one-to-one matchings."""
    if len(a) > len(b):
        a, b = b, a
    each = iou(a, b)
    return max(
        sum(each[i, j] for i, j in enumerate(order))
        for order in itertools.permutations(range(len(b)), len(a))
    )
