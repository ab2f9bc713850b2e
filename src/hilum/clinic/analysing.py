"""What a worker's process does with a film: analyse it, and write its results into the folder it was given."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hilum.errors import HilumError
from hilum.images.grey_facts import grey_facts

if TYPE_CHECKING:
    from hilum.analysis.analyzer import Analyzer
    from hilum.analysis.report import Report

STEM = "report"

DicomWriter = Callable[["Report", Path, Path], Sequence[tuple[str, str]]]
"""Writes DICOM objects of a report on the film at the first path into the second; returns (SOP Instance UID, file name)."""


@dataclass(frozen=True)
class Task:
    """The film, the UID that its results name it by, and an empty folder to write into."""

    film: Path
    sop_uid: str
    folder: Path


@dataclass(frozen=True)
class Analysed:
    """`bundles`: digest of the bundles that were loaded. `files`: names by kind (`json`, `html`, `overlay`, ...). `summary`:
    what lists show. `products`: (SOP Instance UID, file) of DICOM objects. `references`: by name of the bundle, what a drift
    is measured against (`bundles.reference`), of those that carry it."""

    bundles: str
    files: dict[str, Any]
    summary: dict[str, Any]
    products: tuple[tuple[str, str], ...] = ()
    seconds: float = 0.0
    references: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Analysing:
    """Makes the function that analyses; loads the bundles once, in the process where it is called.

    `bundles`, `samples`, `seed`, `runtime`: see `Analyzer`. `dicom`: what writes DICOM objects, or None for none.
    """

    bundles: tuple[str, ...] | None = None
    samples: int = 30
    seed: int = 0
    runtime: str = "torch"
    threads: int = 0
    dicom: DicomWriter | None = None

    def __call__(self) -> Callable[[Task], Analysed]:
        import cv2
        import torch

        threads = self.threads or os.cpu_count() or 1
        torch.set_num_threads(threads)
        cv2.setNumThreads(threads)
        from hilum.analysis.analyzer import Analyzer

        analyzer = Analyzer(self.bundles, self.samples, self.seed, runtime=self.runtime)
        return partial(_analyse, analyzer, self.dicom)


def _analyse(analyzer: Analyzer, dicom: DicomWriter | None, task: Task) -> Analysed:
    from hilum.analysis.render import write_report
    from hilum.images.read import read

    film = read(task.film)
    # A path of this machine tells a reader nothing; the UID is what an archive knows the film by.
    report = analyzer.analyze(replace(film, path=Path(task.sop_uid)))
    files: dict[str, Any] = {**write_report(report, task.folder, STEM), **_heat_maps(report, task.folder)}
    products, without = _dicom(dicom, report, task)
    files["dicom"] = [name for _, name in products]
    loaded = sorted(f"{b.info.name} {b.info.digest}" for b in (*analyzer.segmenters, *analyzer.finders))
    digest = hashlib.sha256("\n".join(loaded).encode()).hexdigest()
    told = summary(report) | {"no_dicom": without}
    return Analysed(digest, files, told, products, report.seconds, _references(analyzer))


def _references(analyzer: Analyzer) -> dict[str, Any]:
    infos = [bundle.info for bundle in analyzer.finders]
    return {info.name: info.reference.model_dump(mode="json") for info in infos if info.reference is not None}


def _heat_maps(report: Report, folder: Path) -> dict[str, str]:
    """Every finding's heat as a small grey PNG for the page, as the network gave it; names by `map:<bundle>:<finding>`."""
    from hilum.analysis.render import pictures

    names: dict[str, str] = {}
    for number, finding in enumerate(report.findings):
        if finding.heatmap is not None and not finding.empty:
            name = f"{STEM}.map-{number}.png"
            (folder / name).write_bytes(pictures.heat_png(finding.heatmap, finding.heatmap.shape))
            names[f"map:{finding.bundle}:{finding.name}"] = name
    return names


def dicom_writer() -> DicomWriter | None:
    """What writes the DICOM objects of a report, where this Hilum has it."""
    try:
        from hilum.clinic import results  # noqa: F401
    except ImportError:
        return None
    return _write_dicom


def _write_dicom(report: Report, film: Path, folder: Path) -> list[tuple[str, str]]:
    from pydicom import dcmread

    from hilum.clinic.results import write_results

    names = write_results(replace(report, film=replace(report.film, path=film)), folder, STEM)
    return [
        (str(dcmread(folder / name, stop_before_pixels=True).SOPInstanceUID), name) for name in names.values()
    ]


def _dicom(
    writer: DicomWriter | None, report: Report, task: Task
) -> tuple[tuple[tuple[str, str], ...], str | None]:
    """The DICOM objects of a report, or why there are none. A film that cannot be cited still has its other results."""
    if writer is None:
        return (), None
    if report.film.format != "dicom":
        return (), "the film is no DICOM object"
    try:
        return tuple(writer(report, task.film, task.folder)), None
    except HilumError as error:
        return (), error.fault


def summary(report: Report) -> dict[str, Any]:
    """What a worklist shows of a report without opening it."""
    return {
        "analysable": report.analysable,
        "reason": report.reason,
        "view": report.film.view,
        "warnings": [notice.code for notice in report.warnings],
        "pixels": grey_facts(report.film),
        "findings": [
            {
                "name": f.name,
                "bundle": f.bundle,
                "group": f.group,
                "probability": f.probability,
                "interval": list(f.interval) if f.interval is not None else None,
                "threshold": f.threshold,
                "positive": f.positive,
            }
            for f in report.findings
        ],
        "boxes": [{"name": b.name, "score": b.score, "box": list(b.box)} for b in report.boxes],
    }
