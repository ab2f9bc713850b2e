"""Covers hide what they say, keep the rest bit by bit, and tell nothing of what lies underneath."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hilum.errors import EvaluationError
from hilum.images.covers import COVERS, cover, hidden
from tests.phantom import phantom

SHAPES = st.tuples(st.integers(24, 90), st.integers(24, 90))


@st.composite
def lungs_in(draw: st.DrawFn) -> np.ndarray:
    height, width = draw(SHAPES)
    mask = np.zeros((height, width), bool)
    for _ in range(draw(st.integers(1, 3))):
        top, left = draw(st.integers(3, height - 12)), draw(st.integers(3, width - 12))
        mask[top : top + draw(st.integers(1, 8)), left : left + draw(st.integers(1, 8))] = True
    return mask


@settings(max_examples=40, deadline=None)
@given(lungs_in(), st.sampled_from(COVERS), st.integers(0, 2**31))
def test_covered_pixels_are_one_value_and_the_rest_is_untouched(lungs, what, seed):
    film = np.random.default_rng(seed).random(lungs.shape).astype(np.float32)
    away = hidden(what, lungs)
    covered = cover(film, away)
    np.testing.assert_array_equal(covered[~away], film[~away])
    np.testing.assert_allclose(covered[away], film[~away].mean(), rtol=1e-5)
    other = np.where(away, 1 - film, film)  # another picture underneath
    np.testing.assert_array_equal(cover(other, away), covered)


@settings(max_examples=40, deadline=None)
@given(lungs_in())
def test_covers_lie_in_each_other(lungs):
    tight, box, outside = (hidden(what, lungs) for what in ("lungs", "lung_box", "outside_lungs"))
    assert (lungs <= tight).all()
    assert (tight <= box).all()
    np.testing.assert_array_equal(outside, ~tight)
    rows, columns = box.any(1), box.any(0)
    np.testing.assert_array_equal(box, rows[:, None] & columns)  # a rectangle


def test_of_a_phantom_the_lungs_go_and_the_corner_stays():
    film = phantom(1)
    away = hidden("lungs", film.lungs)
    assert away[film.lungs > 0].all()
    assert 1 < away.sum() / (film.lungs > 0).sum() < 1.5
    assert not away[0].any()
    frame = hidden("border", film.lungs)
    assert frame[0].all()
    assert frame[:, -1].all()
    assert not frame[256, 224]
    assert 0.3 < frame.mean() < 0.4  # 1 - 0.8^2


@pytest.mark.parametrize("what", ["lungs", "lung_box", "outside_lungs"])
def test_empty_lungs_are_said(what):
    with pytest.raises(EvaluationError, match="empty"):
        hidden(what, np.zeros((40, 40)))


@pytest.mark.parametrize("what", ["lungs", "lung_box", "outside_lungs"])
def test_lungs_that_fill_the_film_are_said(what):
    with pytest.raises(EvaluationError, match="fill"):
        hidden(what, np.ones((40, 40)))


def test_nothing_else_passes_either():
    with pytest.raises(EvaluationError, match="all border"):
        hidden("border", np.ones((2, 2)))
    with pytest.raises(EvaluationError, match="no cover"):
        hidden("heart", np.ones((40, 40)))
    with pytest.raises(EvaluationError, match="shape"):
        hidden("lungs", np.ones(40))
    with pytest.raises(EvaluationError, match="whole film"):
        cover(np.ones((4, 4), np.float32), np.ones((4, 4)))
    with pytest.raises(EvaluationError, match="the film is"):
        cover(np.ones((4, 4), np.float32), np.ones((4, 5)))
