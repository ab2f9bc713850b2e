"""Detection: boxes of classes."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from hilum.boxes import Selected, select
from hilum.boxes.select import MOST
from hilum.datasets.mosaic import mosaic
from hilum.evaluation.detection import Detections
from hilum.evaluation.detection_ap import voc_map
from hilum.learning.multi_scale import at_some_scale
from hilum.learning.tasks.task import Task
from hilum.models.contract import Detector, Taught


class Detect(Task):
    """Targets (n, k, 5): class, then x1, y1, x2, y2 in prepared pixels; rows of NaN where there is no box.

    Score: the mean average precision at an IoU above 0.4, the competition's (`evaluation.detection_ap`).
    """

    def augment(self, images: Tensor, targets: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        change = self.draw(images, generator)
        images = change.images(images)
        moved = torch.full_like(targets, math.nan)
        given = [film[~film[:, 0].isnan()] for film in targets]
        for film, (boxes, kept) in enumerate(change.boxes([each[:, 1:] for each in given])):
            moved[film, : len(kept), 0] = given[film][kept, 0]
            moved[film, : len(kept), 1:] = boxes.to(moved)
        if self.augmentation.mosaic:
            images, moved = mosaic(images, moved, self.augmentation.mosaic, generator)
        if self.phase.multi_scale:
            stride = max(_detector(self.model).strides)
            images, moved = at_some_scale(images, moved, self.phase.multi_scale, stride, generator)
        return images, moved

    def shrunk(self, images: Tensor, targets: Tensor, size: int) -> tuple[Tensor, Tensor]:
        height, width = images.shape[-2:]
        images, targets = super().shrunk(images, targets.clone(), size)
        targets[..., 1:] *= targets.new_tensor((size / width, size / height) * 2)
        return images, targets

    def taught(self, images: Tensor, targets: Tensor) -> Taught:
        found = _detector(self.model).taught(images, rows(targets))
        noisy = found.denoised
        if noisy is not None:
            noisy = replace(noisy, maps=_float(noisy.maps))
        return Taught(_float(found.maps), found.size, noisy)

    def outputs(self, model: nn.Module, images: Tensor) -> Taught:
        height, width = images.shape[-2:]
        return Taught(_float(model(images)), (height, width))

    def held(self, outputs: Any, targets: Tensor) -> Tensor:
        loss: Tensor = self.loss(_detector(self.model), outputs, rows(targets))
        return loss

    def note(self, outputs: Any, targets: Tensor) -> None:
        model = _detector(self.best_model)
        boxes, scores = (each.cpu().numpy() for each in model.boxes(outputs.maps))
        found = select(boxes, scores, iou_threshold=model.overlap)
        self._classes = scores.shape[-1]
        self._seen.append((packed(found, len(boxes)), targets.cpu()))

    def score(self, logits: Tensor, targets: Tensor) -> float:
        found = unpacked(logits)
        film, row = torch.nonzero(~targets[..., 0].isnan(), as_tuple=True)
        true = targets[film, row].double().numpy()
        value = voc_map(
            Detections(
                found.boxes, found.scores, found.film, found.kind,
                true[:, 1:], film.numpy(), true[:, 0].astype(np.int64),
                films=len(targets), classes=self._classes,
            )
        )  # fmt: skip
        return 0.0 if math.isnan(value) else value


def packed(found: Selected, films: int) -> Tensor:
    """What was found on some films as (films, MOST, 6): x1, y1, x2, y2, score, class; NaN where there is no further box.

    An epoch is kept so, for thousands of raw candidates a film would fill the memory.
    """
    out = torch.full((films, MOST, 6), math.nan)
    place = np.arange(len(found.film)) - np.searchsorted(found.film, found.film)
    columns = np.column_stack((found.boxes, found.scores, found.kind))
    out[torch.from_numpy(found.film), torch.from_numpy(place)] = torch.from_numpy(columns).float()
    return out


def unpacked(boxes: Tensor) -> Selected:
    """`packed` the other way, for the films of all batches."""
    film, place = torch.nonzero(~boxes[..., 4].isnan(), as_tuple=True)
    values = boxes[film, place].double().numpy()
    return Selected(values[:, :4], values[:, 4], film.numpy(), values[:, 5].astype(np.int64))


def _detector(model: nn.Module) -> Detector:
    assert isinstance(model, Detector)  # what `build_model` has refused otherwise
    return model


def _float(maps: list[Tensor]) -> list[Tensor]:
    return [each.float() for each in maps]


def rows(targets: Tensor) -> Tensor:
    """Targets (n, k, 5) to (m, 6): film, class, then centre x, y, width and height, in pixels."""
    film, row = torch.nonzero(~targets[..., 0].isnan(), as_tuple=True)
    kind, low, high = targets[film, row].split((1, 2, 2), 1)
    return torch.cat((film[:, None].to(targets), kind, (low + high) / 2, high - low), 1)
