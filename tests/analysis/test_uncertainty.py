"""MC dropout by resampling the head, held to whole passes of the network with dropout on and to known moments."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from hilum.analysis.uncertainty import film_seed, sample_head, uncertainty
from tests.bundles_for_tests import bright_bundle, classifier_bundle


@torch.no_grad()
def embedding_of(bundle, level: float = 0.6) -> torch.Tensor:
    channels = bundle.info.preparation.channels
    return bundle.model.encode(torch.full((1, channels, 64, 64), level))


@torch.no_grad()
def test_samples_of_the_head_have_the_moments_of_whole_passes_with_dropout():
    bundle = classifier_bundle()
    images = torch.randn(1, 1, 64, 64, generator=torch.Generator().manual_seed(1))
    ours = sample_head(bundle.model.head, bundle.model.encode(images), 4000, seed=3)
    bundle.model.head[0].train()
    torch.manual_seed(4)
    whole = torch.cat([bundle.model(images) for _ in range(600)])
    bundle.eval()
    standard_error = whole.std(0) / 600**0.5
    assert torch.all((ours.mean(0) - whole.mean(0)).abs() < 5 * standard_error)
    assert torch.allclose(ours.std(0), whole.std(0), rtol=0.12)


@torch.no_grad()
def test_moments_of_a_linear_head_are_the_closed_form():
    """Inverted dropout with p = 0.5 on two features e, weights w: variance p / (1 - p) * sum (w e)^2, mean the logit."""
    bundle = bright_bundle(dropout=0.5)
    embedding = embedding_of(bundle)
    logits = sample_head(bundle.model.head, embedding, 20_000, seed=0).double()
    expected = ((bundle.model.head[1].weight * embedding) ** 2).sum(1).sqrt().double()
    assert torch.allclose(logits.std(0), expected, rtol=0.02)
    assert torch.allclose(logits.mean(0), bundle.model.head(embedding)[0].double(), atol=0.05)


@torch.no_grad()
def test_the_result_is_the_moments_of_calibrated_samples():
    bundle = classifier_bundle()
    embedding = embedding_of(bundle)
    spread = uncertainty(bundle, embedding, 50, seed=9)
    drawn = bundle.probabilities(sample_head(bundle.model.head, embedding, 50, 9)).double().numpy()
    assert spread.method == "mc_dropout"
    np.testing.assert_allclose(spread.mean, drawn.mean(0))
    np.testing.assert_allclose(spread.std, drawn.std(0, ddof=1))
    np.testing.assert_allclose(spread.interval[:, 0], np.percentile(drawn, 2.5, axis=0))
    np.testing.assert_allclose(spread.interval[:, 1], np.percentile(drawn, 97.5, axis=0))


@torch.no_grad()
def test_the_deterministic_probability_lies_inside_the_interval():
    for bundle in (classifier_bundle(), classifier_bundle(group="pneumonia"), bright_bundle()):
        embedding = embedding_of(bundle)
        point = bundle.probabilities(bundle.model.head(embedding))[0].numpy()
        spread = uncertainty(bundle, embedding, 30, seed=1)
        assert np.all((spread.interval[:, 0] <= point) & (point <= spread.interval[:, 1]))


@torch.no_grad()
def test_the_same_seed_gives_the_same_numbers_whatever_was_drawn_before():
    bundle = classifier_bundle()
    embedding = embedding_of(bundle)
    torch.manual_seed(0)
    first = uncertainty(bundle, embedding, 20, seed=5)
    after = torch.rand(3)
    torch.manual_seed(0)
    assert torch.equal(torch.rand(3), after), "the global generator must stay where it was"
    second = uncertainty(bundle, embedding, 20, seed=5)
    np.testing.assert_array_equal(first.std, second.std)
    assert not np.array_equal(first.std, uncertainty(bundle, embedding, 20, seed=6).std)


def test_a_films_seed_depends_on_every_part():
    seeds = {film_seed(0, "a", "b"), film_seed(1, "a", "b"), film_seed(0, "c", "b"), film_seed(0, "a", "c")}
    assert len(seeds) == 4
    assert film_seed(0, "a", "b") == film_seed(0, "a", "b")
    assert all(0 <= s < 2**63 for s in seeds)


@torch.no_grad()
@pytest.mark.parametrize("training", [False, True])
def test_modes_and_batch_norm_statistics_are_left_alone(training):
    head = nn.Sequential(nn.BatchNorm1d(4), nn.Dropout(0.5), nn.Linear(4, 2), nn.Dropout(0.0)).train(training)
    head[0].eval()
    before = {k: v.clone() for k, v in head.state_dict().items()}
    modes = [m.training for m in head.modules()]
    sample_head(head, torch.ones(1, 4), 16, seed=0)
    assert [m.training for m in head.modules()] == modes
    assert all(torch.equal(v, before[k]) for k, v in head.state_dict().items())


def test_modes_are_restored_after_an_error():
    head = nn.Sequential(nn.Dropout(0.5), nn.Linear(4, 2)).eval()
    with pytest.raises(RuntimeError):
        sample_head(head, torch.ones(1, 5), 4, seed=0)
    assert not head[0].training


@torch.no_grad()
@pytest.mark.parametrize(("dropout", "samples"), [(0.0, 30), (0.5, 1), (0.5, 0)])
def test_without_dropout_or_samples_the_method_is_none(dropout, samples):
    bundle = bright_bundle(dropout)
    spread = uncertainty(bundle, embedding_of(bundle, 0.75), samples, seed=0)
    assert (spread.method, spread.std, spread.interval) == ("none", None, None)
    np.testing.assert_allclose(
        spread.mean, 1 / (1 + np.exp(-np.array([1, 2, 3]) * (1.5 * 0.75 - 0.75))), rtol=1e-6
    )
