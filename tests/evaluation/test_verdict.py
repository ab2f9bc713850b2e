from __future__ import annotations

import json

import numpy as np
import pytest

from hilum.errors import EvaluationError
from hilum.evaluation import comparison, delong, verdict
from hilum.evaluation.mcnemar import mcnemar
from tests.evaluation.samples import labelled
from tests.evaluation.test_comparison import HYBRID, MOBILENET, RESNET


def test_the_papers_arms_in_words():
    arms = {"hybrid": HYBRID[0], "MobileNet": MOBILENET[0], "ResNet50": RESNET[0]}
    mobile, resnet = verdict.compare_folds(arms, "hybrid", 1 / 4)
    assert mobile.words() == (
        "hybrid − MobileNet: accuracy 1.09 (95 % -3.31 to 5.49, corrected resampled t); corrected resampled t "
        "p = 0.529, paired t p = 0.360, two-sample Student t p = 0.249; Holm over 2 p = 0.529. Not shown to "
        "differ; nor shown to be equal: a difference from -3.31 to 5.49 fits the data. Folds share training "
        "films, so the uncorrected t-tests are too sure of themselves; the corrected one decides."
    )
    assert not mobile.shown
    assert resnet.shown
    assert "Shown to differ: hybrid is higher" in resnet.words()
    assert resnet.adjusted == pytest.approx(2 * comparison.corrected_t(HYBRID[0], RESNET[0], 1 / 4).p_value)


def test_a_worse_arm_is_called_worse():
    worse, _ = verdict.compare_folds({"a": RESNET[1], "b": HYBRID[1], "c": RESNET[0]}, "a", 1 / 4)
    assert "b is higher" in worse.words()


def test_seeds_speak_of_seeds():
    scores = {"fused": [0.71, 0.73, 0.72], "single": [0.70, 0.71, 0.69]}
    (found,) = verdict.compare_seeds(scores, "fused")
    assert found.deciding == "paired t"
    assert found.comparisons == 1
    assert "Holm" not in found.words()
    assert found.words().endswith("not about other films.")


def test_films_are_compared_by_the_tests_of_their_own_modules():
    truth, scores, patients = labelled(200, 3)
    arms = {"a": scores, "b": scores**2, "c": np.random.default_rng(0).random(scores.shape)}
    same, chance = verdict.compare_macro_aucs(truth, arms, "a", patients)
    expected = delong.compare_macro_auc(truth, scores, arms["c"], patients)
    assert chance.adjusted == expected.p_value
    assert chance.shown
    assert "not tested: the two rank the films alike" in same.words()
    assert chance.comparisons == 1
    right = {name: (values[:, 0] > 0.4) == truth[:, 0] for name, values in arms.items()}
    calls = verdict.compare_accuracies(right, "a", patients)
    assert calls[1].p_values["McNemar by patient exact"] == mcnemar(right["a"], right["c"], patients).p_exact
    text = json.loads(json.dumps([v.as_dict() for v in (same, *calls)], allow_nan=False))
    assert text[0]["adjusted"] is None
    assert text[1]["comparisons"] == 2


def test_an_arm_that_is_not_there_is_refused():
    with pytest.raises(EvaluationError):
        verdict.compare_seeds({"a": [1, 2], "b": [1, 3]}, "c")
