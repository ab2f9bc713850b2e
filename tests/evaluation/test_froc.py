"""FROC, held to counting at every threshold."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hilum.evaluation.bootstrap import replicate_weights
from hilum.evaluation.detection import Detections
from hilum.evaluation.froc import RATES, froc, froc_estimates, sensitivity_at
from tests.evaluation.boxes_for_tests import drawn, one_by_one, repeated


def points(boxes: Detections) -> list[tuple[float, float]]:
    """(false boxes a film, sensitivity) at every threshold."""
    said = {}
    for kind in range(boxes.classes):
        said |= dict(zip(*reversed(one_by_one(boxes, 0.4, kind)), strict=True))
    found = [(0.0, 0.0)]
    for threshold in np.unique(boxes.scores):
        words = [word for row, word in said.items() if boxes.scores[row] >= threshold]
        found.append((words.count("false") / boxes.films, words.count("find") / len(boxes.true_boxes)))
    return found


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), tied=st.booleans())
def test_sensitivity_is_the_best_that_a_threshold_gives(seed, tied):
    boxes = drawn(seed, tied=tied)
    every = points(boxes)
    expected = [max(s for f, s in every if f <= rate) for rate in RATES]
    np.testing.assert_allclose(sensitivity_at(boxes), expected, rtol=1e-12)
    curve = froc(boxes)
    for false, sensitivity in zip(curve.false_per_film, curve.sensitivity, strict=True):
        assert any(f == pytest.approx(false) and s == pytest.approx(sensitivity) for f, s in every)


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_a_replicate_is_the_films_drawn(seed):
    boxes = drawn(seed)
    weights = next(replicate_weights(boxes.films, replicates=20, seed=3))
    drawn_ones = []
    for weight in weights:
        again = repeated(boxes, np.repeat(np.arange(boxes.films), weight.astype(int)))
        drawn_ones.append(sensitivity_at(again) if len(again.true_boxes) else np.full(len(RATES), np.nan))
    rates, mean = froc_estimates(boxes, replicates=20, seed=3)
    kept = np.array([row for row in drawn_ones if not np.isnan(row).any()])
    if len(kept) > 10:
        assert mean.low == pytest.approx(np.quantile(kept.mean(1), 0.025))
        assert rates[3].high == pytest.approx(np.quantile(kept[:, 3], 0.975))
    assert mean.value == pytest.approx(sensitivity_at(boxes).mean())


def test_second_finds_are_not_held_against_a_detector():
    same = [[0, 0, 10, 10]] * 3
    boxes = Detections(same, [0.9, 0.8, 0.7], [0] * 3, [0] * 3, same[:1], [0], [0], 1, 1)
    assert sensitivity_at(boxes).tolist() == [1.0] * 7


def test_without_true_boxes_there_is_no_sensitivity():
    none = np.empty(0, int)
    boxes = Detections([[0, 0, 1, 1]], [1], [0], [0], np.empty((0, 4)), none, none, 1, 1)
    assert np.isnan(sensitivity_at(boxes)).all()
