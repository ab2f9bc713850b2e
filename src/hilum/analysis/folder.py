"""Analyse many films: find them, analyse each in a worker process, write each result as it comes, index all of them."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hilum.analysis.heatmaps import DEFAULT
from hilum.analysis.names import names_of
from hilum.analysis.search import expand, failure_of, is_folder
from hilum.analysis.workers import Failed, run_each
from hilum.errors import HilumError, one_line

if TYPE_CHECKING:
    from hilum.analysis.box_files import FilmBoxes
    from hilum.analysis.detection import Detection
    from hilum.analysis.report import Report
    from hilum.analysis.truth import Size, Truth

logger = logging.getLogger(__name__)

Formats = tuple[str, ...]
Writer = Callable[["Report", Path, str], dict[str, str]]
"""What writes further files of a report into a folder under a stem, and returns their names by kind."""

SIDE_RESULTS = (".sr", ".seg", ".sc", ".gsps")  # before `.dcm`, in the names of DICOM results
TIMEOUT = 300.0  # seconds a film


@dataclass(frozen=True)
class Summary:
    """What came of one call.

    `entries`: what the index shows of each report, in the order of the inputs; `failures`: `file`, `fault` and `mend` of
    each film without one. `index`: the index page. `exit_code`: 0, or 1 where a film failed. `boxes`: of each analysable
    film on which a bundle detected.
    """

    index: Path
    entries: list[dict[str, Any]]
    failures: list[dict[str, Any]]
    seconds: float
    boxes: tuple[FilmBoxes, ...] = ()

    @property
    def exit_code(self) -> int:
        return 1 if self.failures else 0


@dataclass(frozen=True)
class Job:
    """One film, the stem of the names of its results, and the film's name in tables (`names.names_of`)."""

    path: Path
    stem: str
    name: str


@dataclass(frozen=True)
class Beside:
    """What is known of films beside their pixels: readers' boxes, and the sizes that films were published in."""

    truth: Truth | None = None
    sizes: Mapping[str, Size] | None = None


@dataclass(frozen=True)
class Writing:
    """What is written of a film, and where."""

    out: Path
    formats: Formats
    beside: Beside
    writer: Writer | None


def analyze_all(
    paths: Iterable[str | Path],
    out: str | Path,
    formats: Formats = ("json", "html", "png"),
    bundles: Sequence[str | Path] | None = None,
    samples: int = 30,
    seed: int = 0,
    jobs: int = 1,
    timeout: float | None = TIMEOUT,
    runtime: str = "tuned",
    heatmap_method: str = DEFAULT,
    progress: Callable[[int, int], None] | None = None,
    detection: Detection | None = None,
    beside: Beside | None = None,
    each: Callable[[FilmBoxes], None] | None = None,
    writer: Writer | None = None,
    whole: bool = False,
) -> Summary:
    """Analyse files and folders (searched whole) and write a report of each film, and an index of all, into `out`.

    A film that cannot be analysed, crashes its worker or takes longer than `timeout` seconds becomes a failure and the
    others go on. `progress` is told (films done, films in all). `bundles`, `samples`, `seed`, `runtime`,
    `heatmap_method`, `detection`, `whole`: see `Analyzer`. `beside`: readers' boxes to draw `<name>.beside.png` with, for
    films that they are known of; a film without one of its sizes is a failure. `each` is told the boxes of a film as soon
    as it ends. `writer`: what a higher floor writes of each film (DICOM results); it must pickle, it comes before the
    report, and a film that it refuses is a failure.
    Films are analysed in processes of their own, so a script that calls this keeps its calls under
    `if __name__ == "__main__":`. Raises HilumError where a bundle cannot be loaded, a format is unknown, or `out` cannot be
    written or is one of the folders to search. A film that lies in `out` is never written over.
    """
    from hilum.analysis.render import FORMATS, write_index

    unknown = sorted(set(formats) - set(FORMATS))
    if unknown or not (formats or writer):
        raise HilumError(f"there is no report format {unknown}", mend=f"Choose from: {', '.join(FORMATS)}")
    started = time.perf_counter()
    paths, out = list(paths), Path(out)
    if any(is_folder(path, out) for path in paths):
        # The next call could not tell the pictures of this one from films.
        raise HilumError(
            "the results would lie among the films", path=out, mend="Give another folder, or one inside it."
        )
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise HilumError(f"the folder cannot be made ({error.strerror})", path=out) from error
    films, missing = expand(paths, out)
    work = with_stems(films, out)
    threads = max(1, (os.cpu_count() or 1) // max(1, jobs))
    write = Writing(out, formats, beside or Beside(), writer)
    make = partial(_worker, bundles, samples, seed, write, threads, runtime, heatmap_method, detection, whole)
    reports: dict[int, tuple[dict[str, Any], FilmBoxes | None]] = {}
    failed: dict[int, Failed] = {}
    try:
        for index, outcome in run_each(make, work, max(1, jobs), timeout):
            if isinstance(outcome, Failed):
                failed[index] = outcome
                _log(work[index].path, outcome)
            else:
                reports[index] = outcome
                if each is not None and outcome[1] is not None:
                    each(outcome[1])
            if progress is not None:
                progress(len(reports) + len(failed), len(work))
    finally:  # an interrupted call still has an index of what it did
        entries = [reports[i][0] for i in sorted(reports)]
        failures = missing + [failure_of(work[i].path, failed[i]) for i in sorted(failed)]
        seconds = time.perf_counter() - started
        index_page = write_index(entries, failures, out, seconds)
    boxes = tuple(found for i in sorted(reports) if (found := reports[i][1]) is not None)
    return Summary(index_page, entries, failures, seconds, boxes)


def with_stems(films: Sequence[Path], out: Path) -> list[Job]:
    """Each film with a stem of its own: two films `a.dcm` and `a.png` are `a` and `a-2`, the same in every call.

    Stems differ in more than case, and none begins with another and a dot, since side pictures are `<stem>.<what>.png`.
    A film `a.png` that lies in `out` itself is `a-2`, since `a.png` will be a result's name.
    """
    from hilum.analysis.render import safe_name

    taken = {"index"}  # whole stems, and every stem cut at a dot
    taken.update(start for film in films for start in _beginnings(_written_over(film, out)))
    stems: set[str] = {"index"}
    jobs = []
    for film, name in zip(films, names_of(films), strict=True):
        base = safe_name(film.stem)
        stem, number = base, 1
        while stem.casefold() in taken or not stems.isdisjoint(_beginnings(stem)):
            number += 1
            stem = f"{base.replace('.', '_')}-{number}"
        stems.add(stem.casefold())
        taken.update(_beginnings(stem))
        jobs.append(Job(film, stem, name))
    return jobs


def _written_over(film: Path, out: Path) -> str:
    """The stem by whose results the film would be written over; none, or the film's own."""
    real = Path(os.path.realpath(film))
    results = (
        film.suffix.lower() in (".png", ".html", ".json") or Path(film.stem).suffix.lower() in SIDE_RESULTS
    )
    return real.stem if results and str(real.parent) == os.path.realpath(out) else "index"


def _beginnings(stem: str) -> list[str]:
    """The stem, and the stem cut at each of its dots, in lower case."""
    parts = stem.casefold().split(".")
    return [".".join(parts[: i + 1]) for i in range(len(parts))]


def _log(path: Path, failed: Failed) -> None:
    """The trace of an unforeseen failure, a line a record; the rest is told to the caller anyway."""
    logger.info("%s: %s", one_line(str(path)), failed.fault)
    for line in (failed.trace or "").splitlines():
        logger.error("%s", line)


def _worker(
    bundles: Sequence[str | Path] | None,
    samples: int,
    seed: int,
    write: Writing,
    threads: int,
    runtime: str,
    heatmap_method: str,
    detection: Detection | None,
    whole: bool,
) -> Callable[[Job], tuple[dict[str, Any], FilmBoxes | None]]:
    """What a worker process does with a film; runs in the worker."""
    import cv2
    import torch

    torch.set_num_threads(threads)
    cv2.setNumThreads(threads)
    from hilum.analysis.analyzer import Analyzer

    with_heatmaps = bool({"html", "png"} & set(write.formats)) or write.writer is not None
    analyzer = Analyzer(bundles, samples, seed, with_heatmaps, runtime, heatmap_method, detection, whole)
    return partial(_analyze_one, analyzer, write)


def _analyze_one(analyzer: Any, write: Writing, job: Job) -> tuple[dict[str, Any], FilmBoxes | None]:
    """What the index shows of a film, and its boxes where it was looked at for some."""
    from hilum.analysis.box_files import FilmBoxes
    from hilum.analysis.render import write_beside, write_report
    from hilum.analysis.report import NOTHING_FOUND, ORGANS

    known = write.beside
    if known.sizes is not None and job.name not in known.sizes:
        mend = f"Add a row of '{job.name}' to it"
        raise HilumError("it has no size in the table of sizes", path=job.path, mend=mend)
    report = analyzer.analyze(job.path)
    if {"html", "png"} & set(write.formats) or write.writer is not None:
        report = report.in_full()
    further = write.writer(report, write.out, job.stem) if write.writer is not None else {}
    names = write_report(report, write.out, job.stem, write.formats)
    boxes = None
    if report.detection is not None:
        size = known.sizes[job.name] if known.sizes is not None else None
        truth = known.truth.of(job.name, report.film, size) if known.truth is not None else None
        boxes = FilmBoxes.of(job.name, report, truth, job.path)
        if truth is not None:
            names["beside"] = write_beside(report, truth, size, write.out, job.stem)
    positive = [f.name for f in report.findings if f.positive and f.name not in NOTHING_FOUND]
    positive += [box.name for box in report.boxes if box.name.lower() not in ORGANS]
    entry = {
        "file": one_line(str(job.path)),
        "name": job.name,
        "report": names.get("json"),
        "html": names.get("html"),
        "png": names.get("overlay"),
        "analysable": report.analysable,
        "reason": report.reason,
        "positive": list(dict.fromkeys(positive)),
        "warnings": [notice.text for notice in report.warnings],
        "seconds": round(report.seconds, 4),
    }
    named = ({"beside": names["beside"]} if "beside" in names else {}) | (
        {"dicom": further} if further else {}
    )
    return entry | named, boxes
