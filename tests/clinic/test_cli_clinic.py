"""`hilum analyze --format dicom` and `hilum deidentify` at the command line."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pydicom
import pytest
from typer.testing import CliRunner

from hilum.analysis.search import expand
from hilum.bundles import save
from hilum.cli import app
from hilum.clinic.results import KINDS
from hilum.errors import MissingExtraError
from tests.bundles_for_tests import classifier_bundle, yolo_bundle
from tests.images.films import film
from tests.images.films import save as save_film
from tests.phantom import phantom


def run(*words: object):
    return CliRunner().invoke(app, [str(word) for word in words], env={"COLUMNS": "200"})


@pytest.fixture(scope="module")
def bundle(tmp_path_factory) -> Path:
    return save(classifier_bundle(), tmp_path_factory.mktemp("bundles") / "toy")


@pytest.fixture(scope="module")
def films(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("films")
    pixels = phantom(0, 400, 320).pixels
    save_film(film(np.rint(pixels * 4095).astype(np.int64), PatientName="Poe^Jane"), root / "a.dcm")
    cv2.imwrite(str(root / "b.png"), np.rint(pixels * 255).astype(np.uint8))
    return root


@pytest.fixture(scope="module")
def done(films, bundle, tmp_path_factory):
    out = tmp_path_factory.mktemp("out") / "reports"
    return run(
        "analyze", films, "--out", out, "--bundle", bundle, "--format", "json,dicom", "--samples", "4"
    ), out


def test_a_dicom_film_gets_dicom_results_and_a_picture_a_reason(done):
    result, out = done
    assert result.exit_code == 1, result.output
    assert "b.png: DICOM results need a DICOM film" in result.output
    assert "--format json,html,png" in result.output
    assert sorted(p.name for p in out.iterdir()) == sorted(
        ["a.json", "index.html", "index.json", *(f"a.{kind}.dcm" for kind in KINDS)]
    )
    index = json.loads((out / "index.json").read_text())
    assert index["reports"][0]["dicom"] == {kind: f"a.{kind}.dcm" for kind in KINDS}
    report = json.loads((out / "a.json").read_text())
    numbers = sorted(
        float(m.MeasuredValueSequence[0].NumericValue)
        for m in items(pydicom.dcmread(out / "a.sr.dcm"))
        if m.ValueType == "NUM" and m.ConceptNameCodeSequence[0].CodeMeaning == "Probability"
    )
    assert numbers == pytest.approx(sorted(f["probability"] for f in report["findings"]), abs=1e-6)


def items(dataset):
    for item in dataset.get("ContentSequence", []):
        yield item
        yield from items(item)


@pytest.mark.parametrize("kind", KINDS)
def test_a_result_is_refused_as_a_film(kind, done, bundle, tmp_path):
    _, out = done
    result = run(
        "analyze", out / f"a.{kind}.dcm", "--out", tmp_path / "again", "--bundle", bundle, "--format", "json"
    )
    assert result.exit_code == 1
    assert "it is a result that Hilum wrote" in result.output
    assert "1 failed" in result.output


def test_results_in_a_folder_are_no_films(done, tmp_path):
    _, out = done
    assert expand([out], tmp_path) == ([], [{"file": str(out), "fault": "the folder holds no films",
                                             "mend": "Give a folder with DICOM, PNG, JPEG or TIFF"}])  # fmt: skip


def test_detection_writes_its_boxes(films, tmp_path):
    detector = save(yolo_bundle("a", seed=0), tmp_path / "a")
    result = run(
        "detect", films / "a.dcm", "--out", tmp_path / "out", "--bundle", detector, "--format", "json,dicom"
    )
    assert result.exit_code == 0, result.output
    boxes = json.loads((tmp_path / "out" / "a.json").read_text())["boxes"]
    state = pydicom.dcmread(tmp_path / "out" / "a.gsps.dcm")
    lines = [a for a in state.GraphicAnnotationSequence if "GraphicObjectSequence" in a]
    assert len(lines) == len(boxes) > 0


def test_without_the_extra_it_says_what_to_install(films, monkeypatch, tmp_path):
    def missing() -> None:
        raise MissingExtraError.named("clinic", "Writing DICOM results")

    monkeypatch.setattr("hilum.clinic.results.check_extra", missing)
    result = run("analyze", films / "a.dcm", "--out", tmp_path / "out", "--format", "dicom")
    assert isinstance(result.exception, MissingExtraError)
    assert not (tmp_path / "out").exists()


def test_deidentify(films, tmp_path):
    words = ("--key", tmp_path / "project.key", "--names", tmp_path / "names.json", "--keep-dates", "shifted")
    result = run("deidentify", films, "--out", tmp_path / "out", *words, "--keep-characteristics", "--json")
    assert result.exit_code == 1
    said = json.loads(result.output)
    (made,) = said["films"]
    assert [Path(f["file"]).name for f in said["failures"]] == ["b.png"]
    (names,) = json.loads((tmp_path / "names.json").read_text())
    assert (Path(names["file"]).name, names["name"]) == ("a.dcm", made["name"])
    dataset = pydicom.dcmread(tmp_path / "out" / made["name"])
    assert dataset.PatientID == made["patient"]
    assert (dataset.PatientSex, dataset.PatientAge) == ("F", "045Y")
    again = run("deidentify", films / "a.dcm", "--out", tmp_path / "again", *words[:2])
    assert again.exit_code == 0
    assert f"{made['name']}" in {p.name for p in (tmp_path / "again").iterdir()}
    assert "1 film de-identified" in again.output


@pytest.mark.parametrize("option", ["--key", "--names"])
def test_secrets_stay_out_of_what_is_given_away(option, films, tmp_path):
    result = run(
        "deidentify", films / "a.dcm", "--out", tmp_path / "out", option, tmp_path / "out" / "secret"
    )
    assert result.exit_code == 2
    assert not (tmp_path / "out").exists()
