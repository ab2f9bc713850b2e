"""Boxes and their labels as a presentation state (PS3.3 A.33.1): lines that a viewer lays on the film and can take away."""

from __future__ import annotations

from datetime import datetime

import numpy as np
from highdicom import VOILUT, ModalityLUT, ModalityLUTTransformation, PresentationLUTTransformation
from highdicom.pr import (
    AnnotationUnitsValues,
    GraphicAnnotation,
    GraphicLayer,
    GraphicObject,
    GraphicTypeValues,
    GrayscaleSoftcopyPresentationState,
    SoftcopyVOILUTTransformation,
    TextObject,
)
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from hilum.analysis.report import BoxResult, Report
from hilum.bundles.card import RESEARCH_USE
from hilum.clinic.results.common import finished, instance
from hilum.clinic.results.geometry import outline
from hilum.clinic.results.source import Source
from hilum.clinic.results.uids import result_uid
from hilum.images.greyscale import Chain, Lut, Rescale, Window

_FOOT = (0.01, 0.965, 0.99, 0.995)  # of what is displayed: where the research-use line stands


def presentation_state(report: Report, source: Source, chain: Chain, made: datetime) -> Dataset:
    """The film as its header shows it, with a closed line around each box, its name and score, and the research-use line."""
    layers = [
        GraphicLayer("BOXES", 1, "Boxes around findings"),
        GraphicLayer("NOTE", 2, "What the boxes are for"),
    ]
    notes = [
        GraphicAnnotation(
            [source.header],
            layers[1],
            text_objects=[TextObject(RESEARCH_USE, AnnotationUnitsValues.DISPLAY, _FOOT)],
        )
    ]
    drawn = [_box(report, number, box, source, layers[0]) for number, box in enumerate(report.boxes)]
    voi = _voi(chain)
    result = GrayscaleSoftcopyPresentationState(
        referenced_images=[source.header],
        content_label="HILUM",
        content_description="Boxes around what Hilum found",
        graphic_layers=layers if drawn else layers[1:],
        graphic_annotations=[*drawn, *notes],
        modality_lut_transformation=_modality(chain),
        voi_lut_transformations=[voi] if voi is not None else None,
        presentation_lut_transformation=PresentationLUTTransformation(
            "INVERSE" if chain.inverted else "IDENTITY"
        ),
        **instance(report, source, "gsps", made),
    )
    result.PresentationCreationDate, result.PresentationCreationTime = (
        made.strftime("%Y%m%d"),
        made.strftime("%H%M%S"),
    )
    return finished(result, report, source, made)


def _box(
    report: Report, number: int, box: BoxResult, source: Source, layer: GraphicLayer
) -> GraphicAnnotation:
    points = outline(np.array(box.box), report, source)
    uid = result_uid(report, source.uid, "box", str(number))
    rows, columns = source.size
    left, top = points.min(0)
    corner = (float(np.clip(left, 0, columns)), float(np.clip(top, 0, rows)))
    label = f"{box.name} {100 * box.score:.0f} %"
    return GraphicAnnotation(
        [source.header],
        layer,
        graphic_objects=[
            GraphicObject(
                GraphicTypeValues.POLYLINE,
                points,
                AnnotationUnitsValues.PIXEL,
                tracking_id=label,
                tracking_uid=uid,
            )
        ],
        text_objects=[
            TextObject(label, AnnotationUnitsValues.PIXEL, anchor_point=corner, anchor_point_visible=False)
        ],
    )


def _modality(chain: Chain) -> ModalityLUTTransformation | None:
    if isinstance(chain.modality, Rescale):
        return ModalityLUTTransformation(
            rescale_intercept=chain.modality.intercept, rescale_slope=chain.modality.slope, rescale_type="US"
        )
    if isinstance(chain.modality, Lut):
        return ModalityLUTTransformation(
            modality_lut=ModalityLUT(
                "US", chain.modality.first, np.asarray(chain.modality.entries, np.uint16)
            )
        )
    return None


def _voi(chain: Chain) -> SoftcopyVOILUTTransformation | None:
    if isinstance(chain.voi, Window):
        return SoftcopyVOILUTTransformation(
            window_center=chain.voi.centre, window_width=chain.voi.width, voi_lut_function=chain.voi.function
        )
    if isinstance(chain.voi, Lut):
        return SoftcopyVOILUTTransformation(voi_luts=[VOILUT(chain.voi.first, _of_16_bits(chain.voi))])
    return None


def _of_16_bits(lut: Lut) -> NDArray[np.uint16]:
    """A table's entries with their greatest possible value at 65535, since highdicom writes tables of 16 bits."""
    return np.rint(lut.entries * (65535 / (2**lut.bits - 1))).astype(np.uint16)
