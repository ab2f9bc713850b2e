"""Class activation maps, held to the logit they sum to, to the gradient that they are, and to where they must lie."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch

from hilum.analysis.heatmaps import LONGEST, class_activation, heatmap_on_film, heatmaps, lung_shares, reduced
from hilum.images.preparation import Preparation
from hilum.models.heads import hidden_head
from tests.bundles_for_tests import classifier_bundle


@pytest.fixture(scope="module")
def features_and_head():
    model = classifier_bundle().model
    features = model.feature_map(torch.randn(2, 1, 96, 64, generator=torch.Generator().manual_seed(2)))
    return model, features.detach().requires_grad_()


def test_the_mean_of_a_map_and_the_bias_are_the_logit(features_and_head):
    model, features = features_and_head
    maps = class_activation(features, model.linear_head().weight)
    assert maps.shape == (2, 3, *features.shape[-2:])
    logits = model.head(model.pool(features))
    assert torch.allclose(maps.mean((2, 3)) + model.linear_head().bias, logits, atol=1e-5)


def test_maps_are_those_of_grad_cam(features_and_head):
    """For a linear head on pooled features Grad-CAM (Selvaraju 2017, section 3.1) is CAM divided by the number of cells."""
    model, features = features_and_head
    maps = class_activation(features, model.linear_head().weight)
    for label in range(3):
        score = model.head(model.pool(features))[:, label].sum()
        (gradient,) = torch.autograd.grad(score, features)
        alpha = gradient.mean((2, 3), keepdim=True)
        grad_cam = (alpha * features).sum(1)
        cells = features.shape[-2] * features.shape[-1]
        assert torch.allclose(grad_cam * cells, maps[:, label], atol=1e-4)


@pytest.mark.parametrize("hidden", [None, 8])
def test_maps_of_any_head_are_those_of_grad_cam_through_the_whole_model(hidden):
    """The gradient taken through pooling to the map itself, as for a network of which nothing is known."""
    model = classifier_bundle().model
    if hidden:
        model.head = hidden_head(model.features, hidden, 3, dropout=0.3).eval()
    features = model.feature_map(torch.randn(1, 1, 96, 64, generator=torch.Generator().manual_seed(2)))
    features = features.detach().requires_grad_()
    with torch.inference_mode():
        maps = class_activation(features, model.class_weights(model.pool(features)))
    for label in range(3):
        (gradient,) = torch.autograd.grad(model.head(model.pool(features))[0, label], features)
        alpha = gradient.sum((2, 3), keepdim=True)  # the mean that Grad-CAM takes, times the number of cells
        assert torch.allclose((alpha * features).sum(1), maps[:, label], atol=1e-5)


def one_hot_maps(
    hot: tuple[int, int], grid: tuple[int, int], preparation: Preparation, source: tuple[int, int]
):
    features = torch.zeros(1, 2, *grid)
    features[0, 0, hot[0], hot[1]] = 3.0
    linear = torch.nn.Linear(2, 3)
    with torch.no_grad():
        linear.weight.copy_(torch.tensor([[1.0, 0.0], [-1.0, 0.0], [2.0, 1.0]]))
    with torch.no_grad():
        return heatmaps(features, linear.weight, preparation.place(source))


@pytest.mark.parametrize("aspect", ["squash", "pad", "crop"])
@pytest.mark.parametrize("source", [(2000, 1200), (1200, 2000), (90, 64)])
def test_a_hot_cell_lands_where_it_lies_on_the_film(aspect, source):
    preparation = Preparation(size=(128, 128), aspect=aspect)
    place = preparation.place(source)
    maps = one_hot_maps((3, 4), (8, 8), preparation, source)
    height, width = maps[0].shape
    assert max(height, width) == min(LONGEST, max(source))
    assert height / width == pytest.approx(source[0] / source[1], rel=0.01)
    centre = place.boxes_to_source(np.array([[4.5 * 16, 3.5 * 16, 4.5 * 16, 3.5 * 16]]))[0]
    y, x = np.unravel_index(cv2.GaussianBlur(maps[0], (0, 0), 3).argmax(), maps[0].shape)
    assert (x + 0.5) / width * source[1] == pytest.approx(centre[0], abs=0.02 * source[1])
    assert (y + 0.5) / height * source[0] == pytest.approx(centre[1], abs=0.02 * source[0])


def test_values_lie_in_0_to_1_and_negative_evidence_is_none():
    first, negative, third = one_hot_maps((3, 4), (8, 8), Preparation(size=(128, 128)), (512, 512))
    assert first.dtype == np.float32
    assert 0.9 < first.max() <= 1
    assert first.min() == 0
    assert not negative.any()
    np.testing.assert_allclose(third, first, atol=1e-6)


def test_what_the_preparation_cut_away_holds_no_heat():
    """Of a film of 100 x 200 the square crop keeps columns 50 to 150; a hot cell at its edge must not smear outside."""
    preparation = Preparation(size=(64, 64), aspect="crop")
    heat = one_hot_maps((4, 0), (8, 8), preparation, (100, 200))[0]
    assert heat[:, 50:60].max() > 0.5
    assert not heat[:, :49].any()
    assert not heat[:, 151:].any()


def test_a_kept_map_enlarges_to_the_map_of_the_whole_film():
    preparation = Preparation(size=(128, 128), aspect="pad")
    source = (1003, 777)
    rng = np.random.default_rng(0)
    values = cv2.GaussianBlur(rng.random((8, 8)).astype(np.float32), (0, 0), 1)
    direct = preparation.place(source).map_to_source(values)
    kept = reduced(preparation.place(source)).map_to_source(values)
    assert np.abs(heatmap_on_film(kept, source) - direct).max() < 0.01


@pytest.mark.parametrize("resolution", [1, 5])
def test_lung_share_is_the_share_of_energy(resolution):
    heat = np.zeros((40, 60), np.float32)
    heat[10:20, 10:20] = 0.5
    heat[30:35, 40:50] = 1.0
    lungs = np.zeros((40, 60), np.uint8)
    lungs[:, :15] = 1
    lungs = np.kron(lungs, np.ones((resolution, resolution), np.uint8))
    assert lung_shares([heat, np.zeros_like(heat), heat], lungs) == [
        pytest.approx(25 / 100),
        None,
        pytest.approx(25 / 100),
    ]
    assert lung_shares([heat], np.ones_like(lungs)) == [pytest.approx(1)]
    assert lung_shares([heat], np.zeros_like(lungs)) == [0]
    assert lung_shares([], lungs) == []
