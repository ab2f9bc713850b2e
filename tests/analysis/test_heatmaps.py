"""Class activation maps, held to the logit they sum to, to the gradient that they are, and to where they must lie."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from hilum.analysis.heatmaps import (
    LONGEST,
    Map,
    Method,
    above_threshold,
    class_activation,
    heatmap_on_film,
    heatmaps,
    lung_shares,
    plus_plus,
)
from hilum.errors import HilumError
from hilum.images.preparation import Preparation
from hilum.models import Classifier
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


def test_a_map_above_the_threshold_keeps_its_shape_and_has_heat_where_the_finding_is_called(
    features_and_head,
):
    model, features = features_and_head
    features = features[:1].detach()
    weights = model.linear_head().weight.detach()
    plain = class_activation(features, weights)[0]
    margins = torch.tensor([0.7, 1e-4, -9.0])
    moved = above_threshold(plain, margins)
    assert torch.allclose(moved.mean((1, 2)), margins, atol=1e-5)
    np.testing.assert_allclose(np.ptp((moved - plain).numpy(), axis=(1, 2)), 0, atol=1e-5)
    place = Preparation(size=(96, 64)).place((96, 64))
    found = heatmaps(features, weights, place, "cam_above_threshold", margins)
    assert [bool(m.any()) for m in found] == [True, True, bool((moved[2] > 0).any())]
    with pytest.raises(HilumError, match="want margins"):
        heatmaps(features, weights, place, "cam_above_threshold")


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


class Rectified(Classifier):
    """Convolutions whose features come out of a ReLU, as the papers take them to be, under weights far from 0.

    pytorch-grad-cam adds 1e-6 to Grad-CAM++'s denominator of squared gradients: with the head's first weights its map is
    0.01 away, and the distance falls with the square of their size.
    """

    channels, input_size, mean, std = 1, (24, 32), (0.0,), (1.0,)

    def __init__(self, hidden: int | None = None) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.body = nn.Sequential(nn.Conv2d(1, 6, 5, stride=4), nn.ReLU(), nn.Conv2d(6, 8, 3), nn.ReLU())
        self.head = hidden_head(8, hidden, 14, dropout=0.3) if hidden else nn.Linear(8, 14)
        with torch.no_grad():
            for weights in self.head.parameters():
                weights.mul_(32)
        self.eval()

    def feature_map(self, images: Tensor) -> Tensor:
        features: Tensor = self.body(images)
        return features

    def pool(self, features: Tensor) -> Tensor:
        return features.mean((2, 3))


def film_and_maps(model: Classifier, method: Method) -> tuple[Tensor, list[Map]]:
    """A prepared film and its fourteen maps from one pass, on a film of the prepared size."""
    image = torch.randn(1, 1, 24, 32, generator=torch.Generator().manual_seed(5))
    place = Preparation(size=(24, 32), aspect="squash").place((24, 32))
    with torch.inference_mode():
        features = model.feature_map(image)
        return image, heatmaps(features, model.class_weights(model.pool(features)), place, method)


@pytest.mark.parametrize("hidden", [None, 8])
def test_grad_cam_plus_plus_is_that_of_autograd(hidden):
    """Equations 7 and 19 of Chattopadhay 2018 cell by cell, in double precision, the gradient through the pooling."""
    model = Rectified(hidden).double()
    image = torch.randn(1, 1, 24, 32, generator=torch.Generator().manual_seed(5)).double()
    features = model.feature_map(image).detach().requires_grad_()
    found = class_activation(features, plus_plus(features, model.class_weights(model.pool(features))))
    for label in range(14):
        logit = model.head(model.pool(features))[0, label]
        (g,) = torch.autograd.grad(logit, features)
        wanted = torch.zeros_like(features[0, 0])
        for k in range(8):
            weight = 0.0
            for row, column in np.ndindex(*features.shape[2:]):
                cell = g[0, k, row, column]
                if cell > 0:
                    alpha = cell**2 / (2 * cell**2 + cell**3 * features[0, k].sum())
                    weight += alpha * cell  # of exp(logit), the factor exp(logit) left out
            wanted = wanted + weight * features[0, k]
        assert wanted.abs().max() > 0
        assert torch.allclose(found[0, label], wanted, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("method", ["cam", "grad_cam_plus_plus"])
@pytest.mark.parametrize("hidden", [None, 8])
def test_fourteen_maps_are_those_of_pytorch_grad_cam_in_fourteen_calls(hidden, method):
    theirs = pytest.importorskip("pytorch_grad_cam", reason="grad-cam is not installed")
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    model = Rectified(hidden)
    image, maps = film_and_maps(model, method)
    kind = theirs.GradCAM if method == "cam" else theirs.GradCAMPlusPlus
    assert len(maps) == 14
    with kind(model=model, target_layers=[model.body]) as judge:
        for label, heat in enumerate(maps):
            wanted = judge(image, [ClassifierOutputTarget(label)])[0]
            # Theirs is stretched so that its coldest point is 0, before and after it is enlarged.
            stretched = (heat - heat.min()) / max(np.ptp(heat), 1e-7)
            np.testing.assert_allclose(stretched, wanted, atol=1e-4)
    assert sum(heat.any() for heat in maps) > 7


@pytest.mark.parametrize("hidden", [None, 8])
def test_maps_are_those_of_captum(hidden):
    attr = pytest.importorskip("captum.attr", reason="captum is not installed")
    model = Rectified(hidden)
    image, maps = film_and_maps(model, "cam")
    judge = attr.LayerGradCam(model, model.body)
    for label, heat in enumerate(maps):
        wanted = judge.attribute(image, target=label, relu_attributions=True)[0, 0].detach().numpy()
        enlarged = cv2.resize(wanted / max(wanted.max(), 1e-9), (32, 24))
        np.testing.assert_allclose(heat, enlarged, atol=1e-4)


def test_features_below_0_keep_grad_cam_plus_plus_bounded_and_weights_below_0_count_as_none():
    features = torch.tensor([[[[-3.0, -1.0]], [[1.0, 3.0]], [[5.0, 5.0]]]])
    weights = torch.tensor([[1.0, 0.5, -2.0]])
    assert torch.equal(plus_plus(features, weights), torch.tensor([[1 / 2, 0.5 / (2 + 0.5 * 2), 0.0]]))


def test_a_method_that_there_is_not_is_refused():
    with pytest.raises(HilumError, match="no heatmaps by 'grad_cam'"):
        film_and_maps(Rectified(), "grad_cam")


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
    kept = preparation.place(source).reduced(LONGEST).map_to_source(values)
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
    assert lung_shares([heat], np.zeros_like(lungs)) == [None]  # no lungs: no share of them, not a share of 0
    one = np.where(np.arange(lungs.shape[1]) < lungs.shape[1] // 2, 0, 1).astype(np.uint8) * np.ones_like(
        lungs
    )
    assert lung_shares([heat], one) == [pytest.approx(50 / 100)]
    assert lung_shares([], lungs) == []
