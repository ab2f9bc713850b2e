"""The lungs as a DICOM Segmentation (PS3.3 A.51): two binary segments on the film's own pixel matrix.

A film rarely has a frame of reference (CR never, DX seldom). Then the segmentation has none either: it says by
reference which film it lies on, pixel on pixel.
"""

from __future__ import annotations

from copy import deepcopy
from datetime import datetime

import numpy as np
from highdicom import AlgorithmIdentificationSequence
from highdicom.color import CIELabColor
from highdicom.seg import (
    SegmentAlgorithmTypeValues,
    Segmentation,
    SegmentationTypeValues,
    SegmentDescription,
)
from pydicom.dataset import Dataset

from hilum.analysis.report import LungsResult, Report
from hilum.clinic.results import codes
from hilum.clinic.results.common import bundle_of, finished, instance
from hilum.clinic.results.source import Source
from hilum.clinic.results.uids import result_uid

_SIDES = (
    ("Left lung", codes.LEFT, (0.0, 174.0, 239.0)),
    ("Right lung", codes.RIGHT, (255.0, 186.0, 73.0)),
)


def segmentation(report: Report, lungs: LungsResult, source: Source, made: datetime) -> Dataset:
    """Segment 1 is the person's left lung, segment 2 the right; an empty one is kept, as a frame of zeros."""
    masks = np.stack([source.mask(lungs.left), source.mask(lungs.right)], axis=-1)
    used = bundle_of(report, lungs.bundle)
    algorithm = AlgorithmIdentificationSequence(
        name=lungs.bundle[:64],
        family=codes.AI,
        version=(used.version if used is not None else "unknown")[:64],
        source="Hilum",
        parameters={"digest": used.digest} if used is not None else None,
    )
    segments = [
        SegmentDescription(
            segment_number=number,
            segment_label=label,
            segmented_property_category=codes.ANATOMY,
            segmented_property_type=deepcopy(codes.LUNG),  # gets its side below
            algorithm_type=SegmentAlgorithmTypeValues.AUTOMATIC,
            algorithm_identification=algorithm,
            tracking_uid=result_uid(report, source.uid, "seg", label),
            tracking_id=label,
            display_color=CIELabColor(*_lab(colour)),
        )
        for number, (label, _, colour) in enumerate(_SIDES, 1)
    ]
    for segment, (_, side, _) in zip(segments, _SIDES, strict=True):
        segment.SegmentedPropertyTypeCodeSequence[0].SegmentedPropertyTypeModifierCodeSequence = [side]
    result = Segmentation(
        source_images=[_plane(source.header)],
        pixel_array=masks[None],
        segmentation_type=SegmentationTypeValues.BINARY,
        segment_descriptions=segments,
        omit_empty_frames=False,
        content_label="LUNGS",
        content_description="Left and right lung, found by Hilum",
        **instance(report, source, "seg", made),
    )
    organisation = result_uid(report, source.uid, "seg", "dimensions")
    for item in (*result.DimensionOrganizationSequence, *result.DimensionIndexSequence):
        item.DimensionOrganizationUID = organisation
    result.PatientOrientation = source.header.PatientOrientation
    return finished(result, report, source, made)


def _plane(header: Dataset) -> Dataset:
    """The header, without its spacing where it has no frame of reference: Pixel Measures go with one."""
    if "FrameOfReferenceUID" in header:
        return header
    plain = Dataset(header)
    plain.pop("PixelSpacing", None)
    return plain


def _lab(rgb: tuple[float, float, float]) -> tuple[float, float, float]:
    """sRGB (0 to 255) as CIELab, D65."""
    import cv2

    pixel = np.array([[rgb]], np.float32) / 255
    lightness, a, b = cv2.cvtColor(pixel, cv2.COLOR_RGB2LAB)[0, 0]
    return float(lightness), float(a), float(b)
