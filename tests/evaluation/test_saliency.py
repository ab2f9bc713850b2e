"""Scores of heatmaps, each held to a count pixel by pixel."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.ndimage import gaussian_filter

from hilum.errors import EvaluationError
from hilum.evaluation import saliency
from hilum.evaluation.estimate import proportion, wilson
from hilum.evaluation.saliency import Score

MEASURES = {
    "energy": saliency.energy,
    "pointing": saliency.pointing,
    "iou_at_maximum": lambda heat, mask, ignore=None: saliency.iou_at_maximum(heat, mask, ignore, share=0.5),
    "iou_at_area": lambda heat, mask, ignore=None: saliency.iou_at_area(heat, mask, ignore, share=0.2),
}
every_measure = pytest.mark.parametrize("measure", MEASURES.values(), ids=MEASURES)


def film(seed, shape=(18, 23)):
    """A smooth map with values below 0, a mask that is not where it is hottest, and pixels not known."""
    random = np.random.default_rng(seed)
    heat = gaussian_filter(random.normal(size=shape), 2)
    mask = gaussian_filter(random.normal(size=shape), 3) + heat / 3 > 0.05
    ignore = gaussian_filter(random.normal(size=shape), 2) > 0.15
    return heat, mask, ignore


def known(heat, ignore):
    """(row, column, heat) of every pixel that counts."""
    return [(r, c, max(0.0, heat[r, c])) for r, c in np.ndindex(heat.shape) if not ignore[r, c]]


@pytest.mark.parametrize("seed", range(4))
def test_energy_is_the_sum_inside_over_the_sum(seed):
    heat, mask, ignore = film(seed)
    pixels = known(heat, ignore)
    whole = math.fsum(v for _, _, v in pixels)
    inside = math.fsum(v for r, c, v in pixels if mask[r, c])
    assert saliency.energy(heat, mask, ignore).value == pytest.approx(inside / whole)
    assert saliency.energy(heat, ~mask, ignore).value == pytest.approx(1 - inside / whole)
    assert saliency.energy(1e300 * heat, mask, ignore).value == pytest.approx(inside / whole)


@pytest.mark.parametrize("tolerance", [0, 1, 2.5, 15])
@pytest.mark.parametrize("seed", range(4))
def test_pointing_looks_around_the_hottest_pixel(seed, tolerance):
    heat, mask, ignore = film(seed)
    row, column, _ = max(known(heat, ignore), key=lambda pixel: pixel[2])
    near = [math.hypot(r - row, c - column) for r, c, _ in known(heat, ignore) if mask[r, c]]
    assert saliency.pointing(heat, mask, ignore, tolerance=tolerance).value == (min(near) <= tolerance)


def test_of_several_hottest_pixels_the_share_that_hits_counts():
    heat = np.zeros((4, 5))
    heat[0, 0] = heat[3, 4] = heat[3, 3] = heat[0, 4] = 2.0
    mask = np.zeros((4, 5), bool)
    mask[3, 3:] = True
    assert saliency.pointing(heat, mask, tolerance=0) == Score(0.5)
    assert saliency.pointing(heat, mask, tolerance=3) == Score(0.75)
    assert saliency.pointing(np.ones((4, 5)), mask, tolerance=0) == Score(mask.mean())


@pytest.mark.parametrize("share", [0.1, 0.5, 1.0])
@pytest.mark.parametrize("seed", range(4))
def test_iou_at_a_share_of_the_maximum(seed, share):
    heat, mask, ignore = film(seed)
    pixels = known(heat, ignore)
    cut = share * max(v for _, _, v in pixels)
    hot = {(r, c) for r, c, v in pixels if v >= cut}
    true = {(r, c) for r, c, _ in pixels if mask[r, c]}
    found = saliency.iou_at_maximum(heat, mask, ignore, share=share).value
    assert found == pytest.approx(len(hot & true) / len(hot | true))


@pytest.mark.parametrize("share", [0.001, 0.2, 1.0])
@pytest.mark.parametrize("seed", range(4))
def test_iou_at_a_share_of_the_area(seed, share):
    heat, mask, ignore = film(seed)
    pixels = sorted(known(heat, ignore), key=lambda pixel: -pixel[2])
    hot = {(r, c) for r, c, v in pixels[: max(1, round(share * len(pixels)))] if v > 0}
    true = {(r, c) for r, c, _ in pixels if mask[r, c]}
    found = saliency.iou_at_area(heat, mask, ignore, share=share).value
    assert found == pytest.approx(len(hot & true) / len(hot | true))


def test_pixels_as_hot_as_the_last_are_in_and_cold_ones_never():
    heat = np.array([[3.0, 1.0, 1.0, 0.0, 0.0, 0.0]])
    mask = np.array([[1, 1, 1, 0, 0, 0]])
    assert saliency.iou_at_area(heat, mask, share=2 / 6) == Score(1.0)
    assert saliency.iou_at_area(heat, mask, share=1.0) == Score(1.0)


def test_all_heat_inside_is_1_however_its_sum_is_rounded():
    heat, mask = np.zeros((5, 6), np.float32), np.ones((5, 6), bool)
    heat[0, :2], heat[1, 2], mask[0, 2] = (1, 0.5), 1.5, False
    assert saliency.energy(heat, mask) == Score(1.0)


@settings(max_examples=40, deadline=None)
@given(
    heat=arrays(np.float32, (5, 6), elements=st.floats(-2, 2, width=16)),
    mask=arrays(bool, (5, 6)),
    scale=st.sampled_from([0.25, 1.0, 64.0]),
)
def test_every_measure_is_a_share_or_says_why_not_at_any_scale(heat, mask, scale):
    for measure in MEASURES.values():
        found = measure(heat, mask)
        assert math.isnan(found.value) == bool(found.note)
        assert found.note or 0 <= found.value <= 1
        again = measure(heat * scale, mask)
        assert again.note == found.note
        assert found.note or again.value == pytest.approx(found.value)


@every_measure
def test_what_cannot_be_measured_is_nan_with_a_reason_and_never_0(measure):
    heat, mask, none = np.ones((3, 4)), np.eye(3, 4), np.zeros((3, 4))
    broken = heat.copy()
    broken[1, 1] = np.nan
    for said, found in {
        saliency.NO_HEAT: [measure(none, mask), measure(-heat, mask), measure(none, none)],
        saliency.NOT_FINITE: [measure(broken, mask), measure(np.inf * heat, mask)],
        saliency.EMPTY_MASK: [measure(heat, none), measure(heat, mask, mask)],
        saliency.ALL_IGNORED: [measure(heat, mask, heat), measure(broken, mask, heat)],
    }.items():
        for score in found:
            assert math.isnan(score.value)
            assert score.note == said
    assert not measure(broken, mask, np.isnan(broken)).note


@every_measure
def test_masks_of_another_size_are_refused(measure):
    heat = np.ones((3, 4))
    with pytest.raises(EvaluationError, match=r"the mask is \(4, 3\), the heatmap is \(3, 4\)"):
        measure(heat, heat.T)
    with pytest.raises(EvaluationError, match=r"the ignore mask is \(4, 3\)"):
        measure(heat, heat, heat.T)
    with pytest.raises(EvaluationError, match="a heatmap of shape"):
        measure(heat[None], heat[None])
    with pytest.raises(EvaluationError, match="a heatmap of shape"):
        measure(np.empty((0, 4)), np.empty((0, 4)))


@pytest.mark.parametrize("share", [0, -0.1, 1.1, math.nan])
def test_a_threshold_is_a_share(share):
    heat = np.ones((3, 4))
    for measure in (saliency.iou_at_maximum, saliency.iou_at_area):
        with pytest.raises(EvaluationError, match="share"):
            measure(heat, heat, share=share)
    with pytest.raises(EvaluationError, match="tolerance"):
        saliency.pointing(heat, heat, tolerance=-1)


def test_a_box_holds_the_pixels_whose_centre_it_holds():
    boxes = np.array([[1.0, 0.0, 3.0, 2.0], [3.6, 2.4, 9.0, 3.0], [0.6, 3.0, 0.9, 4.0]])
    wanted = np.zeros((4, 5), bool)
    for (r, c), (x1, y1, x2, y2) in ((p, b) for p in np.ndindex(4, 5) for b in boxes):
        wanted[r, c] |= x1 <= c + 0.5 < x2 and y1 <= r + 0.5 < y2
    assert wanted.sum() == 5
    np.testing.assert_array_equal(saliency.box_mask(boxes, (4, 5)), wanted)
    assert not saliency.box_mask([], (4, 5)).any()
    assert saliency.energy(np.ones((4, 5)), saliency.box_mask(boxes[:1], (4, 5))) == Score(4 / 20)
    for wrong in ([[3, 0, 1, 2]], [[0, math.nan, 1, 2]]):
        with pytest.raises(EvaluationError, match="is none"):
            saliency.box_mask(wrong, (4, 5))


def scores(seed, patients=12, films=3):
    random = np.random.default_rng(seed)
    own = random.uniform(0.2, 0.8, patients)
    values = (own[:, None] + random.normal(0, 0.05, (patients, films))).ravel()
    return values, np.repeat([f"p{i}" for i in range(patients)], films)


def test_a_summary_is_the_mean_over_patients_with_an_interval_by_patient():
    values, patients = scores(0)
    values, patients = values[:-1], patients[:-1]
    found = saliency.summarise_scores([Score(v) for v in values], patients)
    means = np.array([values[patients == p].mean() for p in np.unique(patients)])
    assert found.value == pytest.approx(means.mean())
    assert (found.high - found.low) / (2 * 1.96) == pytest.approx(means.std() / math.sqrt(12), rel=0.15)
    assert (found.n, found.method, found.note) == (35, "bootstrap by patient", "")
    alone = saliency.summarise_scores([Score(v) for v in values])
    assert alone.value == pytest.approx(values.mean())
    assert alone.high - alone.low < found.high - found.low
    assert alone.method == "bootstrap"


def test_a_summary_counts_what_it_leaves_out_by_reason():
    values, patients = scores(1)
    films = [Score(v) for v in values]
    films[0] = films[5] = Score.undefined(saliency.NO_HEAT)
    films[7] = Score.undefined(saliency.EMPTY_MASK)
    kept = [i for i in range(36) if i not in (0, 5, 7)]
    found = saliency.summarise_scores(films, patients)
    assert found.note == "3 of 36 films left out (empty mask: 1; heatmap without heat: 2)"
    assert found.n == 33
    assert found.value == saliency.summarise_scores([films[i] for i in kept], patients[kept]).value
    json.dumps(found.as_dict(), allow_nan=False)


def test_no_film_one_patient_and_nothing_measured_are_said():
    assert not saliency.summarise_scores([]).defined
    assert not saliency.hit_rate([]).defined
    one = saliency.summarise_scores([Score(0.2), Score(0.4), Score.undefined("why")], ["a"] * 3)
    assert one.value == pytest.approx(0.3)
    assert math.isnan(one.low)
    assert one.note == "1 of 3 films left out (why: 1); one patient"
    for summarise in (saliency.summarise_scores, saliency.hit_rate):
        nothing = summarise([Score.undefined(saliency.NO_HEAT)] * 4, list("aabb"))
        assert math.isnan(nothing.value)
        assert nothing.note == "4 of 4 films left out (heatmap without heat: 4)"
        assert nothing.n == 0
        with pytest.raises(EvaluationError, match="for 2 films"):
            summarise([Score(1.0)] * 2, ["a"])


def test_a_hit_rate_has_wilsons_interval_by_patient():
    hits = [Score(float(v)) for v in (1, 1, 0, 1, 0, 0, 1)]
    patients = list("aabbccd")
    found = saliency.hit_rate([*hits, Score.undefined("why")], [*patients, "e"])
    wanted = proportion([v.value for v in hits], patients)
    assert (found.value, found.low, found.high, found.n) == (
        wanted.value,
        wanted.low,
        wanted.high,
        7,
    )
    assert found.note == "1 of 8 films left out (why: 1)"
    all_hit = saliency.hit_rate([Score(1.0)] * 7, patients)
    assert (all_hit.low, all_hit.high) == wilson(1.0, 4, 0.95)


def test_differences_are_film_by_film():
    first = [Score(0.9), Score(0.5), Score.undefined("why")]
    second = [Score(0.4), Score.undefined("how"), Score(0.1)]
    found = saliency.differences(first, second)
    assert found[0].value == pytest.approx(0.5)
    assert [math.isnan(score.value) for score in found] == [False, True, True]
    assert [score.note for score in found] == ["", "how", "why"]
    with pytest.raises(EvaluationError, match="cannot be paired"):
        saliency.differences(first, second[:2])
