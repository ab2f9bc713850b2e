"""The picture for viewers that show nothing else: film, lungs, heat, boxes burnt into a Secondary Capture (PS3.3 A.8.1)."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from highdicom.sc import SCImage
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes as dicom_codes

from hilum.analysis.render.overlay import overlay
from hilum.analysis.report import Report
from hilum.bundles.card import RESEARCH_USE
from hilum.clinic.results.common import finished, instance, study
from hilum.clinic.results.source import Source

SIDE = 2048
"""Pixels of the picture's long side at most, caption and all."""


def secondary_capture(report: Report, source: Source, made: datetime) -> Dataset:
    """The report's overlay, RGB of 8 bits, upright, with the caption that says what was found and for what use it is."""
    # A file's name is no part of the result: the same film gives the same picture wherever it lies.
    nameless = replace(report, film=replace(report.film, path=None))
    picture = overlay(nameless, SIDE)
    result: Dataset = SCImage(
        pixel_array=picture,
        photometric_interpretation="RGB",
        bits_allocated=8,
        coordinate_system="PATIENT",
        patient_orientation=source.orientation or ("L", "F"),
        **study(source),
        **instance(report, source, "sc", made),
    )
    if source.orientation is None:
        result.PatientOrientation = ""
    result.ConversionType = "WSD"
    result.DateOfSecondaryCapture, result.TimeOfSecondaryCapture = (
        made.strftime("%Y%m%d"),
        made.strftime("%H%M%S"),
    )
    result.ImageType = ["DERIVED", "SECONDARY"]
    result.BurnedInAnnotation = "YES"
    result.RecognizableVisualFeatures = "NO"
    result.LossyImageCompression = source.header.get("LossyImageCompression", "00")
    result.DerivationDescription = f"Film with what Hilum found in it. {RESEARCH_USE}"[:1024]
    cited = Dataset()
    cited.ReferencedSOPClassUID = source.header.SOPClassUID
    cited.ReferencedSOPInstanceUID = source.header.SOPInstanceUID
    purpose = Dataset()
    code = dicom_codes.DCM.SourceImageForImageProcessingOperation
    purpose.CodeValue, purpose.CodingSchemeDesignator, purpose.CodeMeaning = code[0], code[1], code[2]
    cited.PurposeOfReferenceCodeSequence = [purpose]
    result.SourceImageSequence = [cited]
    return finished(result, report, source, made)
