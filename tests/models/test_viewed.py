"""Test-time augmentation of a detector: one plain view is the detector, others find the same place."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from hilum.models import build
from hilum.models.contract import Detector
from hilum.models.viewed import PLAIN, View, Viewed, published_views


class Brightest(Detector):
    """One box around whatever is bright, scored by how bright it is; each size of input that it met is noted."""

    strides, channels, input_size, mean, std = (8, 32), 1, (96, 128), (0.0,), (1.0,)

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[int, ...]] = []

    def forward(self, images: Tensor) -> list[Tensor]:
        return [images]

    def boxes(self, maps: list[Tensor]) -> tuple[Tensor, Tensor]:
        (images,) = maps
        self.seen.append(tuple(images.shape[-2:]))
        found = []
        for image in images[:, 0]:
            ys, xs = torch.nonzero(image > 0.5, as_tuple=True)
            found.append(torch.stack([xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]).float())
        return torch.stack(found)[:, None], images.flatten(1).max(1).values[:, None, None]

    def detect(self, images: Tensor) -> tuple[Tensor, Tensor]:
        return self.boxes(self.forward(images))

    def encoder_parameters(self) -> Iterator[nn.Parameter]:
        return iter(())


def bright(x1: int, y1: int, x2: int, y2: int) -> Tensor:
    image = torch.zeros(1, 1, 96, 128)
    image[..., y1:y2, x1:x2] = 1
    return image


def test_one_plain_view_is_the_detector_itself():
    torch.manual_seed(0)
    model = build("yolov5", outputs=2, scale="n").eval()
    images = torch.rand(2, 1, 64, 96)
    with torch.inference_mode():
        boxes, scores = model.detect(images)
        same, alike = Viewed(model, PLAIN).detect(images)
        thrice, _ = Viewed(model, published_views()).detect(images)
    assert torch.equal(boxes, same)
    assert torch.equal(scores, alike)
    assert torch.equal(thrice[:, : boxes.shape[1]], boxes)
    assert thrice.shape[1] > 2 * boxes.shape[1] * 0.6


@pytest.mark.parametrize("view", [View(), View(0.5), View(1, True), View(0.75, True), View(1.5)])
def test_every_view_finds_the_same_place_in_the_images_own_pixels(view: View):
    model = Brightest()
    image = bright(16, 24, 48, 72)
    boxes, scores = Viewed(model, (view,)).detect(image)
    assert boxes.shape == (1, 1, 4)
    assert torch.allclose(boxes[0, 0], torch.tensor([16.0, 24, 48, 72]), atol=2.1)
    assert scores.item() == pytest.approx(1, abs=0.01)


def test_the_published_views_are_three_scales_with_sides_that_the_strides_divide():
    assert published_views() == (View(1), View(0.83), View(0.67))
    assert published_views(flip=True) == (View(1), View(0.83, True), View(0.67))
    model = Brightest()
    image = torch.nn.functional.interpolate(bright(0, 0, 60, 60), (640, 640))
    boxes, _ = Viewed(model, published_views(flip=True)).detect(image)
    assert model.seen == [(640, 640), (544, 544), (416, 416)]
    assert boxes.shape == (1, 3, 4)
    assert torch.allclose(boxes[0, 0], boxes[0, 2], atol=2)
    assert torch.allclose(boxes[0, 0], boxes[0, 1], atol=2)
