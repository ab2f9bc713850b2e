from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter
from scipy.spatial.distance import cdist, directed_hausdorff
from sklearn.metrics import f1_score, jaccard_score, recall_score

from hilum.errors import EvaluationError
from hilum.evaluation import overlap


def blobs(seed, shape=(40, 50)):
    """Two masks alike but not the same."""
    random = np.random.default_rng(seed)
    field = gaussian_filter(random.normal(size=shape), 5)
    other = field + 0.3 * gaussian_filter(random.normal(size=shape), 4)
    cut = np.quantile(field, 0.6)
    return field > cut, other > cut


def outline(mask):
    """Pixels with a 4-neighbour outside the mask, by looking at each."""
    padded = np.pad(mask, 1)
    inside = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    return np.argwhere(mask & ~inside)


@pytest.mark.parametrize("seed", range(4))
def test_overlap_agrees_with_scikit_learn(seed):
    truth, found = blobs(seed)
    scores = overlap.overlap_scores(truth, found)
    assert scores.dice == overlap.dice(truth, found) == pytest.approx(f1_score(truth.ravel(), found.ravel()))
    assert scores.iou == overlap.iou(truth, found)
    assert scores.iou == pytest.approx(jaccard_score(truth.ravel(), found.ravel()))
    assert scores.sensitivity == pytest.approx(recall_score(truth.ravel(), found.ravel()))
    assert scores.specificity == pytest.approx(recall_score(~truth.ravel(), ~found.ravel()))


@pytest.mark.parametrize(("seed", "spacing"), [(0, (1.0, 1.0)), (1, (0.5, 0.5)), (2, (0.7, 0.2))])
def test_distances_agree_with_brute_force(seed, spacing):
    truth, found = blobs(seed)
    points, others = outline(truth) * spacing, outline(found) * spacing
    between = cdist(points, others)
    there, back = overlap.surface_distances(truth, found, spacing=spacing)
    np.testing.assert_allclose(np.sort(there), np.sort(between.min(1)))
    np.testing.assert_allclose(np.sort(back), np.sort(between.min(0)))
    assert there.max() == pytest.approx(directed_hausdorff(points, others)[0])
    scores = overlap.overlap_scores(truth, found, spacing=spacing)
    assert scores.hausdorff95 == pytest.approx(
        max(np.percentile(between.min(1), 95), np.percentile(between.min(0), 95))
    )
    both = np.concatenate([between.min(1), between.min(0)])
    assert scores.surface_distance == pytest.approx(both.mean())


def test_a_shifted_square_is_as_far_off_as_it_was_shifted():
    square = np.zeros((64, 64), bool)
    square[10:40, 10:40] = True
    scores = overlap.overlap_scores(square, np.roll(square, 3, axis=1), spacing=(0.5, 0.5))
    assert scores.hausdorff95 == 1.5
    assert scores.dice == pytest.approx(0.9)


def test_ignored_pixels_change_nothing():
    truth, found = blobs(5)
    ignore = np.zeros_like(truth)
    ignore[10:20, 15:30] = True
    random = np.random.default_rng(0)
    noise = random.random(truth.shape) < 0.5
    clean = overlap.overlap_scores(truth, found, ignore)
    noisy = overlap.overlap_scores(np.where(ignore, noise, truth), np.where(ignore, ~noise, found), ignore)
    assert clean == noisy
    kept = ~ignore
    assert clean.dice == pytest.approx(f1_score(truth[kept], found[kept]))
    assert clean.specificity == pytest.approx(recall_score(~truth[kept], ~found[kept]))


def test_the_edge_of_an_ignored_region_is_not_an_agreement():
    truth, found = np.zeros((30, 30), bool), np.zeros((30, 30), bool)
    truth[5:25, 5:25], found[7:23, 5:25] = True, True
    ignore = np.zeros_like(truth)
    ignore[:, 14:] = True
    there, _ = overlap.surface_distances(truth, found, ignore)
    # Columns 5 to 12 of rows 5 and 24, and column 5 between: column 13 touches what is ignored.
    assert len(there) == 2 * 8 + 18
    assert (there == 2).sum() >= 2 * 8


def test_empty_masks_follow_the_stated_conventions():
    empty, full = np.zeros((8, 8), bool), np.ones((8, 8), bool)
    nothing = overlap.overlap_scores(empty, empty)
    assert np.isnan([nothing.dice, nothing.iou, nothing.sensitivity, nothing.hausdorff95]).all()
    assert nothing.specificity == 1
    missed = overlap.overlap_scores(full, empty)
    assert (missed.dice, missed.iou, missed.sensitivity) == (0, 0, 0)
    assert np.isnan([missed.hausdorff95, missed.surface_distance, missed.specificity]).all()
    with pytest.raises(EvaluationError):
        overlap.dice(empty, np.zeros((8, 9), bool))


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_overlap_is_symmetric_and_perfect_with_itself(seed):
    truth, found = blobs(seed, (24, 30))
    one, other = overlap.overlap_scores(truth, found), overlap.overlap_scores(found, truth)
    for name in ("dice", "iou", "hausdorff95", "surface_distance"):
        assert getattr(one, name) == pytest.approx(getattr(other, name), nan_ok=True)
    assert one.dice == pytest.approx(2 * one.iou / (1 + one.iou))
    itself = overlap.overlap_scores(truth, truth)
    assert (itself.dice, itself.hausdorff95, itself.surface_distance) == (1, 0, 0)


def test_summary_is_the_mean_over_patients_and_counts_what_is_missing():
    films = [overlap.overlap_scores(*blobs(seed)) for seed in range(30)]
    empty = np.zeros((40, 50), bool)
    films[7] = overlap.overlap_scores(blobs(7)[0], empty)
    patients = np.arange(30) // 3
    summary = overlap.summarise_overlap(films, patients, unit="mm", replicates=300)
    dice = np.array([f.dice for f in films])
    assert summary.dice.value == pytest.approx(dice.reshape(10, 3).mean(1).mean())
    deviation = dice.reshape(10, 3).mean(1).std() / np.sqrt(10)
    assert (summary.dice.high - summary.dice.low) / (2 * 1.96) == pytest.approx(deviation, rel=0.2)
    assert summary.dice.n == 30
    assert summary.hausdorff95.n == 29
    assert "1 films without a value" in summary.hausdorff95.note
    assert (summary.films, summary.patients, summary.unit) == (30, 10, "mm")
    json.dumps(summary.as_dict(), allow_nan=False)
    assert [row["metric"] for row in summary.table()][:2] == ["dice", "iou"]


def test_films_without_an_outline_are_told_by_their_scores():
    full, none = np.ones((4, 4), bool), np.zeros((4, 4), bool)
    half, other = full.copy(), full.copy()
    half[:2], other[2:] = False, False
    cases = [
        (half, half),
        (none, half),
        (none, none),
        (half, none),
        (full, none),
        (half, other),
        (full, half),
    ]
    scores = [overlap.overlap_scores(*case) for case in cases]
    scores.append(overlap.overlap_scores(half, half, ignore=full))
    assert overlap.without_outline(scores) == {
        overlap.EMPTY: [1, 2],
        overlap.MISSED: [3, 4],
        overlap.IGNORED: [7],
    }
    assert overlap.without_outline(scores[:1]) == {}
