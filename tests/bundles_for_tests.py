"""Small bundles with random or hand-set weights: what analysis, bundles and the service are tested on."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from hilum.bundles import Bundle, Info
from hilum.bundles.info import Applies, Architecture, Code, Cut, Label, Provenance, Scaling
from hilum.images.preparation import Preparation
from hilum.models import Classifier, build
from tests.phantom import phantom

MADE = Provenance(
    data=("phantoms",),
    films={"train": 4},
    patients={"train": 4},
    split="none",
    split_digest="0" * 64,
    recipe_digest="0" * 64,
    hilum="0.1.0",
    created="2025-01-01",
    licence="Apache-2.0",
)
FINDINGS = ("Cardiomegaly", "Effusion", "Mass")
CODES = {"Cardiomegaly": Code(scheme="SCT", value="8186001", meaning="Cardiomegaly")}


class Bright(Classifier):
    """A classifier whose every number is known: two features, the image and its negative, averaged; a linear head."""

    channels, input_size, mean, std = 1, (64, 64), (0.0,), (1.0,)

    def __init__(self, outputs: int, dropout: float = 0.5) -> None:
        super().__init__()
        self.head = nn.Sequential(nn.Dropout(dropout), nn.Linear(2, outputs))
        with torch.no_grad():
            rows = torch.arange(1.0, outputs + 1)
            self.head[1].weight.copy_(torch.stack([rows, -rows / 2], 1))
            self.head[1].bias.copy_(-rows / 4)

    def feature_map(self, images: Tensor) -> Tensor:
        return torch.cat([images, 1 - images], 1)

    def pool(self, features: Tensor) -> Tensor:
        return features.mean((2, 3))


def classifier_bundle(name: str = "toy", group: str | None = None, seed: int = 0, **changes: Any) -> Bundle:
    """A 64 px MobileNetV3 with random weights and three findings; with `group`, three exclusive classes."""
    torch.manual_seed(seed)
    options = {"name": "mobilenetv3_small_050", "dropout": 0.3, "channels": 1, "size": (64, 64)}
    model = build("timm", outputs=3, **options)
    labels = tuple(
        Label(
            name=finding,
            code=CODES.get(finding),
            threshold=None if group else Cut(value=0.4 + 0.1 * i, rule="youden"),
            outside_lungs=finding != "Mass",
        )
        for i, finding in enumerate(FINDINGS)
    )
    info = {
        "name": name,
        "version": "1.0",
        "title": "Random weights",
        "task": "multiclass" if group else "multilabel",
        "model": Architecture(name="timm", options=options),
        "preparation": Preparation(size=(64, 64), channels=1, mean=(0.5,), std=(0.25,)),
        "labels": labels,
        "group": group,
        "calibration": Scaling(kind="platt", slope=(1.5, 0.5, 2.0), intercept=(0.1, -0.2, 0.3)),
        "applies": Applies(),
        "provenance": MADE,
        "limits": ("Its weights are random.",),
        "metrics": {"phantoms": {"facts": {"AUC": {"value": 0.5, "low": 0.4, "high": 0.6}, "films": 4}}},
        **changes,
    }
    return Bundle(Info(**info), model)


def bright_bundle(dropout: float = 0.5, name: str = "bright", aspect: str = "squash") -> Bundle:
    """The `Bright` model, uncalibrated: logits are k * (1.5 * mean brightness - 0.75) for the k-th finding."""
    base = classifier_bundle(name).info
    preparation = Preparation(size=(64, 64), channels=1, mean=(0.0,), std=(1.0,), bits=16, aspect=aspect)
    info = base.model_copy(update={"calibration": None, "preparation": preparation})
    return Bundle(info, Bright(len(info.labels), dropout))


class Dark(nn.Module):
    """Lungs are where a film is dark inside a frame: logits of 20 * (level - brightness), 0.4 on the [0, 1] scale."""

    def forward(self, images: Tensor) -> Tensor:
        logits = 20 * (0.4 - images)
        edge = images.shape[-1] // 10
        framed = torch.full_like(logits, -20.0)
        framed[..., edge:-edge, edge:-edge] = logits[..., edge:-edge, edge:-edge]
        return framed


def dark_lungs_bundle(name: str = "lungs", size: int = 128) -> Bundle:
    """A segmenter that finds the lungs of phantoms by their darkness."""
    base = classifier_bundle(name).info
    info = base.model_copy(
        update={
            "title": "Dark places",
            "task": "segment",
            "labels": (Label(name="Lung", threshold=Cut(value=0.5, rule="fixed")),),
            "calibration": None,
            "preparation": Preparation(size=(size, size), channels=1, mean=(0.0,), std=(1.0,)),
            "metrics": {},
        }
    )
    return Bundle(info, Dark())  # type: ignore[arg-type]


def unet_bundle(name: str = "lungs", seed: int = 0) -> Bundle:
    """A 64 px U-Net with random weights."""
    torch.manual_seed(seed)
    options = {
        "encoder": "mobilenetv3_small_050",
        "widths": (16, 16, 8, 8, 8),
        "channels": 1,
        "size": (64, 64),
    }
    info = dark_lungs_bundle(name, 64).info.model_copy(
        update={"model": Architecture(name="unet", options=options)}
    )
    return Bundle(info, build("unet", outputs=1, **options))


def yolo_bundle(
    name: str = "boxes",
    labels: tuple[str, ...] = ("Cardiomegaly", "Effusion"),
    seed: int = 0,
    size: int = 96,
    threshold: float | None = 0.5,
    scale: str = "n",
) -> Bundle:
    """A YOLOv5 with random weights that is sure of itself: boxes of many scores, of which some reach the threshold."""
    torch.manual_seed(seed)
    options = {"scale": scale, "channels": 1, "size": (size, size)}
    model = build("yolov5", outputs=len(labels), **options)
    model.train()
    with torch.no_grad():
        for norm in (m for m in model.modules() if isinstance(m, nn.BatchNorm2d)):
            norm.momentum = (
                None  # statistics of what it sees: else random layers let nothing of a film through
            )
        films = torch.stack([torch.from_numpy(phantom(i, size, size).pixels)[None] for i in range(3)])
        model(films)
        for conv, logits in zip(model.detect_layer.m, model.eval()(films), strict=True):
            conv.weight *= 2 / logits.std((0, 2, 3)).mean()
        for conv, logits in zip(model.detect_layer.m, model(films), strict=True):
            conv.bias -= logits.mean((0, 2, 3)).flatten()
            conv.bias.view(3, -1)[:, 4] -= 7.0
    base = classifier_bundle(name).info
    cut = None if threshold is None else Cut(value=threshold, rule="by hand")
    info = base.model_copy(
        update={
            "task": "detect",
            "model": Architecture(name="yolov5", options=options),
            "preparation": Preparation(
                size=(size, size), aspect="pad", channels=1, mean=(0.0,), std=(1.0,), bits=16
            ),
            "labels": tuple(Label(name=label, threshold=cut) for label in labels),
            "calibration": None,
            "metrics": {},
        }
    )
    return Bundle(info, model)
