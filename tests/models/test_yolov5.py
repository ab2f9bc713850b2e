"""YOLOv5 is the published network: its counts, its names, its decoding, and weights that fit by name."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from hilum.errors import BundleError, RecipeError
from hilum.models import build
from hilum.models.describe import describe
from hilum.models.yolov5 import COCO_ANCHORS, SIZES, STRIDES, YOLOv5

PUBLISHED = {"n": 1_872_157, "s": 7_235_389, "m": 21_190_557, "l": 46_563_709, "x": 86_749_405}


LAYOUT = {
    "n": "97130ea2f1c4481c2eb2e674f96a1bd80b58471d2b1cb10243e0d5d42019bbfe",
    "s": "8c5e27a536324138875d3422d8210149684bdac44a170d3a187f39dd8824a245",
    "m": "aefc7ef286ac2b809b492c680678a6008666962b303554e70c8be307287d2a33",
    "l": "7322f2ebef4b27905ca3ce2ef6c3a811b08d5c09f2f024dd42f798d60c913b60",
    "x": "7b95717912edcb9e1838ac07de3fcc9ffc4182da55ee63b91d82fa8030bd0698",
}
"""SHA-256 of the names and shapes of all tensors of PyPI's yolov5 7.0.14, a line each, sorted."""


@pytest.mark.parametrize("scale", SIZES)
def test_names_and_shapes_of_all_tensors_are_those_of_the_published_package(scale):
    with torch.device("meta"):
        tensors = YOLOv5(80, scale, channels=3).state_dict()
    lines = sorted(f"{name} {tuple(tensor.shape)}" for name, tensor in tensors.items())
    assert hashlib.sha256("\n".join(lines).encode()).hexdigest() == LAYOUT[scale]


@pytest.mark.parametrize("scale", SIZES)
def test_parameters_are_the_published_ones(scale):
    with torch.device("meta"):
        model = YOLOv5(80, scale, channels=3)
    assert sum(p.numel() for p in model.parameters()) == PUBLISHED[scale]


def test_candidates_are_decoded_as_published():
    model = YOLOv5(2, "n").eval()
    maps = [
        torch.randn(1, 3, 64 // s, 96 // s, 7, generator=torch.Generator().manual_seed(s)) for s in STRIDES
    ]
    found = model.decode(maps)[0].numpy()
    row = 0
    for values, anchors, stride in zip(maps, COCO_ANCHORS, STRIDES, strict=True):
        p = 1 / (1 + np.exp(-values[0].double().numpy()))
        for a, y, x in np.ndindex(*p.shape[:3]):
            t = p[a, y, x]
            wanted = [
                (2 * t[0] - 0.5 + x) * stride,
                (2 * t[1] - 0.5 + y) * stride,
                (2 * t[2]) ** 2 * anchors[a][0],
                (2 * t[3]) ** 2 * anchors[a][1],
                *t[4:],
            ]
            np.testing.assert_allclose(found[row], wanted, rtol=1e-4, atol=1e-4)
            row += 1
    assert row == len(found)


@torch.no_grad()
def test_boxes_are_corners_and_scores_objectness_times_class():
    model = YOLOv5(3, "n").eval()
    x = torch.rand(1, 1, 64, 64)
    boxes, scores = model.detect(x)
    found = model.decode(model(x))
    assert torch.allclose((boxes[..., :2] + boxes[..., 2:]) / 2, found[..., :2], atol=1e-3)
    assert torch.allclose(boxes[..., 2:] - boxes[..., :2], found[..., 2:4], atol=1e-3)
    assert torch.allclose(scores, found[..., 4:5] * found[..., 5:])


@torch.no_grad()
def test_weights_for_colour_serve_grey_films_and_other_classes(tmp_path):
    torch.manual_seed(1)
    colour = YOLOv5(80, "n", channels=3).eval()
    path = tmp_path / "coco.safetensors"
    save_file({k: v.contiguous() for k, v in colour.state_dict().items()}, path)
    same = YOLOv5(80, "n", channels=3, pretrained=path).eval()
    x = torch.rand(1, 1, 64, 64)
    three = x.expand(-1, 3, -1, -1)
    for one, other in zip(same(three), colour(three), strict=True):
        assert torch.equal(one, other)
    grey = YOLOv5(80, "n", pretrained=path).eval()
    for one, other in zip(grey(x), colour(three), strict=True):
        assert torch.allclose(one, other, atol=1e-4)
    lungs = YOLOv5(2, "n", pretrained=path).eval()
    assert torch.equal(
        lungs.state_dict()["model.23.cv3.conv.weight"], colour.state_dict()["model.23.cv3.conv.weight"]
    )
    assert lungs(x)[0].shape[-1] == 7
    with pytest.raises(BundleError, match="do not fit"):
        YOLOv5(80, "s", pretrained=path)


def test_what_does_not_fit_is_refused():
    with pytest.raises(RecipeError, match="no YOLOv5 of scale 'tiny'"):
        build("yolov5", outputs=2, scale="tiny")
    with pytest.raises(RecipeError, match="anchors"):
        build("yolov5", outputs=2, anchors=(((10, 13),),))


def test_it_is_shown_as_a_detector():
    found = describe("yolov5", outputs=80, scale="n", channels=3)
    assert found.kind == "detector"
    assert found.parameters == PUBLISHED["n"]
    assert found.parts["head"] == sum(3 * 85 * (width + 1) for width in (64, 128, 256))
