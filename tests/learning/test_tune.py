"""`hilum bundle tune`: the fastest runtime within a tolerance, what was measured of all, and that analysis goes by it."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import polars as pl
import pytest
import torch

from hilum.analysis.analyzer import Analyzer
from hilum.bundles import load, save, verify
from hilum.bundles import machine as machine_module
from hilum.bundles.card import card
from hilum.bundles.machine import choice, machine
from hilum.datasets.manifest import Manifest
from hilum.errors import BundleError, ManifestError
from hilum.images.read import read
from hilum.learning.tune import tune
from tests.bundles.test_export import lively
from tests.bundles_for_tests import FINDINGS, classifier_bundle, unet_bundle
from tests.phantom import phantom

for package in ("onnxruntime", "openvino", "nncf"):
    pytest.importorskip(package, reason="the extra 'export' is not installed")

FILMS = 24
FLOATS = ("torch", "onnx", "openvino")


@pytest.fixture(scope="module")
def films(tmp_path_factory) -> Manifest:
    """Phantoms with their lung masks and made-up labels, half of them for training; one is damaged."""
    root = tmp_path_factory.mktemp("films")
    rng = np.random.default_rng(0)
    for seed in range(FILMS):
        made = phantom(seed, 160, 144)
        cv2.imwrite(str(root / f"{seed}.png"), np.rint(made.pixels * 255).astype(np.uint8))
        cv2.imwrite(str(root / f"{seed}-mask.png"), (255 * (made.lungs > 0)).astype(np.uint8))
    (root / "3.png").write_text("this is no film")
    rows = {
        "image_id": [str(seed) for seed in range(FILMS)],
        "path": [f"{seed}.png" for seed in range(FILMS)],
        "patient_id": [f"p{seed}" for seed in range(FILMS)],
        "mask": [f"{seed}-mask.png" for seed in range(FILMS)],
        "split": ["train" if seed % 2 == 0 else "validation" for seed in range(FILMS)],
        **{f"label:{name}": rng.integers(0, 2, FILMS).astype(np.float32) for name in FINDINGS},
    }
    return Manifest(pl.DataFrame(rows), root=root)


@pytest.fixture(scope="module")
def tuned(films, tmp_path_factory) -> dict[str, Path]:
    """A classifier and a segmenter, tuned; INT8 of random weights changes far more than these tolerances."""
    folder = tmp_path_factory.mktemp("tuned")
    seen = [read(films.paths()[i]) for i in (0, 2, 4, 6, 8, 10, 12, 14)]
    for make, name in ((classifier_bundle, "toy"), (unet_bundle, "lungs")):
        place = save(lively(make(name), seen), folder / f"{name}-plain")
        tune(place, films, folder / name, tolerance=1e-3, rounds=2)
    return {name: folder / name for name in ("toy", "lungs")}


def test_every_runtime_is_measured_and_the_fastest_that_is_faithful_chosen(tuned):
    found = verify(tuned["toy"]).tuned[machine()]
    assert set(found.runtimes) == {*FLOATS, "int8", "cuda", "tensorrt"}
    assert found.films == FILMS // 2 - 1  # one cannot be read
    allowed = {name: ran for name, ran in found.runtimes.items() if ran.refused is None}
    assert set(FLOATS) <= set(allowed)
    assert found.chosen == min(allowed, key=lambda name: allowed[name].milliseconds)
    for name in FLOATS:
        ran = found.runtimes[name]
        assert ran.change <= 1e-4
        assert ran.auc == pytest.approx(found.runtimes["torch"].auc, abs=0.05)
        assert ran.calibration_error == pytest.approx(found.runtimes["torch"].calibration_error, abs=1e-3)
    assert "ONNX Runtime has no" in found.runtimes["tensorrt"].refused
    assert torch.cuda.is_available() or "no CUDA GPU" in found.runtimes["cuda"].refused
    assert "## Tuned" in card(verify(tuned["toy"]))


def test_a_runtime_that_changes_a_probability_by_more_than_the_tolerance_is_refused(tuned):
    ran = verify(tuned["toy"]).tuned[machine()].runtimes["int8"]
    assert ran.change > 1e-3
    assert ran.milliseconds > 0
    assert ran.refused.startswith("it changes a reported number by")


def test_a_segmenter_is_held_to_its_masks(tuned):
    found = verify(tuned["lungs"]).tuned[machine()]
    assert found.runtimes["onnx"].dice == pytest.approx(found.runtimes["torch"].dice, abs=1e-3)
    assert found.runtimes["onnx"].change <= 1e-3
    assert found.runtimes["torch"].auc is None


def test_analysis_runs_what_was_chosen_here(tuned, films):
    chosen = verify(tuned["toy"]).tuned[machine()].chosen
    places = list(tuned.values())
    report = Analyzer(places).analyze(films.paths()[1])
    other = Analyzer(places, runtime="torch").analyze(films.paths()[1])
    assert {b.name: b.runtime for b in report.bundles}.get("toy", chosen) == chosen
    assert load(tuned["toy"], "tuned").runtime.name == chosen
    assert all(b.runtime == "torch" for b in other.bundles)
    for one, same in zip(report.findings, other.findings, strict=True):
        assert one.probability == pytest.approx(same.probability, abs=1e-3)


def test_elsewhere_it_runs_in_torch(tuned, monkeypatch):
    info = verify(tuned["toy"])
    monkeypatch.setattr(machine_module, "machine", lambda: "another machine")
    assert choice(info) == "torch"


def test_the_choice_ends_with_another_version_of_what_runs_it(tuned, monkeypatch, caplog):
    found = verify(tuned["toy"])
    mine = found.tuned[machine()].model_copy(update={"chosen": "onnx"})
    info = found.model_copy(update={"tuned": {machine(): mine}})
    assert choice(info) == "onnx"
    monkeypatch.setattr(machine_module, "versions", lambda: {**mine.versions, "onnxruntime": "0.1"})
    assert choice(info) == "torch"
    assert "tuned again" in caplog.text


def test_a_built_in_bundle_stays_as_it_ships(films):
    with pytest.raises(BundleError, match="as it ships"):
        tune("findings", films)


def test_without_films_nothing_is_chosen(tuned, films):
    with pytest.raises(ManifestError, match="no films to measure on"):
        tune(tuned["toy"], films.filter(split="train"))
