from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics

from hilum.errors import EvaluationError
from hilum.evaluation import thresholds
from tests.evaluation.samples import labelled


def rates(truth, scores, cut):
    called = scores >= cut
    return called[truth == 1].mean(), 1 - called[truth == 0].mean()


def test_youden_is_the_best_of_all_cuts():
    truth, scores, _ = labelled(200, 1)
    truth, scores = truth[:, 0], scores[:, 0]
    chosen = thresholds.youden(truth, scores)
    x, y, _ = metrics.roc_curve(truth, scores)
    sensitivity, specificity = rates(truth, scores, chosen.value)
    assert sensitivity + specificity - 1 == pytest.approx((y - x).max())
    assert (sensitivity, specificity) == pytest.approx((chosen.sensitivity, chosen.specificity))
    assert chosen.rule == "youden"


@pytest.mark.parametrize("beta", [1.0, 2.0])
def test_fbeta_is_the_best_of_all_cuts(beta):
    truth, scores, _ = labelled(200, 1)
    truth, scores = truth[:, 0], scores[:, 0]
    chosen = thresholds.max_fbeta(truth, scores, beta)
    best = max(metrics.fbeta_score(truth, scores >= cut, beta=beta) for cut in np.unique(scores))
    assert metrics.fbeta_score(truth, scores >= chosen.value, beta=beta) == pytest.approx(best)
    assert chosen.rule == f"f{beta:g}"


_films = st.lists(st.tuples(st.booleans(), st.floats(0, 1, width=32)), min_size=12, max_size=60).filter(
    lambda films: 5 <= sum(label for label, _ in films) < len(films)
)


@settings(max_examples=60, deadline=None)
@given(films=_films, target=st.sampled_from([0.5, 0.8, 0.9, 0.95, 1.0]))
def test_target_sensitivity_is_met_at_the_best_specificity(films, target):
    truth = np.array([label for label, _ in films], float)
    scores = np.array([score for _, score in films], np.float32)
    chosen = thresholds.target_sensitivity(truth, scores, target)
    sensitivity, specificity = rates(truth, scores, chosen.value)
    assert sensitivity >= target
    assert (sensitivity, specificity) == pytest.approx((chosen.sensitivity, chosen.specificity))
    possible = [rates(truth, scores, cut) for cut in np.unique(scores)]
    assert specificity == pytest.approx(max(s for r, s in possible if r >= target))


@pytest.mark.parametrize(
    ("rule", "named"),
    [("youden", "youden"), ("f1", "f1"), ("f2", "f2"), ("sensitivity 0.9", "sensitivity 0.9")],
)
def test_each_label_gets_its_own_by_name_and_leaves_unknowns_out(rule, named):
    truth, scores, _ = labelled(300, 2, unknown=0.2)
    chosen = thresholds.choose_thresholds(truth, scores, rule)
    assert [t.rule for t in chosen] == [named] * 2
    known = ~np.isnan(truth[:, 1])
    alone = thresholds.choose_thresholds(truth[known, 1], scores[known, 1], rule)[0]
    assert chosen[1] == alone
    np.testing.assert_array_equal(thresholds.threshold_values(chosen), [t.value for t in chosen])


def test_few_positives_take_the_documented_fallback_and_say_so():
    scores = np.arange(100) / 100
    truth = np.zeros(100)
    truth[[50, 97]] = 1
    chosen = thresholds.youden(truth, scores)
    assert chosen.rule == "specificity 0.9"
    assert "2 positives" in chosen.note
    sensitivity, specificity = rates(truth, scores, chosen.value)
    assert specificity >= 0.9
    assert sensitivity == chosen.sensitivity == 0.5
    none = thresholds.youden(np.zeros(100), scores)
    assert 0.89 < none.value < 0.91
    assert np.isnan(none.sensitivity)
    crowded = thresholds.youden(np.zeros(10), np.full(10, 0.3))
    assert crowded.value > 0.3
    assert crowded.specificity == 1


def test_nothing_to_choose_from_is_nan_never_a_half():
    for truth in (np.ones(9), np.full(9, np.nan)):
        chosen = thresholds.youden(truth, np.linspace(0, 1, 9))
        assert np.isnan(chosen.value)
        assert chosen.note


def test_goes_through_json_and_back():
    truth, scores, _ = labelled(100, 1)
    chosen = thresholds.youden(truth, scores)
    assert thresholds.Threshold.from_dict(json.loads(json.dumps(chosen.as_dict()))) == chosen
    empty = thresholds.youden(np.ones(9), np.ones(9))
    assert json.loads(json.dumps(empty.as_dict(), allow_nan=False))["value"] is None
    assert np.isnan(thresholds.Threshold.from_dict(empty.as_dict()).value)


@pytest.mark.parametrize("rule", ["best", "sensitivity", "f", "sensitivity 1.5"])
def test_unknown_rules_are_refused(rule):
    truth, scores, _ = labelled(60, 1)
    with pytest.raises(EvaluationError):
        thresholds.choose_thresholds(truth, scores, rule)
