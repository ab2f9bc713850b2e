"""Score-CAM, held to pytorch-grad-cam and to its algorithm feature by feature."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from hilum.analysis.heatmaps import on_film
from hilum.analysis.score_cam import score_cam
from hilum.images.preparation import Preparation
from tests.analysis.test_heatmaps import Rectified


def film():
    return torch.randn(1, 1, 24, 32, generator=torch.Generator().manual_seed(5))


def ours(model, **options):
    images = film()
    return score_cam(images, model.feature_map(images), model, **options)


def test_maps_are_those_of_pytorch_grad_cam(monkeypatch):
    theirs = pytest.importorskip("pytorch_grad_cam", reason="grad-cam is not installed")
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    # Theirs takes the first and last cell of a feature to be the film's first and last pixel; a cell covers an area.
    monkeypatch.setattr(
        torch.nn, "UpsamplingBilinear2d", lambda size: nn.Upsample(size=size, mode="bilinear")
    )
    model = Rectified()
    place = Preparation(size=(24, 32), aspect="squash").place((24, 32))
    maps = on_film(ours(model), place)
    assert len(maps) == 14
    with theirs.ScoreCAM(model=model, target_layers=[model.body]) as judge:
        for label in (0, 5, 13):
            wanted = judge(film(), [ClassifierOutputTarget(label)])[0]
            stretched = (maps[label] - maps[label].min()) / max(np.ptp(maps[label]), 1e-7)
            np.testing.assert_allclose(stretched, wanted, atol=1e-4)
            assert wanted.max() > 0.5


@torch.no_grad()
def test_feature_by_feature():
    model, images = Rectified(8), film()
    features = model.feature_map(images)[0]
    scores = []
    for feature in features:
        large = F.interpolate(feature[None, None], (24, 32), mode="bilinear")[0, 0]
        mask = (large - large.min()) / (large.max() - large.min() + 1e-8)
        scores.append(model(images * mask)[0] - model(images * 0)[0])  # the increase of equation 5
    weights = torch.stack(scores).softmax(0)
    wanted = torch.einsum("fhw,fl->lhw", features, weights)
    for batch in (1, 3, 100):
        torch.testing.assert_close(ours(model, batch=batch), wanted, rtol=1e-4, atol=1e-6)


@torch.no_grad()
def test_fewer_features_are_those_that_vary_most():
    model, images = Rectified(), film()
    features = model.feature_map(images)
    features[0, :5] = features[0, :5].mean((1, 2), keepdim=True)  # these five are the same everywhere
    asked = []

    def logits(masked):
        asked.append(len(masked))
        return model(masked)

    found = score_cam(images, features, logits, channels=3, batch=2)
    assert asked == [2, 1]
    torch.testing.assert_close(found, score_cam(images, features[:, 5:], model))
    torch.testing.assert_close(score_cam(images, features, model, channels=8), ours_of(features, model))


def ours_of(features, model):
    return score_cam(film(), features, model)
