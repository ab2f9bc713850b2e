"""Test-time augmentation: a detector made of a detector, which sees each image in several views and gives all candidates."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from hilum.models.contract import Detector


@dataclass(frozen=True)
class View:
    """The image at `scale` times its sides, mirrored left to right where `flipped`."""

    scale: float = 1.0
    flipped: bool = False


PLAIN = (View(),)
SCALES = (1.0, 0.83, 0.67)


def published_views(flip: bool = False) -> tuple[View, ...]:
    """The views of YOLOv5's test-time augmentation (Jocher et al. 2020, `forward_augment`): three scales, the middle one
    mirrored. `flip`: off by default here, for a mirrored chest has its heart on the right and its left lung where a right
    one belongs.
    """
    return tuple(View(scale, flip and number == 1) for number, scale in enumerate(SCALES))


class Viewed(Detector):
    """`model` on several views of each image; candidates of all views stand one after the other, in the image's own pixels.

    Sides are rounded to a multiple of the largest stride (of 640 pixels 544 and 416 for 0.83 and 0.67), where the published
    code pads to one; and it drops the coarsest map of the first view and the finest of the last, which asks for a network's
    own maps. `hilum.boxes.select` makes one box of candidates that overlap, as for a single view. With `PLAIN` alone it is
    `model` itself.
    """

    def __init__(self, model: Detector, views: Sequence[View]) -> None:
        super().__init__()
        self.model, self.views = model, tuple(views)
        self.strides, self.channels, self.input_size = model.strides, model.channels, model.input_size
        self.mean, self.std, self.backbones = model.mean, model.std, model.backbones
        self.distinct = model.distinct and len(self.views) == 1
        self.eval()

    def forward(self, images: Tensor) -> list[Tensor]:
        """Of the whole image alone: maps of other views lie on other grids."""
        return self.model.forward(images)

    def boxes(self, maps: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Of the whole image alone."""
        return self.model.boxes(maps)

    def detect(self, images: Tensor) -> tuple[Tensor, Tensor]:
        found = [self._seen(images, view) for view in self.views]
        return torch.cat([boxes for boxes, _ in found], 1), torch.cat([scores for _, scores in found], 1)

    def encoder_parameters(self) -> Iterator[torch.nn.Parameter]:
        return self.model.encoder_parameters()

    def _seen(self, images: Tensor, view: View) -> tuple[Tensor, Tensor]:
        height, width = images.shape[-2:]
        size = (self._side(height, view.scale), self._side(width, view.scale))
        seen = images
        if size != (height, width):
            seen = F.interpolate(images, size, mode="bilinear", align_corners=False)
        if view.flipped:
            seen = seen.flip(-1)
        boxes, scores = self.model.detect(seen)
        x1, y1, x2, y2 = boxes.unbind(-1)
        if view.flipped:
            x1, x2 = size[1] - x2, size[1] - x1
        across, down = width / size[1], height / size[0]
        return torch.stack((x1 * across, y1 * down, x2 * across, y2 * down), -1), scores

    def _side(self, side: int, scale: float) -> int:
        if scale == 1:
            return side
        stride = max(self.strides)
        return max(stride, round(side * scale / stride) * stride)
