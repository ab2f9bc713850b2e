from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from hilum.errors import EvaluationError
from hilum.evaluation import comparison

# Nandi and Mulimani 2021: accuracy of each fold, set 1 and set 2.
RESNET = ([75.63, 78.25, 80.31, 81.43, 81.88], [90.80, 92.52, 89.70, 91.67, 90.97])
MOBILENET = ([82.50, 85.35, 81.23, 83.08, 84.14], [95.28, 92.90, 93.56, 93.89, 93.02])
HYBRID = ([82.86, 83.52, 85.89, 84.73, 84.76], [94.80, 95.65, 93.27, 94.78, 93.72])


@pytest.mark.parametrize(
    ("arm", "printed", "paired"),
    [(RESNET, (0.0051, 0.0008), (0.0037, 0.0001)), (MOBILENET, (0.2495, 0.2696), (0.36, 0.28))],
    ids=["ResNet50", "MobileNet"],
)
def test_the_papers_p_values_are_those_of_students_t(arm, printed, paired):
    for i in range(2):
        assert round(comparison.student_t(HYBRID[i], arm[i]).p_value, 4) == printed[i]
        digits = 4 if paired[i] < 0.01 else 2
        assert round(comparison.paired_t(HYBRID[i], arm[i]).p_value, digits) == paired[i]


def test_t_tests_are_scipys():
    random = np.random.default_rng(0)
    one, other, longer = random.normal(1, 1, 8), random.normal(0, 2, 8), random.normal(0, 1, 11)
    for mine, reference in (
        (comparison.student_t(one, longer), stats.ttest_ind(one, longer)),
        (comparison.paired_t(one, other), stats.ttest_rel(one, other)),
    ):
        assert (mine.t, mine.p_value) == pytest.approx((reference.statistic, reference.pvalue))
        interval = reference.confidence_interval(0.95)
        assert (mine.difference.low, mine.difference.high) == pytest.approx((interval.low, interval.high))
        assert mine.degrees == reference.df


def test_the_correction_is_nadeau_and_bengios():
    one, other = np.array(HYBRID[0]), np.array(MOBILENET[0])
    d = one - other
    t = d.mean() / np.sqrt((1 / 5 + 1 / 4) * d.var(ddof=1))
    mine = comparison.corrected_t(one, other, 1 / 4)
    assert (mine.t, mine.p_value) == pytest.approx((t, 2 * stats.t.sf(abs(t), 4)))
    assert mine.p_value > comparison.paired_t(one, other).p_value
    # The interval is what the test does not reject.
    assert comparison.corrected_t(one - mine.difference.low, other, 1 / 4).p_value == pytest.approx(0.05)


def test_the_correction_keeps_its_level_where_the_plain_test_does_not():
    """Two arms alike on average over films, compared on 15 random fifths of 60 films, 400 times over."""
    random = np.random.default_rng(3)
    rejected = {"plain": 0, "corrected": 0}
    for film in random.normal(size=(400, 60)):  # the first arm's gain on each film
        held_out = random.permuted(np.tile(np.arange(60), (15, 1)), axis=1)[:, :12]
        gain = film[held_out].mean(1)
        rejected["plain"] += comparison.paired_t(gain, np.zeros(15)).p_value < 0.05
        rejected["corrected"] += comparison.corrected_t(gain, np.zeros(15), 12 / 48).p_value < 0.05
    assert rejected["plain"] / 400 > 0.25
    assert rejected["corrected"] / 400 < 0.08


def test_folds_without_variance_are_not_tested():
    same = comparison.paired_t([0.1, 0.2, 0.3], [0.0, 0.1, 0.2])
    assert np.isnan(same.p_value)
    assert "no variance" in same.difference.note
    assert same.difference.value == pytest.approx(0.1)
    assert np.isnan(comparison.student_t([1, 1], [1, 1]).t)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: comparison.paired_t([1, 2], [1, 2, 3]),
        lambda: comparison.student_t([1], [1, 2]),
        lambda: comparison.student_t([1, np.nan], [1, 2]),
        lambda: comparison.corrected_t([1, 2], [2, 2], 0),
        lambda: comparison.holm([1.2]),
    ],
)
def test_what_cannot_be_tested_is_refused(wrong):
    with pytest.raises(EvaluationError):
        wrong()


def test_holm_by_hand_and_what_could_not_be_tested():
    np.testing.assert_allclose(
        comparison.holm([0.01, 0.04, np.nan, 0.03, 0.005]), [0.03, 0.06, np.nan, 0.06, 0.02]
    )
    assert comparison.holm([]).shape == (0,)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=8), st.floats(0.001, 0.5))
def test_holm_rejects_what_stepping_down_rejects(p_values, level):
    rejected, order = set(), np.argsort(p_values, kind="stable")
    for step, i in enumerate(order):
        if p_values[i] * (len(p_values) - step) >= level:
            break
        rejected.add(int(i))
    assert rejected == set(np.flatnonzero(comparison.holm(p_values) < level).tolist())
