"""torch on a GPU is the same bundle. Where there is none the processor stands in for it, and what is moved is held."""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path

import pytest
import torch

from hilum import Analyzer
from hilum.bundles import Bundle, load, runtimes, save
from hilum.bundles.runtimes import CHOICES, TUNED
from hilum.cli.analyze import RUNTIMES
from hilum.errors import BundleError
from hilum.images.radiograph import Radiograph
from tests.bundles_for_tests import classifier_bundle, unet_bundle, yolo_bundle
from tests.phantom import phantom

NO_GPU = not torch.cuda.is_available()


@pytest.fixture(params=["a GPU", "its stand-in"])
def gpu(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "its stand-in":
        monkeypatch.setattr(runtimes, "GPU", "cpu")
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    elif NO_GPU:
        pytest.skip("there is no GPU here")


@pytest.mark.usefixtures("gpu")
@pytest.mark.parametrize("make", [classifier_bundle, unet_bundle, yolo_bundle])
@torch.inference_mode()
def test_it_answers_as_on_the_processor(make, tmp_path: Path):
    place = save(make(), tmp_path / "toy")
    reference, other = load(place), load(place, "cuda")
    reference.to(memory_format=torch.channels_last)  # as analysis has it
    images = torch.rand(2, reference.info.preparation.channels, *reference.info.preparation.size)
    assert other.runtime.name == "cuda"
    for expected, found in zip(answers(reference, images), answers(other, images), strict=True):
        assert found.device == expected.device
        torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
    assert all(parameter.device.type == "cpu" for parameter in other.parameters())


def answers(bundle: Bundle, images: torch.Tensor) -> list[torch.Tensor]:
    if bundle.info.task == "detect":
        return list(bundle.runtime.boxes(images))
    if bundle.info.task == "segment":
        return [bundle(images)]
    return [*bundle.runtime.features(images), bundle(images)]


@pytest.mark.usefixtures("gpu")
def test_a_report_from_it_says_so_and_says_the_same(tmp_path: Path):
    place = save(classifier_bundle(), tmp_path / "toy")
    film = Radiograph(phantom(1, 400, 360).pixels, digest="f" * 64)
    on, off = (Analyzer([place], runtime=name).analyze(film) for name in ("cuda", "torch"))
    assert "cuda" in [bundle.runtime for bundle in on.bundles]
    for one, same in zip(on.findings, off.findings, strict=True):
        assert one.probability == pytest.approx(same.probability, abs=1e-4)
        assert one.std == pytest.approx(same.std, abs=1e-4)


@pytest.mark.usefixtures("gpu")
def test_a_gpu_that_fails_is_said_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Want of memory, above all: each of several processes has a model there."""
    bundle = load(save(classifier_bundle(), tmp_path / "toy"), "cuda")

    def full(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    monkeypatch.setattr(type(bundle.model), "feature_map", full)
    with pytest.raises(BundleError, match=r"the GPU fails \(CUDA out of memory.*fewer --jobs"):
        bundle(torch.rand(1, bundle.info.preparation.channels, *bundle.info.preparation.size))


@pytest.mark.skipif(not NO_GPU, reason="there is a GPU here")
def test_without_one_it_is_refused(tmp_path: Path):
    place = save(classifier_bundle(), tmp_path / "toy")
    with pytest.raises(BundleError, match="no CUDA GPU here"):
        load(place, "cuda")


def test_whatever_may_run_a_bundle_may_stand_in_a_report_and_be_asked_for():
    schema = json.loads(files("hilum.analysis").joinpath("report.schema.json").read_text())
    named = schema["properties"]["bundles"]["items"]["properties"]["runtime"]["enum"]
    assert sorted(named) == sorted(set(CHOICES) - {TUNED})
    assert sorted(RUNTIMES) == sorted(CHOICES)
