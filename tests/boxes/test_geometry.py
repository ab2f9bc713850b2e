"""Areas and overlaps, held to pixels counted one by one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hilum import boxes
from hilum.errors import BoxError

SIDE = 12
edges = st.tuples(st.integers(0, SIDE), st.integers(0, SIDE)).filter(lambda e: e[0] != e[1]).map(sorted)
box = st.tuples(edges, edges).map(lambda xy: (xy[0][0], xy[1][0], xy[0][1], xy[1][1]))
some = st.lists(box, min_size=1, max_size=4)


def pixels(corners) -> np.ndarray:
    x1, y1, x2, y2 = corners
    film = np.zeros((SIDE, SIDE), bool)
    film[y1:y2, x1:x2] = True
    return film


@settings(max_examples=60, deadline=None)
@given(some, some)
def test_iou_counts_pixels(a, b):
    expected = [[(pixels(p) & pixels(q)).sum() / (pixels(p) | pixels(q)).sum() for q in b] for p in a]
    np.testing.assert_allclose(boxes.iou(a, b), expected, rtol=1e-12)
    np.testing.assert_array_equal(boxes.iou(b, a), boxes.iou(a, b).T)
    np.testing.assert_array_equal(boxes.area(a), [pixels(p).sum() for p in a])
    pairs = min(len(a), len(b))
    np.testing.assert_array_equal(boxes.paired_iou(a[:pairs], b[:pairs]), np.diag(boxes.iou(a, b))[:pairs])


@settings(max_examples=60, deadline=None)
@given(some, some)
def test_giou_counts_the_pixels_of_neither(a, b):
    found = boxes.giou(a, b)
    for i, p in enumerate(a):
        for j, q in enumerate(b):
            hull = pixels((min(p[0], q[0]), min(p[1], q[1]), max(p[2], q[2]), max(p[3], q[3]))).sum()
            union = (pixels(p) | pixels(q)).sum()
            assert found[i, j] == pytest.approx(boxes.iou([p], [q])[0, 0] - (hull - union) / hull)


def test_clipping_cuts_at_the_films_edges_and_empties_what_lies_outside():
    cut = boxes.clip([[-5, -5, 5, 5], [90, 10, 130, 60], [120, 0, 130, 5]], 100, [50, 50, 50])
    np.testing.assert_array_equal(cut, [[0, 0, 5, 5], [90, 10, 100, 50], [100, 0, 100, 5]])
    assert boxes.valid(cut).tolist() == [True, True, False]


def test_what_is_no_box():
    strange = [
        [0, 0, 1, 1],
        [1, 0, 0, 1],
        [0, 0, 0, 1],
        [np.nan, 0, 1, 1],
        [0, 0, np.inf, 1],
        [-np.inf, 0, 0, 1],
    ]
    assert boxes.valid(strange).tolist() == [True, False, False, False, False, False]
    assert boxes.iou([[0, 0, 0, 0]], [[0, 0, 0, 0]])[0, 0] == 0
    assert boxes.iou([], [[0, 0, 1, 1]]).shape == (0, 1)
    with pytest.raises(BoxError, match="shape"):
        boxes.area([1, 2, 3, 4])
    with pytest.raises(BoxError, match="beside"):
        boxes.paired_iou([[0, 0, 1, 1]], np.zeros((2, 4)))
