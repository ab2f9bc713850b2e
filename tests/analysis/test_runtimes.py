"""`--runtime`: the same report from every runtime, and an INT8 bundle on a real film."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from pydicom.data import get_testdata_file
from typer.testing import CliRunner

from hilum.analysis import analyzer as analyzer_module
from hilum.analysis.analyzer import Analyzer
from hilum.analysis.folder import analyze_all
from hilum.bundles import builtin_names, files, load, save, verify
from hilum.bundles.export import export
from hilum.cli import app
from hilum.errors import BundleError
from hilum.images.quality import Quality
from hilum.images.radiograph import Radiograph
from hilum.images.read import read
from tests.bundles.test_export import film, lively
from tests.bundles_for_tests import classifier_bundle, unet_bundle
from tests.phantom import phantom

pytest.importorskip("onnxruntime", reason="the extra 'export' is not installed")
pytest.importorskip("openvino", reason="the extra 'export' is not installed")

TOLERANCE = 1e-4  # of every number of a report, between float32 runtimes


@pytest.fixture(scope="module")
def bundles(tmp_path_factory) -> list[Path]:
    """A classifier and a segmenter, each in every float32 form."""
    films = [film(seed) for seed in range(8)]
    places = []
    for make, name in ((classifier_bundle, "toy"), (unet_bundle, "lungs")):
        place = save(lively(make(name), films), tmp_path_factory.mktemp("bundles") / name)
        for form in ("onnx", "openvino"):
            export(place, form, place)
        places.append(place)
    return places


def numbers(content: object, path: str = "") -> dict[str, object]:
    """Every leaf of a report by its path, without what differs from run to run."""
    if isinstance(content, dict):
        return {k: v for key, part in content.items() for k, v in numbers(part, f"{path}/{key}").items()}
    if isinstance(content, list):
        return {k: v for i, part in enumerate(content) for k, v in numbers(part, f"{path}/{i}").items()}
    return {} if path in ("/seconds",) or path.endswith("/runtime") else {path: content}


@pytest.mark.parametrize("runtime", ["onnx", "openvino"])
def test_the_report_is_the_same_within_the_tolerance(bundles, monkeypatch, runtime):
    monkeypatch.setattr(analyzer_module, "assess", lambda *_: Quality(True, None, (), {}))
    one = Radiograph(phantom(1, 400, 360).pixels, digest="f" * 64)
    reports = {name: Analyzer(bundles, runtime=name).analyze(one) for name in ("torch", runtime)}
    reference, other = (numbers(report.as_dict()) for report in reports.values())
    assert [b.runtime for b in reports[runtime].bundles] == [runtime] * 2
    assert [b["runtime"] for b in reports["torch"].as_dict()["bundles"]] == ["torch"] * 2
    assert set(reference) == set(other)
    for path, value in reference.items():
        if isinstance(value, float):
            assert other[path] == pytest.approx(value, abs=TOLERANCE), path
        else:
            assert other[path] == value, path
    spread = [f.std for f in reports[runtime].findings]
    assert min(spread) > 0
    for ours, theirs in zip(reports[runtime].findings, reports["torch"].findings, strict=True):
        assert abs(ours.heatmap - theirs.heatmap).max() < 1e-3


def test_films_in_worker_processes_run_in_it_too(bundles, tmp_path):
    source = get_testdata_file("RG1_UNCR.dcm")
    out = tmp_path / "out"
    summary = analyze_all([source], out, formats=("json",), bundles=bundles[:1], runtime="onnx")
    assert summary.exit_code == 0
    content = json.loads((out / "RG1_UNCR.json").read_text())
    assert {b["name"]: b["runtime"] for b in content["bundles"]}["toy"] == "onnx"


def test_a_bundle_without_the_form_is_said(tmp_path):
    place = save(classifier_bundle(), tmp_path / "toy")
    with pytest.raises(BundleError, match=r"has no form 'openvino'.*hilum bundle export"):
        Analyzer([place], runtime="openvino")


@pytest.mark.parametrize(
    "command", ["analyze x.dcm --out o --runtime tflite", "bundle export toy --to tensorrt --out o"]
)
def test_an_unknown_runtime_is_wrong_usage(command):
    assert CliRunner().invoke(app, command.split()).exit_code == 2


@pytest.mark.skipif(
    "findings" not in builtin_names(), reason="this checkout has no built-in bundle 'findings'"
)
def test_an_int8_bundle_reads_a_real_film(tmp_path):
    """By the commands, as a user runs them. Ranges come from that film itself, brighter and darker: enough for a test."""
    pytest.importorskip("nncf", reason="the extra 'export' is not installed")
    (tmp_path / "films").mkdir()
    source = get_testdata_file("RG1_UNCR.dcm")
    pixels = cv2.resize(read(source).pixels, (400, 424), interpolation=cv2.INTER_AREA)
    for seed in range(8):
        other = np.rint(pixels ** (0.6 + 0.1 * seed) * 255).astype(np.uint8)
        (tmp_path / "films" / f"{seed}.png").write_bytes(cv2.imencode(".png", other)[1].tobytes())
    place, out = tmp_path / "small", tmp_path / "out"
    words = [
        "bundle",
        "export",
        "findings",
        "--to",
        "int8",
        "--calibrate",
        tmp_path / "films",
        "--out",
        place,
    ]
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert result.exit_code == 0, result.output
    assert "model.int8.xml" in result.output
    assert set(files.EXPORTED["int8"]) <= {path.name for path in place.iterdir()}
    assert verify(place).labels == verify("findings").labels
    assert verify(place).calibration == verify("findings").calibration
    report = Analyzer([place], runtime="int8", samples=5).analyze(source)
    assert report.analysable
    assert {b.name: b.runtime for b in report.bundles} == {"findings": "int8", "lungs": "torch"}
    reference = Analyzer([load("findings")], samples=0).analyze(source)
    for ours, theirs in zip(report.findings, reference.findings, strict=True):
        assert ours.probability == pytest.approx(theirs.probability, abs=0.1)
        assert ours.heatmap is not None
        assert ours.method == "mc_dropout"
    result = CliRunner().invoke(
        app, ["analyze", source, "-o", str(out), "-b", str(place), "--runtime", "int8", "--format", "json"]
    )
    assert result.exit_code == 0, result.output
    content = json.loads((out / "RG1_UNCR.json").read_text())
    assert content["bundles"][-1]["runtime"] == "int8"
