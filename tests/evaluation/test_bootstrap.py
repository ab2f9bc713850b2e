from __future__ import annotations

import numpy as np
import pytest

from hilum.evaluation import bootstrap


def test_patients_are_drawn_whole_and_as_often_as_there_are():
    patients = np.array([3, 3, 1, 9, 9, 9])
    weights = np.concatenate(list(bootstrap.replicate_weights(6, patients, 50)))
    assert weights.shape == (50, 6)
    assert np.all(weights[:, 0] == weights[:, 1])
    assert np.all(weights[:, 3:] == weights[:, 3:4])
    np.testing.assert_array_equal(weights[:, [0, 2, 3]].sum(1), 3)


def test_blocks_do_not_change_what_is_drawn(monkeypatch):
    whole = np.concatenate(list(bootstrap.replicate_weights(10, None, 30, seed=4)))
    monkeypatch.setattr(bootstrap, "_BLOCK_VALUES", 70)
    np.testing.assert_array_equal(
        np.concatenate(list(bootstrap.replicate_weights(10, None, 30, seed=4))), whole
    )


def test_any_statistic_and_its_weighted_twin_agree_and_repeat_by_seed():
    values = np.random.default_rng(0).normal(size=60)
    patients = np.arange(60) // 3
    slow = bootstrap.bootstrap(lambda films: values[films].mean(), 60, patients, replicates=200, seed=1)
    drawn = bootstrap.bootstrap_weighted(
        lambda w: w @ values / w.sum(1), 60, patients, replicates=200, seed=1
    )
    fast = bootstrap.percentile_estimate(float(values.mean()), drawn, 60, by_patient=True)
    assert (slow.value, slow.low, slow.high) == pytest.approx((fast.value, fast.low, fast.high))
    assert slow.method == "bootstrap by patient"
    other = bootstrap.bootstrap(lambda films: values[films].mean(), 60, patients, replicates=200, seed=2)
    assert other.low != slow.low


def test_interval_of_clustered_films_covers_as_often_as_it_says():
    random = np.random.default_rng(7)
    patients = np.repeat(np.arange(60), 4)
    by_patient = by_film = 0
    for seed in range(200):
        values = random.normal(size=60)[patients] + 0.5 * random.normal(size=240)
        for groups in (patients, None):
            drawn = bootstrap.bootstrap_weighted(
                lambda w, v=values: w @ v / w.sum(1), 240, groups, replicates=300, seed=seed
            )
            low, high = np.quantile(drawn, [0.025, 0.975])
            if groups is None:
                by_film += low <= 0 <= high
            else:
                by_patient += low <= 0 <= high
    assert 0.89 <= by_patient / 200 <= 0.99
    assert by_film / 200 < 0.85


def test_undefined_replicates_are_counted_and_said():
    def share(films):
        return float("nan") if 0 not in films else 1.0 + films.mean()

    estimate = bootstrap.bootstrap(share, 10, replicates=100)
    assert "of 100 replicates undefined" in estimate.note
    assert estimate.low <= estimate.high
    rare = bootstrap.percentile_estimate(0.5, [np.nan] * 60 + [0.5] * 40, 10)
    assert np.isnan(rare.low)
    assert rare.note.startswith("60 of 100")
    assert not bootstrap.percentile_estimate(np.nan, [0.1, 0.2], 10).defined


def test_centred_replicates_keep_their_estimate_inside():
    drawn = np.array([0.05, 0.06, 0.07, 0.08, 0.09])
    shifted = bootstrap.centred(0.02, drawn)
    np.testing.assert_allclose(shifted, [0.0, 0.01, 0.02, 0.03, 0.04], atol=1e-12)


def test_the_mean_over_patients_is_that_of_a_loop_over_draws():
    random = np.random.default_rng(3)
    values = random.random(20)
    values[[2, 7, 8]] = np.nan
    patients = np.repeat(np.arange(7), 3)[:20]  # patient 2 has films 6 to 8, of which one is known
    of = [np.nanmean(values[patients == p]) for p in range(7)]
    found = bootstrap.mean_over_patients(values, patients, replicates=60, seed=5)
    draws = np.concatenate(list(bootstrap.cluster_draws(7, 60, 5, 60)))
    means = [np.mean(np.repeat(of, times)) for times in draws]
    assert found.value == pytest.approx(np.mean(of))
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile(means, [0.025, 0.975])))
    assert (found.n, found.note) == (17, "3 films without a value left out")
