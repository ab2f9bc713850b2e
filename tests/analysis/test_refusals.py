"""Films that no model should score, through the whole of `hilum analyze` with the bundles that it comes with: each gets a
report that says why it was not analysed, and no finding (hazards D of the project's list)."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import jsonschema
import numpy as np
import pydicom
import pytest
from pydicom.data import get_testdata_file

from hilum.analysis.folder import analyze_all
from hilum.analysis.render.schema import report_schema
from tests.images.films import film, ramp, save

# The name of each film, and words of the reason that its report must give.
REASONS = {
    "extremity": "body part is EXTREMITY",
    "ct": "modality CT",
    "inverted": "looks inverted",
    "constant": "blank",
    "for-processing": "FOR PROCESSING",
    "lateral": "view is lateral",
}


@dataclass(frozen=True)
class Result:
    reports: dict[str, dict[str, Any]]
    entries: dict[str, dict[str, Any]]
    failures: list[dict[str, Any]]
    pages: dict[str, str]


def real(name: str) -> pydicom.Dataset:
    path = get_testdata_file(name, download=False)
    if path is None:
        pytest.skip(f"pydicom-data does not have {name}")
    return pydicom.dcmread(path)


def changed(name: str, path: Path, **elements: object) -> None:
    ds = real(name)
    for keyword, value in elements.items():
        setattr(ds, keyword, value)
    ds.save_as(path)


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> Result:
    """All of them, and a good film, in one call."""
    films, out = tmp_path_factory.mktemp("films"), tmp_path_factory.mktemp("out") / "reports"
    changed("RG1_UNCR.dcm", films / "good.dcm")
    changed("RG3_UNCR.dcm", films / "extremity.dcm")
    changed("CT_small.dcm", films / "ct.dcm")
    # What an exporter makes that changes the photometric interpretation and leaves the pixels as they are.
    shown_as = {"MONOCHROME1": "MONOCHROME2", "MONOCHROME2": "MONOCHROME1"}
    stated = real("RG1_UNCR.dcm").PhotometricInterpretation
    changed("RG1_UNCR.dcm", films / "inverted.dcm", PhotometricInterpretation=shown_as[stated])
    changed("RG1_UNCR.dcm", films / "for-processing.dcm", PresentationIntentType="FOR PROCESSING")
    changed("RG1_UNCR.dcm", films / "lateral.dcm", ViewPosition="LL")
    assert cv2.imwrite(str(films / "constant.png"), np.full((512, 512), 30_000, np.uint16))
    save(film(ramp(12, False) * 0 + 7, BodyPartExamined="CHEST"), films / "constant-dicom.dcm")
    summary = analyze_all([films], out, ("json", "html"), samples=2)
    reports = {Path(e["file"]).stem: json.loads((out / e["report"]).read_text()) for e in summary.entries}
    pages = {Path(e["file"]).stem: (out / e["html"]).read_text() for e in summary.entries}
    return Result(reports, {Path(e["file"]).stem: e for e in summary.entries}, summary.failures, pages)


def test_a_film_that_is_refused_is_a_report_and_no_failure(result: Result) -> None:
    assert result.failures == []
    assert set(result.reports) == {*REASONS, "good", "constant-dicom"}
    assert result.reports["good"]["analysable"]
    assert result.reports["good"]["findings"]


@pytest.mark.parametrize("name", [*REASONS, "constant-dicom"])
def test_it_says_why_and_finds_nothing(name: str, result: Result) -> None:
    report = result.reports[name]
    jsonschema.validate(report, report_schema())
    assert report["analysable"] is False
    assert REASONS.get(name, "pixels") in report["reason"]
    assert report["findings"] == []
    assert report["boxes"] == []
    entry = result.entries[name]
    assert (entry["analysable"], entry["reason"], entry["positive"]) == (False, report["reason"], [])
    assert report["reason"] in result.pages[name].replace("&#39;", "'")


def test_a_film_for_processing_carries_its_warning(result: Result) -> None:
    assert "for_processing" in {w["code"] for w in result.reports["for-processing"]["warnings"]}
