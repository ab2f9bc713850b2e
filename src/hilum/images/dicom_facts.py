"""What a DICOM header says of the film: view, body part, sex, age, spacing, and what a reader must be warned of.

The patient's name, number and birth date never leave this file.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from datetime import date

from pydicom.charset import python_encoding
from pydicom.dataset import Dataset

from hilum.images.dicom_header import items, numbers, text, value, values
from hilum.images.radiograph import Notice, Sex

# Cited in reports. No element that identifies a patient belongs here.
CITED = (
    "SOPClassUID",
    "SOPInstanceUID",
    "SeriesInstanceUID",
    "StudyInstanceUID",
    "Modality",
    "Manufacturer",
    "ManufacturerModelName",
    "PresentationIntentType",
    "PhotometricInterpretation",
    "PatientOrientation",
    "ViewPosition",
    "StudyDate",
)
_LATERAL = {"LL", "RL", "LLD", "RLD", "LAT", "LATERAL", "L", "R"}
# CID 4010 DX View in SNOMED CT, and in SRT as older files have it.
_VIEW_CODES = {
    "399348003": "AP",
    "R-10206": "AP",
    "272479007": "PA",
    "R-10214": "PA",
    "R-40888": "PA",
    "399067008": "LATERAL",
    "R-102CD": "LATERAL",
    "399198007": "LATERAL",
    "R-10232": "LATERAL",
    "399173006": "LATERAL",
    "R-10236": "LATERAL",
}
_OLDEST = 120.0  # years, as in a manifest; 999Y is how some systems write that they do not know
_YEARS = {"Y": 1.0, "M": 1 / 12, "W": 7 / 365.25, "D": 1 / 365.25}


@dataclass(frozen=True)
class Facts:
    """The fields of `Radiograph` that come from a header."""

    view: str | None
    body_part: str | None
    sex: Sex | None
    age: float | None
    spacing: tuple[float, float] | None
    headers: dict[str, str]
    notices: tuple[Notice, ...]


def facts_of(dataset: Dataset) -> Facts:
    view, notices = _view(dataset)
    sex, age = _sex(dataset), _age(dataset)
    if text(dataset, "PresentationIntentType") == "FOR PROCESSING":
        notices += (
            Notice("for_processing", "The header marks these pixels for processing, not for reading."),
        )
    if text(dataset, "BurnedInAnnotation") == "YES":
        notices += (
            Notice("burned_in_annotation", "Text is burnt into the pixels; it may name the patient."),
        )
    if sex is None:
        notices += (Notice("missing_sex", "The header does not give the patient's sex as F or M."),)
    if age is None:
        notices += (Notice("missing_age", "The header gives no usable age."),)
    notices += _character_set(dataset)
    headers = {
        k: "\\".join(str(v) for v in values(dataset, k)) for k in CITED if value(dataset, k) is not None
    }
    return Facts(view, body_part(dataset), sex, age, _spacing(dataset), headers, notices)


def _view(dataset: Dataset) -> tuple[str | None, tuple[Notice, ...]]:
    """View Position, else the coded view, else a description that names exactly one view."""
    position = text(dataset, "ViewPosition")
    if position is not None:
        return position if position in ("PA", "AP") else "LATERAL" if position in _LATERAL else "OTHER", ()
    for item in items(dataset, "ViewCodeSequence"):
        code = text(item, "CodeValue")
        if code is not None:
            return _VIEW_CODES.get(code, "OTHER"), ()
    for keyword in ("SeriesDescription", "ProtocolName", "StudyDescription"):
        named = _named_views(text(dataset, keyword) or "")
        if len(named) == 1:
            (view,) = named
            return view, (Notice("view_from_description", f"The view {view} was taken from {keyword}."),)
    return None, ()


def _named_views(description: str) -> set[str]:
    words = set(re.split(r"[^A-Z]+", description.replace("P.A.", "PA").replace("A.P.", "AP")))
    found = words & {"PA", "AP"}
    return found | {"LATERAL"} if words & {"LAT", "LATERAL"} else found


def body_part(dataset: Dataset) -> str | None:
    """Body Part Examined, else the meaning of the anatomic region's code, in upper case."""
    named = text(dataset, "BodyPartExamined")
    regions = items(dataset, "AnatomicRegionSequence")
    return named or (text(regions[0], "CodeMeaning") if regions else None)


def _sex(dataset: Dataset) -> Sex | None:
    match text(dataset, "PatientSex"):
        case "F":
            return "F"
        case "M":
            return "M"
    return None


def _age(dataset: Dataset) -> float | None:
    """Years, 0 to 120: Patient's Age (VR AS: 045Y, 018M, 006W, 003D), else from birth to study."""
    found = re.fullmatch(r"(\d{1,3})([DWMY]?)", text(dataset, "PatientAge") or "")
    if found and (stated := int(found[1]) * _YEARS[found[2] or "Y"]) <= _OLDEST:
        return stated
    born = _date(dataset, "PatientBirthDate")
    taken = _date(dataset, "StudyDate") or _date(dataset, "AcquisitionDate") or _date(dataset, "ContentDate")
    if born is None or taken is None:
        return None
    years = (taken - born).days / 365.25
    return years if 0 <= years <= _OLDEST else None


def _date(dataset: Dataset, keyword: str) -> date | None:
    found = re.fullmatch(r"(\d{4})[.-]?(\d\d)[.-]?(\d\d)", text(dataset, keyword) or "")
    try:
        return date(int(found[1]), int(found[2]), int(found[3])) if found else None
    except ValueError:
        return None


def _spacing(dataset: Dataset) -> tuple[float, float] | None:
    """(row, column) mm: at the patient where calibrated, else at the detector, else of the film scanner."""
    for keyword in ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing"):
        found = numbers(dataset, keyword)
        if len(found) == 2 and all(math.isfinite(n) and n > 0 for n in found):
            return found[0], found[1]
    return None


def _character_set(dataset: Dataset) -> tuple[Notice, ...]:
    unknown = [
        str(v) for v in values(dataset, "SpecificCharacterSet") if str(v).strip() not in python_encoding
    ]
    if not unknown:
        return ()
    return (
        Notice("character_set", f"The header's character set {unknown[0]!r} is unknown; texts may be wrong."),
    )
