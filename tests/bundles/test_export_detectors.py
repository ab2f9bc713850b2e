"""A detector in its other forms finds what it finds in torch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from hilum.boxes import iou
from hilum.bundles import Bundle, export, files, load, save
from hilum.bundles.detecting import detect, detect_film
from hilum.bundles.info import Architecture, Cut, Label
from hilum.errors import BundleError
from hilum.images.preparation import Preparation
from hilum.images.radiograph import Radiograph
from hilum.models import build
from tests.bundles_for_tests import classifier_bundle
from tests.phantom import phantom

for package in ("onnx", "onnxruntime", "openvino", "nncf"):
    pytest.importorskip(package, reason="the extra 'export' is not installed")

LABELS = tuple(Label(name=name, threshold=Cut(value=0.2, rule="fixed")) for name in ("Mass", "Effusion"))
MODELS = {
    "yolov5": {"scale": "n", "anchors": (((20, 24),) * 2, ((40, 40),) * 2, ((60, 90),) * 2)},
    "rt_detr": {"backbone": "mobilenetv3_small_050", "hidden": 32, "heads": 4, "layers": 2, "queries": 12},
}


@pytest.fixture(scope="module")
def films() -> list[Radiograph]:
    return [Radiograph(phantom(seed, 160, 144).pixels, digest=f"{seed:064}") for seed in range(8)]


def detector(name: str, films: list[Radiograph]) -> Bundle:
    """Random weights, with batch-norm statistics of these films and scores that differ."""
    if name == "rt_detr":
        pytest.importorskip("transformers", reason="the extra 'detect' is not installed")
    torch.manual_seed(0)
    base = classifier_bundle(name.replace("_", "-")).info
    steps = Preparation(size=(96, 96), aspect="pad", channels=1, mean=(0.0,), std=(1.0,))
    options = {**MODELS[name], "channels": 1, "size": (96, 96)}
    changes = {
        "task": "detect",
        "labels": LABELS,
        "calibration": None,
        "preparation": steps,
        "metrics": {},
        "model": Architecture(name=name, options=options),
    }
    bundle = Bundle(base.model_copy(update=changes), build(name, outputs=2, **options))
    images = torch.cat([bundle.prepare(film) for film in films])
    bundle.model.train()
    with torch.no_grad():
        for _ in range(30):
            bundle.model(images)
        for conv in getattr(bundle.model.detect_layer, "m", ()):
            conv.weight.mul_(20)
            conv.bias.zero_()
    return bundle.eval()


@pytest.fixture(scope="module", params=list(MODELS))
def exported(request, films, tmp_path_factory) -> Path:
    place = save(detector(request.param, films), tmp_path_factory.mktemp("bundles") / "toy")
    for form in files.EXPORTED:
        export.export(place, form, place, films)
    return place


@torch.inference_mode()
def test_every_form_finds_the_same_boxes(exported, films):
    torch_bundle = load(exported)
    images = torch.cat([torch_bundle.prepare(film) for film in films[:3]])
    wanted = detect(torch_bundle, images)
    assert len(wanted.scores) > 5
    for form in ("onnx", "openvino"):
        found = detect(load(exported, form, threads=1), images)
        for film in range(3):
            own, theirs = found.film == film, wanted.film == film
            best = np.flatnonzero(theirs)[:3]
            nearest = iou(wanted.boxes[best], found.boxes[own]).max(1)
            assert (nearest > 0.95).all(), form
            np.testing.assert_allclose(found.scores[own].max(), wanted.scores[theirs].max(), atol=1e-4)
    rounded = detect(load(exported, "int8", threads=1), images)
    assert abs(rounded.scores.max() - wanted.scores.max()) < 0.25
    assert rounded.scores.max() != wanted.scores.max()


def test_a_film_is_read_and_answered_in_its_own_pixels(exported, films):
    one, other = (detect_film(load(exported, form), films[0]) for form in ("torch", "openvino"))
    assert len(one.scores)
    np.testing.assert_allclose(one.boxes[0], other.boxes[0], atol=0.5)


def test_boxes_that_lie_elsewhere_are_refused(films, tmp_path, monkeypatch):
    bundle = detector("yolov5", films)

    class Shifted(torch.nn.Module):
        def __init__(self, model):
            super().__init__()
            self.model = model

        def forward(self, images):
            boxes, scores = self.model.detect(images)
            return boxes + 1, scores

    monkeypatch.setattr(export, "_Boxes", Shifted)
    with pytest.raises(BundleError, match="boxes lie elsewhere"):
        export.export(bundle, "onnx", tmp_path / "out", films)
