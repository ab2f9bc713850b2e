from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from hilum.evaluation import auc_bootstrap, bootstrap, ranking
from tests.evaluation.samples import labelled


def by_scikit_learn(truth, scores, groups, replicates, seed):
    """The loop that everyone writes, on the same resamples."""
    areas = np.full((replicates, truth.shape[1]), np.nan)
    weights = np.concatenate(list(bootstrap.replicate_weights(len(truth), groups, replicates, seed)))
    for i, weight in enumerate(weights):
        films = np.repeat(np.arange(len(truth)), weight.astype(int))
        for j in range(truth.shape[1]):
            known = films[~np.isnan(truth[films, j])]
            if len(np.unique(truth[known, j])) == 2:
                areas[i, j] = roc_auc_score(truth[known, j], scores[known, j])
    return areas


@pytest.mark.parametrize("decimals", [1, 2, 12])
def test_every_replicate_is_scikit_learns(decimals):
    truth, scores, patients = labelled(300, 4, unknown=0.1, decimals=decimals)
    truth[:, 3] = np.where(np.arange(300) == 150, 1, 0)  # one positive: some replicates have none
    for groups in (patients, None):
        mine = auc_bootstrap.auc_replicates(truth, scores, groups, replicates=12, seed=3)
        np.testing.assert_allclose(mine, by_scikit_learn(truth, scores, groups, 12, 3), rtol=1e-12)
    assert np.isnan(mine[:, 3]).any()


def test_blocks_and_precision_change_nothing(monkeypatch):
    truth, scores, patients = labelled(200, 2)
    whole = auc_bootstrap.auc_replicates(truth, scores, patients, replicates=50)
    monkeypatch.setattr(auc_bootstrap, "_BLOCK_VALUES", 700)
    monkeypatch.setattr(auc_bootstrap, "_EXACT", 0)
    np.testing.assert_array_equal(auc_bootstrap.auc_replicates(truth, scores, patients, replicates=50), whole)


def test_estimates_are_percentiles_of_the_replicates():
    truth, scores, patients = labelled(300, 2)
    truth[:, 1] = 0
    drawn = auc_bootstrap.auc_replicates(truth, scores, patients, replicates=200)
    first, none = auc_bootstrap.bootstrap_auc(truth, scores, patients, replicates=200)
    assert first.value == ranking.auc(truth, scores)[0]
    assert (first.low, first.high) == pytest.approx(tuple(np.quantile(drawn[:, 0], [0.025, 0.975])))
    assert first.method == "bootstrap by patient"
    assert not none.defined


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from([0.0, 1.0, np.nan]), st.integers(0, 4), st.integers(0, 3)), min_size=1)
)
def test_any_films_with_any_ties(films):
    truth, scores, patients = (np.array(column, float) for column in zip(*films, strict=True))
    mine = auc_bootstrap.auc_replicates(truth, scores, patients, replicates=5)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = by_scikit_learn(truth[:, None], scores[:, None], patients, 5, 0)
    np.testing.assert_allclose(mine, expected, rtol=1e-12)
