"""Suppression and fusion, held to `ensemble-boxes` for every option that both have."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hilum import boxes
from hilum.errors import BoxError

theirs = pytest.importorskip("ensemble_boxes", reason="ensemble-boxes, the peer, is not installed")

seeds = st.integers(0, 2**32 - 1)
thresholds = st.sampled_from([0.0, 0.2, 0.4, 0.55, 0.8])


def made(seed: int, models: int = 3, films: int = 1, classes: int = 2, most: int = 14):
    """Random boxes in [0, 1] about a few centres: corners, distinct scores, model, film, class of each."""
    random = np.random.default_rng(seed)
    counts = random.integers(0, most, (films, models))
    counts[0, 0] = max(counts[0, 0], 1)
    film, model = (np.repeat(i, counts.ravel()) for i in map(np.ravel, np.indices(counts.shape)))
    n = int(counts.sum())
    centre = random.uniform(0.25, 0.75, (4, 2))[random.integers(0, 4, n)] + random.normal(0, 0.03, (n, 2))
    half = random.uniform(0.05, 0.2, (n, 2))
    corners = np.clip(np.column_stack([centre - half, centre + half]), 0, 1)
    # Equal scores would be taken in whatever order the peer's unstable sort leaves them.
    scores = random.permutation(np.linspace(0.01, 0.99, n))
    return corners, scores, model, film, random.integers(0, classes, n)


def by_model(models: int, corners, scores, model, film, kind, only: int = 0):
    rows = [(model == m) & (film == only) for m in range(models)]
    return [corners[r] for r in rows], [scores[r] for r in rows], [kind[r] for r in rows]


def assert_same(ours: boxes.Fused, kind, found, tolerance: float = 1e-6) -> None:
    """The same boxes, classes and scores, whatever their order."""
    corners, scores, classes = (np.asarray(part, np.float64) for part in found)
    a = np.column_stack([kind[ours.row], ours.scores, ours.boxes])
    b = np.column_stack([classes, scores, corners])
    assert a.shape == b.shape
    keys = [np.lexsort(np.round(rows, 5).T[::-1]) for rows in (a, b)]
    np.testing.assert_allclose(a[keys[0]], b[keys[1]], rtol=0, atol=tolerance)


@pytest.mark.parametrize("overflow", [False, True])
@pytest.mark.parametrize("conf_type", boxes.CONF_TYPES)
@settings(max_examples=25, deadline=None)
@given(
    seed=seeds,
    iou=thresholds,
    skip=st.sampled_from([0.0, 0.3]),
    weights=st.sampled_from([None, (1, 2.5, 0.5)]),
)
def test_wbf_is_the_peers(conf_type, overflow, seed, iou, skip, weights):
    corners, scores, model, film, kind = made(seed)
    found = theirs.weighted_boxes_fusion(
        *by_model(3, corners, scores, model, film, kind),
        weights=weights,
        iou_thr=iou,
        skip_box_thr=skip,
        conf_type=conf_type,
        allows_overflow=overflow,
    )
    ours = boxes.wbf(
        corners,
        scores,
        model,
        kind,
        weights=weights or (1, 1, 1),
        iou_threshold=iou,
        skip_box_threshold=skip,
        conf_type=conf_type,
        allows_overflow=overflow,
    )
    assert_same(ours, kind, found)
    assert ours.boxes_in.sum() == (scores >= skip).sum()


@settings(max_examples=25, deadline=None)
@given(
    seed=seeds,
    iou=thresholds,
    skip=st.sampled_from([0.0, 0.3]),
    weights=st.sampled_from([None, (1, 2.5, 0.5)]),
)
def test_nmw_is_the_peers(seed, iou, skip, weights):
    corners, scores, model, film, kind = made(seed)
    lists = by_model(3, corners, scores, model, film, kind)
    found = theirs.non_maximum_weighted(*lists, weights=weights, iou_thr=iou, skip_box_thr=skip)
    ours = boxes.nmw(
        corners,
        scores,
        model,
        kind,
        weights=weights or (1, 1, 1),
        iou_threshold=iou,
        skip_box_threshold=skip,
    )
    assert_same(ours, kind, found)


@settings(max_examples=25, deadline=None)
@given(seed=seeds, iou=thresholds, weights=st.sampled_from([None, (1, 2.5, 0.5)]))
def test_nms_is_the_peers(seed, iou, weights):
    corners, scores, model, film, kind = made(seed)
    found = theirs.nms(*by_model(3, corners, scores, model, film, kind), iou_thr=iou, weights=weights)
    ours = boxes.fuse(corners, scores, model, kind, method="nms", iou_threshold=iou, weights=weights)
    assert_same(ours, kind, found)


@pytest.mark.parametrize(("method", "number"), [("soft-nms-linear", 1), ("soft-nms", 2)])
@settings(max_examples=25, deadline=None)
@given(seed=seeds, iou=thresholds, sigma=st.sampled_from([0.1, 0.5]), least=st.sampled_from([0.001, 0.2]))
def test_soft_nms_keeps_the_peers_boxes(method, number, seed, iou, sigma, least):
    """The peer returns the kept boxes with the scores they came with; ours are the decayed ones, as published."""
    corners, scores, model, film, kind = made(seed)
    lists = by_model(3, corners, scores, model, film, kind)
    found = theirs.soft_nms(*lists, method=number, iou_thr=iou, sigma=sigma, thresh=least)
    ours = boxes.fuse(
        corners, scores, model, kind, method=method, iou_threshold=iou, sigma=sigma, score_threshold=least
    )
    assert np.all(ours.scores <= scores[ours.row] + 1e-12)
    as_given = boxes.Fused(ours.boxes, scores[ours.row], ours.row, ours.boxes_in, ours.models_in, ours.into)
    assert_same(as_given, kind, found)


def test_soft_nms_scores_are_those_of_the_papers_loop():
    corners, scores, *_ = made(7, most=30)
    left, at, plain = list(range(len(scores))), scores.copy(), {}
    while left:
        best = max(left, key=at.__getitem__)
        plain[best] = at[best]
        left.remove(best)
        for other in left:
            at[other] *= np.exp(-(boxes.iou(corners[[best]], corners[[other]])[0, 0] ** 2) / 0.5)
    rows, decayed = boxes.soft_nms(corners, scores, score_threshold=0.001)
    expected = {row: score for row, score in plain.items() if score > 0.001}
    assert set(rows.tolist()) == set(expected)
    np.testing.assert_allclose(decayed, [expected[row] for row in rows.tolist()], rtol=1e-12)


@pytest.mark.parametrize("method", boxes.METHODS)
@settings(max_examples=10, deadline=None)
@given(seed=seeds)
def test_many_films_at_once_are_each_alone(method, seed):
    corners, scores, model, film, kind = made(seed, films=5, classes=3)
    run = partial(boxes.fuse, method=method, weights=(1, 2, 1), iou_threshold=0.4)
    whole = run(corners, scores, model, boxes.group_numbers(film, kind))
    for number in range(5):
        for name in range(3):
            own = np.flatnonzero((film == number) & (kind == name))
            alone = run(corners[own], scores[own], model[own])
            here = np.isin(whole.row, own)
            np.testing.assert_array_equal(whole.row[here], own[alone.row])
            np.testing.assert_allclose(whole.boxes[here], alone.boxes, rtol=1e-12)
            np.testing.assert_allclose(whole.scores[here], alone.scores, rtol=1e-12)


@pytest.mark.parametrize("method", boxes.METHODS)
@settings(max_examples=20, deadline=None)
@given(seed=seeds, iou=thresholds, share=st.floats(0.01, 100))
def test_no_score_exceeds_the_highest_that_went_in(method, seed, iou, share):
    corners, scores, model, _, kind = made(seed, most=30)
    fused = boxes.fuse(
        corners * 3000, scores, model, kind, method=method, iou_threshold=iou, weights=(1, share, 2)
    )
    assert fused.scores.max() <= scores.max() + 1e-12
    assert np.all(np.diff(fused.scores) <= 0)


@pytest.mark.parametrize("method", boxes.METHODS)
@settings(max_examples=10, deadline=None)
@given(seed=seeds)
def test_every_row_says_which_box_it_went_into(method, seed):
    corners, scores, model, film, kind = made(seed, films=3)
    group = boxes.group_numbers(film, kind)
    fused = boxes.fuse(
        corners, scores, model, group, method=method, skip_box_threshold=0.2, iou_threshold=0.4
    )
    np.testing.assert_array_equal(fused.into[fused.row], np.arange(len(fused)))
    went = np.flatnonzero(fused.into >= 0)
    assert set(went) <= set(np.flatnonzero(scores >= 0.2))
    np.testing.assert_array_equal(np.bincount(fused.into[went], minlength=len(fused)), fused.boxes_in)
    np.testing.assert_array_equal(group[went], group[fused.row[fused.into[went]]])


def test_the_peers_default_can_exceed_one():
    """Why it is not ours: two boxes of the heavier model."""
    corners, model = [[0, 0, 10, 10], [0, 0, 10, 10]], [0, 0]
    given = {"weights": (3, 1), "iou_threshold": 0.5}
    assert boxes.wbf(corners, [1, 1], model, conf_type="avg", **given).scores[0] == pytest.approx(1.5)
    assert boxes.wbf(corners, [1, 1], model, **given).scores[0] == pytest.approx(0.75)


@pytest.mark.parametrize("method", boxes.METHODS)
def test_the_unit_does_not_matter(method):
    corners, scores, model, film, kind = made(3, films=4)
    group = boxes.group_numbers(film, kind)
    small = boxes.fuse(corners, scores, model, group, method=method)
    large = boxes.fuse(corners * 4096, scores, model, group, method=method)
    np.testing.assert_allclose(large.boxes, small.boxes * 4096, rtol=1e-12)
    np.testing.assert_array_equal(large.row, small.row)


@pytest.mark.parametrize("method", boxes.METHODS)
def test_ties_go_to_the_earlier_row_and_thresholds_are_not_met_by_equality(method):
    same = np.array([[0, 0, 10, 10.0]] * 3)
    fused = boxes.fuse(same, [0.5, 0.5, 0.5], [0, 1, 2], method=method)
    assert fused.row[0] == 0
    # Intersection 40, union 100: an IoU of exactly 0.4.
    apart = boxes.fuse([[0, 0, 10, 7], [0, 3, 10, 10]], [0.9, 0.8], [0, 1], method=method, iou_threshold=0.4)
    assert len(apart) == 2


def test_zero_scores_pull_nowhere():
    corners = [[0, 0, 10, 10], [1, 0, 11, 10]]
    for fuse in (boxes.wbf, boxes.nmw):
        alone = fuse(corners, [0, 0], [0, 1])
        np.testing.assert_array_equal(alone.boxes, [corners[0]])
        assert alone.scores.tolist() == [0]


@pytest.mark.parametrize("method", boxes.METHODS)
def test_nothing_in_nothing_out(method):
    assert len(boxes.fuse([], [], np.empty(0, int), [], method=method)) == 0
    assert boxes.fuse([], [], np.empty(0, int), method=method).boxes.shape == (0, 4)


@pytest.mark.parametrize(
    ("corners", "scores", "models", "options", "words"),
    [
        ([[0, 0, 1, 1], [5, 0, 2, 1]], [1, 1], [0, 0], {}, "row 1 is no box: 5, 0, 2, 1"),
        ([[0, 0, 0, 1]], [1], [0], {}, "row 0 is no box"),
        ([[0, np.nan, 1, 1]], [1], [0], {}, "row 0 is no box"),
        ([[0, 0, 1, 1]], [np.nan], [0], {}, "row 0 has the score nan"),
        ([[0, 0, 1, 1]], [-0.1], [0], {}, "row 0 has the score -0.1"),
        ([[0, 0, 1, 1]], [1, 1], [0], {}, "scores of shape"),
        ([[0, 0, 1, 1]], [1], [0.5], {}, "whole number"),
        ([[0, 0, 1, 1]], [1], [2], {"weights": (1, 1)}, "models 2 to 2 with 2 weights"),
        ([[0, 0, 1, 1]], [1], [0], {"weights": (0,)}, "weights"),
        ([[0, 0, 1, 1]], [1], [0], {"iou_threshold": 1.5}, "IoU threshold"),
        ([[0, 0, 1, 1]], [1], [0], {"method": "mean"}, "no method 'mean'"),
        ([[0, 0, 1, 1]], [1], [0], {"conf_type": "sum"}, "no conf_type 'sum'"),
        ([[0, 0, 1, 1]], [1], [0], {"groups": [1, 2]}, "groups of shape"),
    ],
)
def test_what_cannot_be_fused_is_named(corners, scores, models, options, words):
    with pytest.raises(BoxError, match=words.replace("(", r"\(")):
        boxes.fuse(corners, scores, models, **options)
