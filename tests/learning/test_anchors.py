"""Anchors fit their boxes, better than k-means alone, and the same seed gives the same."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hilum.errors import ManifestError
from hilum.learning.anchors import closeness, fit_anchors, fitness, recall


def boxes(seed: int, kinds: np.ndarray, each: int = 60) -> np.ndarray:
    chance = np.random.default_rng(seed)
    return np.concatenate([kind * chance.normal(1, 0.05, (each, 2)) for kind in kinds])


def test_kinds_of_boxes_are_found():
    kinds = np.array(
        [[10, 14], [20, 60], [60, 22], [50, 50], [90, 200], [200, 90], [150, 150], [300, 120], [380, 390]]
    )
    sizes = boxes(0, kinds)
    anchors = fit_anchors(sizes, generations=300)
    assert len(anchors) == 3
    assert all(len(scale) == 3 for scale in anchors)
    flat = np.array(anchors).reshape(-1, 2)
    assert (np.diff(flat.prod(1)) >= 0).all()
    for kind in kinds:
        assert closeness(flat, kind[None]).max() > 0.85
    assert recall(anchors, sizes) == 1.0
    assert fitness(anchors, sizes) > 0.9


def test_changes_are_kept_only_where_they_fit_better_and_the_seed_decides():
    sizes = np.exp(np.random.default_rng(1).normal(3.5, 0.9, (400, 2)))
    plain, changed = fit_anchors(sizes, generations=0), fit_anchors(sizes, generations=400)
    assert fitness(changed, sizes) > fitness(plain, sizes)
    assert fit_anchors(sizes, generations=50) == fit_anchors(sizes, generations=50)
    assert fit_anchors(sizes, generations=50, seed=1) != fit_anchors(sizes, generations=50)


@settings(deadline=None, max_examples=40)
@given(st.lists(st.tuples(st.floats(2, 600), st.floats(2, 600)), min_size=1, max_size=8), st.floats(1.5, 6))
def test_fitness_is_that_of_one_box_after_another(sizes, reach):
    anchors = [(10, 13), (60, 45), (373, 326)]
    each = []
    for w, h in sizes:
        nearest = max(min(min(w / a, a / w), min(h / b, b / h)) for a, b in anchors)
        each.append(nearest if nearest > 1 / reach else 0)
    assert fitness(anchors, sizes, reach) == pytest.approx(np.mean(each))
    assert recall(anchors, sizes, reach) == pytest.approx(np.mean([value > 0 for value in each]))


@pytest.mark.parametrize(
    ("sizes", "count", "said"),
    [
        (np.ones((5, 2)) * 40, 9, "too few"),
        (np.ones((50, 2)), 9, "too few"),
        (boxes(0, np.eye(2) * 9 + 5), 10, "multiple"),
    ],
)
def test_what_cannot_be_fitted_is_refused(sizes, count, said):
    with pytest.raises(ManifestError, match=said):
        fit_anchors(sizes, count)
