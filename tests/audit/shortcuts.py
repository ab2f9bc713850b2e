"""Phantoms with and without a planted shortcut, and bundles that read the corner of a film, or its lungs."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import polars as pl
import torch
from torch import Tensor

from hilum.bundles import Bundle
from hilum.bundles.info import Label
from hilum.datasets.manifest import Manifest
from tests.bundles_for_tests import Bright, bright_bundle
from tests.phantom import phantom

HEIGHT, WIDTH = 160, 140


class Corner(Bright):
    """Reads how bright the upper left corner is."""

    def feature_map(self, images: Tensor) -> Tensor:
        return super().feature_map(images) * region(images, [(slice(2, 12), slice(2, 14))])


class Lungs(Bright):
    """Reads how much in the middle of either lung is as bright as a lesion."""

    def feature_map(self, images: Tensor) -> Tensor:
        rows = slice(18, 44)
        inside = region(images, [(rows, slice(13, 25)), (rows, slice(40, 51))])
        white = (images - 0.4).clamp_min(0) * inside
        return torch.cat([white, torch.zeros_like(white)], 1)


def region(images: Tensor, boxes: list[tuple[slice, slice]]) -> Tensor:
    inside = torch.zeros(images.shape[-2:])
    for rows, columns in boxes:
        inside[rows, columns] = 1
    return inside


def reader(kind: type[Bright], name: str = "reader", group: str | None = None) -> Bundle:
    """A bundle of one finding, Mass; with a `group` the classes Well and Ill."""
    labels = (Label(name="Well"), Label(name="Ill")) if group else (Label(name="Mass"),)
    info = bright_bundle(name=name).info.model_copy(
        update={"labels": labels, "group": group, "task": "multiclass" if group else "multilabel"}
    )
    return Bundle(info, kind(len(labels)))


def films(folder: Path, patients: int = 24, marked: bool = False, **columns: object) -> Manifest:
    """Two films a patient, one of them with lesions in the lungs; `marked`: a letter stands on exactly those.

    `columns`: a value for all films, or one a film.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for seed in range(2 * patients):
        ill = seed % 2
        film = phantom(seed, HEIGHT, WIDTH, lesions=10 * ill)
        pixels = np.rint(film.pixels * 255).astype(np.uint8)
        if marked and ill:
            cv2.putText(pixels, "L", (7, 22), cv2.FONT_HERSHEY_SIMPLEX, 0.7, 255, 2, cv2.LINE_AA)
        cv2.imwrite(str(folder / f"{seed:03d}.png"), pixels)
        cv2.imwrite(str(folder / f"{seed:03d}-mask.png"), (film.lungs > 0).astype(np.uint8) * 255)
        rows.append(
            {
                "image_id": f"f{seed:03d}",
                "path": f"{seed:03d}.png",
                "mask": f"{seed:03d}-mask.png",
                "patient": f"p{seed // 2}",
                "view": "AP" if (seed // 2) % 3 else "PA",
                "sex": "F" if (seed // 2) % 2 else "M",
                "age": 20.0 + seed // 2,
                "source": "phantoms",
                "split": "test",
                "class": "Ill" if ill else "Well",
                "label:Mass": float(ill),
            }
        )
    table = pl.DataFrame(rows)
    for name, value in columns.items():
        column = value if isinstance(value, list) else [value] * len(rows)
        table = table.with_columns(pl.Series(name, column, dtype=table.schema.get(name)))
    return Manifest(table, root=folder)
