"""Findings as a structured report: TID 1500 "Measurement Report" (PS3.16), a Comprehensive SR that machines can read.

A finding is a measurement group: what it is, whether it is called, and its numbers (probability, standard deviation,
interval, threshold), each with a code and a unit. A box is a group with its region as a closed polyline on the film's
own pixel matrix. Warnings, the reason where a film was not analysed and the research-use line stand at the end, as
comments.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

import numpy as np
from highdicom.sr import (
    AlgorithmIdentification,
    ComprehensiveSR,
    DeviceObserverIdentifyingAttributes,
    GraphicTypeValues,
    ImageRegion,
    Measurement,
    MeasurementReport,
    MeasurementsAndQualitativeEvaluations,
    ObservationContext,
    ObserverContext,
    PlanarROIMeasurementsAndQualitativeEvaluations,
    QualitativeEvaluation,
    RelationshipTypeValues,
    SourceImageForMeasurementGroup,
    SourceImageForRegion,
    TextContentItem,
    TrackingIdentifier,
)
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes as dicom_codes

from hilum import __version__, findings
from hilum.analysis.report import BoxResult, FindingResult, Report
from hilum.bundles.card import RESEARCH_USE
from hilum.clinic.results import codes
from hilum.clinic.results.common import SOFTWARE, bundle_of, finished, instance
from hilum.clinic.results.geometry import outline
from hilum.clinic.results.source import Source
from hilum.clinic.results.uids import result_uid

Group = MeasurementsAndQualitativeEvaluations | PlanarROIMeasurementsAndQualitativeEvaluations


def structured_report(report: Report, source: Source, made: datetime) -> Dataset:
    """The report as a dataset, complete, neither final nor verified: a person has to look at it."""
    groups: list[Group] = [_finding(report, finding, source) for finding in report.findings]
    groups += [_box(report, number, box, source) for number, box in enumerate(report.boxes)]
    if not groups:
        groups = [_nothing(report, source)]
    content = MeasurementReport(
        observation_context=ObservationContext(observer_device_context=_observer()),
        procedure_reported=codes.PLAIN_CHEST_FILM,
        imaging_measurements=groups,
        title=codes.REPORT,
    )
    content[0].ContentSequence.extend(_comment(text) for text in _comments(report))
    result = ComprehensiveSR(
        evidence=[source.header],
        content=content[0],
        is_complete=True,
        coding_schemes=codes.SCHEMES,
        **instance(report, source, "sr", made),
    )
    return finished(result, report, source, made)


def _observer() -> ObserverContext:
    return ObserverContext(
        observer_type=dicom_codes.DCM.Device,
        observer_identifying_attributes=DeviceObserverIdentifyingAttributes(
            uid=SOFTWARE,
            name="Hilum",
            manufacturer_name="Hilum",
            model_name="Hilum",
            serial_number=__version__,
        ),
    )


def _finding(report: Report, finding: FindingResult, source: Source) -> Group:
    measured = [
        (codes.PROBABILITY, finding.probability),
        (codes.STANDARD_DEVIATION, finding.std),
        (codes.INTERVAL_LOW, finding.interval[0] if finding.interval is not None else None),
        (codes.INTERVAL_HIGH, finding.interval[1] if finding.interval is not None else None),
        (codes.THRESHOLD, finding.threshold),
        (codes.LUNG_SHARE, finding.lung_share),
    ]
    if finding.group is None and finding.threshold is None:
        presence = codes.UNDETERMINED
    else:
        presence = codes.PRESENT if finding.positive else codes.ABSENT
    about = [f"uncertainty {finding.method}"]
    if finding.group is not None:
        about.append(f"one of the exclusive classes '{finding.group}'")
    return MeasurementsAndQualitativeEvaluations(
        tracking_identifier=_tracking(report, source, "finding", finding.bundle, finding.name),
        finding_type=codes.finding_code(finding.name, finding.code),
        algorithm_id=_algorithm(report, finding.bundle, about),
        measurements=[
            Measurement(name, _plain(value), codes.ONE) for name, value in measured if value is not None
        ],
        qualitative_evaluations=[QualitativeEvaluation(codes.PRESENCE, presence)],
        source_images=[SourceImageForMeasurementGroup(source.header.SOPClassUID, source.uid)],
    )


def _box(report: Report, number: int, box: BoxResult, source: Source) -> Group:
    region = ImageRegion(
        graphic_type=GraphicTypeValues.POLYLINE,
        graphic_data=outline(np.array(box.box), report, source),
        source_image=SourceImageForRegion(source.header.SOPClassUID, source.uid),
    )
    about = [f"seen by {box.seen_by} detectors"] if box.seen_by > 1 else []
    return PlanarROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=_tracking(report, source, "box", str(number), box.name),
        referenced_region=region,
        finding_type=codes.finding_code(box.name, _code_of(box.name)),
        algorithm_id=_algorithm(report, box.bundle, about),
        measurements=[Measurement(codes.CERTAINTY, _plain(100 * box.score), codes.PERCENT)],
        qualitative_evaluations=[QualitativeEvaluation(codes.PRESENCE, codes.PRESENT)],
    )


def _nothing(report: Report, source: Source) -> Group:
    """A film without findings or boxes: it was not analysed, or nothing ran on it that gives any."""
    group = MeasurementsAndQualitativeEvaluations(
        tracking_identifier=_tracking(report, source, "film"),
        algorithm_id=AlgorithmIdentification(name="Hilum", version=__version__),
        qualitative_evaluations=[
            QualitativeEvaluation(
                codes.ANALYSIS, codes.SUCCEEDED if report.analysable else codes.NOT_ATTEMPTED
            )
        ],
        source_images=[SourceImageForMeasurementGroup(source.header.SOPClassUID, source.uid)],
    )
    if report.reason:
        group[0].ContentSequence.append(_comment(f"Not analysed: {report.reason}"))
    return group


def _comments(report: Report) -> Iterable[str]:
    yield f"{RESEARCH_USE} Hilum {__version__}."
    if not report.analysable:
        yield f"Not analysed: {report.reason or 'no reason given'}"
    for used in report.bundles:
        yield f"Bundle {used.name} {used.version} ({used.title}), digest {used.digest}, {used.licence}."
    for notice in report.warnings:
        yield f"Warning {notice.code}: {notice.text}"


def _comment(text: str) -> TextContentItem:
    return TextContentItem(codes.COMMENT, text, RelationshipTypeValues.CONTAINS)


def _algorithm(report: Report, name: str, about: list[str]) -> AlgorithmIdentification:
    used = bundle_of(report, name)
    if used is None:  # a fusion of several detectors, each of which the comments name
        return AlgorithmIdentification(
            name=name, version=__version__, parameters=about or None, family=codes.AI
        )
    parameters = [f"digest {used.digest}", f"runtime {used.runtime}", f"Hilum {__version__}", *about]
    return AlgorithmIdentification(
        name=used.name, version=used.version, parameters=parameters, family=codes.AI
    )


def _tracking(report: Report, source: Source, *what: str) -> TrackingIdentifier:
    return TrackingIdentifier(uid=result_uid(report, source.uid, *what), identifier=" ".join(what))


def _code_of(name: str) -> dict[str, str] | None:
    """The vocabulary's code of a box's name, where it has one."""
    try:
        known = findings.find(name)
    except findings.UnknownFindingError:
        return None
    if known.code is None or known.code_scheme is None:
        return None
    return {"scheme": known.code_scheme, "value": known.code, "meaning": known.code_meaning or known.name}


def _plain(value: float) -> float:
    """Six decimals: a numeric value (DS) has 16 characters, and no probability is known better."""
    return round(float(value), 6)
