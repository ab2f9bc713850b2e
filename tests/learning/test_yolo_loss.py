"""The loss is that of PyPI's yolov5 7.0.14: numbers that it gave on the same random input, to seven digits."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from hilum.learning.yolo_loss import Gains, assign, complete_iou, yolo_loss
from hilum.models.yolov5 import COCO_ANCHORS, STRIDES

ANCHORS = torch.tensor(COCO_ANCHORS, dtype=torch.float32) / torch.tensor(STRIDES).view(-1, 1, 1)
# (classes, seed, smoothing): the loss, its parts, and the sum of absolute gradients of each map, as the package gave them.
PUBLISHED = {
    (14, 0, 0.0): (
        1.8354785442352295,
        (0.13033466041088104, 0.2724672555923462, 0.20902422070503235),
        (0.5544731616973877, 0.26938197016716003, 0.19436025619506836),
    ),
    (2, 1, 0.1): (
        1.3001614809036255,
        (0.1320352703332901, 0.2710079550743103, 0.03034396283328533),
        (0.43835851550102234, 0.15529201924800873, 0.10248718410730362),
    ),
    (1, 2, 0.0): (
        1.2252955436706543,
        (0.13823829591274261, 0.27019354701042175, 0.0),
        (0.4157694876194, 0.14074432849884033, 0.06368812173604965),
    ),
}


def case(classes: int, seed: int) -> tuple[list[torch.Tensor], torch.Tensor]:
    """Random maps of three images of 128 x 160 pixels and thirty boxes on two of them."""
    chance = np.random.RandomState(seed)  # the sequence that the package was given
    maps = [
        torch.tensor(
            chance.randn(3, 3, 128 // s, 160 // s, 5 + classes).astype("float32"), requires_grad=True
        )
        for s in STRIDES
    ]
    centre = chance.rand(30, 2) * [160, 128]
    size = np.exp(chance.rand(30, 2) * 3.5 + 1.2)
    rows = np.column_stack([chance.randint(0, 2, 30), chance.randint(0, classes, 30), centre, size])
    return maps, torch.tensor(rows.astype("float32"))


@pytest.mark.parametrize(("classes", "seed", "smoothing"), PUBLISHED)
def test_loss_and_gradients_are_the_published_ones(classes, seed, smoothing):
    maps, truth = case(classes, seed)
    loss, parts = yolo_loss(maps, truth, ANCHORS, STRIDES, Gains(smoothing=smoothing).scaled(classes, 160))
    loss.backward()
    wanted, each, gradients = PUBLISHED[classes, seed, smoothing]
    assert loss.item() == pytest.approx(wanted, rel=1e-5)
    assert [part.item() for part in parts.values()] == pytest.approx(each, rel=1e-5)
    assert [float(m.grad.abs().sum()) for m in maps] == pytest.approx(gradients, rel=1e-4)


def test_images_without_boxes_learn_that_there_is_nothing():
    maps, truth = case(3, 0)
    loss, parts = yolo_loss(maps, truth[:0], ANCHORS, STRIDES, Gains())
    assert parts["box"].item() == parts["classes"].item() == 0
    loss.backward()
    for values in maps:
        assert (values.grad[..., 4] > 0).all()
        assert not values.grad[..., :4].any()


def test_a_box_is_learnt_by_its_cell_and_the_two_nearest():
    truth = torch.tensor([[1.0, 2.0, 43.0, 30.0, 40.0, 60.0]])  # at stride 16: cell 2.69, 1.88
    found = assign(truth, ANCHORS[1], 16, (2, 3, 8, 10), 4.0)
    cells = set(zip(found.column.tolist(), found.row.tolist(), strict=True))
    assert cells == {(2, 1), (3, 1), (2, 2)}
    assert set(found.anchor.tolist()) == {0, 1, 2}
    assert set(found.image.tolist()) == {1}
    assert set(found.classes.tolist()) == {2}
    centre = found.box[:, :2] + torch.stack((found.column, found.row), 1)
    assert torch.allclose(centre, torch.tensor([43 / 16, 30 / 16]).expand_as(centre), atol=1e-5)
    assert len(assign(truth, ANCHORS[1] * 20, 16, (2, 3, 8, 10), 4.0).image) == 0


@pytest.mark.parametrize("seed", range(5))
def test_complete_iou_is_the_papers_equation(seed):
    chance = np.random.default_rng(seed)
    a, b = chance.uniform(5, 30, (2, 4))
    (ax, ay, aw, ah), (bx, by, bw, bh) = a, b
    wide = max(0.0, min(ax + aw / 2, bx + bw / 2) - max(ax - aw / 2, bx - bw / 2))
    high = max(0.0, min(ay + ah / 2, by + bh / 2) - max(ay - ah / 2, by - bh / 2))
    iou = wide * high / (aw * ah + bw * bh - wide * high)
    c = (max(ax + aw / 2, bx + bw / 2) - min(ax - aw / 2, bx - bw / 2)) ** 2
    c += (max(ay + ah / 2, by + bh / 2) - min(ay - ah / 2, by - bh / 2)) ** 2
    v = 4 / math.pi**2 * (math.atan(bw / bh) - math.atan(aw / ah)) ** 2
    wanted = iou - ((ax - bx) ** 2 + (ay - by) ** 2) / c - v * v / (1 - iou + v)
    found = complete_iou(torch.tensor(a)[None], torch.tensor(b)[None])
    assert found.item() == pytest.approx(wanted, abs=1e-5)
    assert complete_iou(torch.tensor(a)[None], torch.tensor(a)[None]).item() == pytest.approx(1, abs=1e-5)
