"""Films and reports for the tests of DICOM results: phantoms as DICOM, and a report with one of everything."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from pydicom.dataset import Dataset

from hilum.analysis.report import BoxResult, BundleUsed, FindingResult, LungsResult, Report
from hilum.images.radiograph import Notice, Radiograph
from hilum.images.read import read
from tests.images.films import film, save
from tests.phantom import phantom

HEIGHT, WIDTH = 96, 80
CARDIOMEGALY = {"scheme": "SCT", "value": "8186001", "meaning": "Cardiomegaly"}
BOXES = ((12.5, 20.25, 40.0, 60.0), (0.0, 0.0, 80.0, 96.0))
USED = BundleUsed("toy", "1.2.3", "ab" * 32, "A toy – nothing more", ("none",), "Apache-2.0")


def phantom_film(**elements: Any) -> Dataset:
    """A DX film of a phantom, 12 bits, with the elements of a film that an archive holds."""
    stored = np.rint(phantom(0, HEIGHT, WIDTH).pixels * 4095).astype(np.int64)
    usual = {
        "StudyTime": "101500",
        "StudyID": "S1",
        "AccessionNumber": "A1",
        "ReferringPhysicianName": "Roe^Richard",
        "ViewPosition": "PA",
        "BodyPartExamined": "CHEST",
    }
    asked = usual | elements
    return film(stored, **{k: v for k, v in asked.items() if v is not None or k not in usual})


def saved(tmp_path: Path, name: str = "film.dcm", **elements: Any) -> Path:
    return save(phantom_film(**elements), tmp_path / name)


def report_of(seen: Radiograph | Path) -> Report:
    """A report on a film with findings of each kind, both lungs, two boxes (one fused) and a warning."""
    on = read(seen) if isinstance(seen, Path) else seen
    left, right = np.zeros((2, on.height, on.width), np.uint8)
    right[on.height // 4 : on.height // 2, on.width // 8 : 3 * on.width // 8] = 1
    left[on.height // 4 : 2 * on.height // 3, 5 * on.width // 8 : 7 * on.width // 8] = 1
    heat = np.random.default_rng(0).random((24, 20)).astype(np.float32)
    sure: dict[str, Any] = {"std": 0.05, "interval": (0.61, 0.79), "method": "mc_dropout"}
    plain: dict[str, Any] = {"std": None, "interval": None, "method": "none"}
    findings = (
        FindingResult("Cardiomegaly", CARDIOMEGALY, "toy", None, 0.7123456, **sure, threshold=0.5, positive=True,
                      outside_lungs=True, heatmap=heat, lung_share=0.5),
        FindingResult("Nodule", {"scheme": "RADLEX", "value": "RID50149", "meaning": "pulmonary nodule"}, "toy", None, 1e-9,
                      **plain, threshold=0.3, positive=False),
        FindingResult("Pleural Thickening", None, "toy", None, 0.1, **plain, threshold=None, positive=False),
        FindingResult("Viral Pneumonia", None, "toy", "pneumonia", 0.6, **plain, threshold=None, positive=True),
    )  # fmt: skip
    boxes = (
        BoxResult("Nodule or Mass", 0.83, BOXES[0], "toy"),
        BoxResult("Effusion", 0.61, BOXES[1], "fusion of toy, other", 2),
    )
    lungs = LungsResult(left | right, left, right, 0.2, "toy")
    notices = (*on.notices, Notice("small_film", "The film is small – très petit, 小さい."))
    return Report(on, True, None, notices, (USED,), findings, lungs, boxes)


def refused(seen: Path) -> Report:
    """A report on a film that was not analysed."""
    on = read(seen)
    return Report(on, False, "it shows no chest but a knee", on.notices)


def without_boxes(report: Report) -> Report:
    return replace(report, boxes=())
