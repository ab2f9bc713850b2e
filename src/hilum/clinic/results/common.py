"""What all DICOM results have in common: the study they join, the equipment that made them, dates, identifiers."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydicom.dataset import Dataset
from pydicom.uid import UID

from hilum import __version__
from hilum.analysis.report import BundleUsed, Report
from hilum.clinic.results.source import CHARACTERS, Source
from hilum.clinic.results.uids import result_uid, uid_of
from hilum.images.own_results import MANUFACTURER

# High numbers keep results behind the films in a viewer's list.
_SERIES = {
    "sr": (9001, "Hilum measurements"),
    "seg": (9002, "Hilum lungs"),
    "sc": (9003, "Hilum picture"),
    "gsps": (9004, "Hilum boxes"),
}
SOFTWARE = uid_of("hilum", "implementation")


def instance(report: Report, source: Source, kind: str, made: datetime) -> dict[str, Any]:
    """What every constructor of highdicom asks for, of the result `kind`."""
    number, description = _SERIES[kind]
    # A presentation state has a Presentation Creation Date in place of a Content Date (PS3.3 C.11.10).
    content = {} if kind == "gsps" else {"content_date": made.date(), "content_time": made.time()}
    return content | {
        "series_instance_uid": result_uid(report, source.uid, kind, "series"),
        "series_number": number,
        "sop_instance_uid": result_uid(report, source.uid, kind, "instance"),
        "instance_number": 1,
        "manufacturer": MANUFACTURER,
        "manufacturer_model_name": "Hilum",
        "software_versions": __version__,
        "device_serial_number": __version__,
        "series_description": description,
        "specific_character_set": CHARACTERS,
        "series_date": made.date(),
        "series_time": made.time(),
    }


def study(source: Source) -> dict[str, Any]:
    """The patient and the study, for constructors that do not take them from a film."""
    header = source.header
    return {
        "study_instance_uid": header.StudyInstanceUID,
        "patient_id": header.PatientID,
        "patient_name": header.PatientName,
        "patient_birth_date": header.PatientBirthDate,
        "patient_sex": header.PatientSex,
        "accession_number": header.AccessionNumber,
        "study_id": header.StudyID,
        "study_date": header.StudyDate or None,
        "study_time": header.StudyTime or None,
        "referring_physician_name": header.ReferringPhysicianName,
    }


def finished(result: Dataset, report: Report, source: Source, made: datetime) -> Dataset:
    """The result with what highdicom leaves out: the rest of patient and study, body part, times, the writer's name."""
    result.copy_patient_and_study_information(source.header)
    if "PatientIdentityRemoved" in source.header:
        result.PatientIdentityRemoved = source.header.PatientIdentityRemoved
    if result.Modality != "SR":
        part = source.header.get("BodyPartExamined") or ("CHEST" if report.analysable else None)
        if part is not None:
            result.BodyPartExamined = part
        if (
            part != "CHEST" and result.Modality != "SEG"
        ):  # type 2C, wanted where the body part does not say that it has no side
            result.Laterality = source.header.get("Laterality", "")
    for tool in result.get("ContributingEquipmentSequence", ()):
        if "ContributionDateTime" in tool:
            tool.ContributionDateTime = made
    result.InstanceCreationDate, result.InstanceCreationTime = (
        made.strftime("%Y%m%d"),
        made.strftime("%H%M%S"),
    )
    result.file_meta.ImplementationClassUID = UID(SOFTWARE)
    result.file_meta.ImplementationVersionName = f"HILUM_{__version__}"[:16]
    return result


def bundle_of(report: Report, name: str) -> BundleUsed | None:
    """The bundle called `name`; None for a fusion of several."""
    return next((used for used in report.bundles if used.name == name), None)
