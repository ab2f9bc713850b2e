"""From a report and its film to DICOM results, as datasets or as files."""

from __future__ import annotations

import io
import warnings
from datetime import datetime
from pathlib import Path

from pydicom.dataset import Dataset

from hilum.analysis.render.files import safe_name, write_whole
from hilum.analysis.report import Report
from hilum.clinic.results.source import Source, read_source
from hilum.errors import HilumError, MissingExtraError

KINDS = ("sr", "seg", "sc", "gsps")
"""Structured report, segmentation, secondary capture, presentation state."""


def check_extra() -> None:
    """Raise MissingExtraError where the extra `clinic` is not installed."""
    try:
        import highdicom  # noqa: F401
    except ImportError:
        raise MissingExtraError.named("clinic", "Writing DICOM results") from None


def results_of(report: Report, source: Source, made: datetime | None = None) -> dict[str, Dataset]:
    """A report as DICOM datasets by kind (of `KINDS`), in the study of its film, which `source` describes.

    `sr` and `sc` are always there; `seg` where lungs were looked for; `gsps` where the film was analysed and is
    greyscale, as presentation states must be. `made`: when; now, where it is not given. Identifiers follow from the
    film and the bundles alone. Raises MissingExtraError without the extra `clinic`.
    """
    check_extra()
    from hilum.clinic.results.gsps import presentation_state
    from hilum.clinic.results.sc import secondary_capture
    from hilum.clinic.results.seg import segmentation
    from hilum.clinic.results.sr import structured_report

    made = (made or datetime.now()).replace(microsecond=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # highdicom and pydicom advise on style
        results = {
            "sr": structured_report(report, source, made),
            "sc": secondary_capture(report, source, made),
        }
        if report.lungs is not None:
            results["seg"] = segmentation(report, report.lungs, source, made)
        if report.analysable and source.chain is not None:
            results["gsps"] = presentation_state(report, source, source.chain, made)
    return {kind: results[kind] for kind in KINDS if kind in results}


def write_results(report: Report, out: Path, stem: str, made: datetime | None = None) -> dict[str, str]:
    """Write `<stem>.<kind>.dcm` for each kind of result into the folder `out`; returns the names by kind.

    The film is read again from the report's path. Raises HilumError where it is no DICOM film, or the folder cannot be
    written.
    """
    results = results_of(report, read_source(report.film.path), made)
    names = {kind: f"{safe_name(stem)}.{kind}.dcm" for kind in results}
    try:
        out.mkdir(parents=True, exist_ok=True)
        for kind, result in results.items():
            write_whole(out / names[kind], as_bytes(result))
    except OSError as error:
        reason = error.strerror or error
        raise HilumError(
            f"the DICOM results cannot be written ({reason})", path=out, mend="Check space and permissions."
        ) from error
    return names


def as_bytes(result: Dataset) -> bytes:
    """A dataset as a DICOM file (PS3.10)."""
    stream = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        result.save_as(stream, enforce_file_format=True)
    return stream.getvalue()
