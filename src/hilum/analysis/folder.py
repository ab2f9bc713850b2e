"""Analyse many films: find them, analyse each in a worker process, write each result as it comes, index all of them."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from hilum.analysis.workers import Failed, run_each
from hilum.errors import HilumError, one_line

logger = logging.getLogger(__name__)

Formats = tuple[str, ...]

TIMEOUT = 300.0  # seconds a film
# Files that lie beside films in a folder and are none. A file that is named on the command line is always tried.
SIDE_FILES = frozenset(
    f".{kind}"
    for kinds in (
        "txt csv tsv json jsonl xml yaml yml toml parquet xlsx md rst log pdf docx",
        "html htm css js py ipynb sha256 md5",
        "npy npz pt pth safetensors hilum onnx zip gz tgz tar 7z",
    )
    for kind in kinds.split()
)
SIDE_NAMES = frozenset({"dicomdir", "readme", "license", "thumbs.db", "desktop.ini", "makefile"})


@dataclass(frozen=True)
class Summary:
    """What came of one call.

    `entries`: what the index shows of each report, in the order of the inputs; `failures`: `file`, `fault` and `mend` of
    each film without one. `index`: the index page. `exit_code`: 0, or 1 where a film failed.
    """

    index: Path
    entries: list[dict[str, Any]]
    failures: list[dict[str, Any]]
    seconds: float

    @property
    def exit_code(self) -> int:
        return 1 if self.failures else 0


@dataclass(frozen=True)
class Job:
    """One film and the stem of the names of its results."""

    path: Path
    stem: str


def analyze_all(
    paths: Iterable[str | Path],
    out: str | Path,
    formats: Formats = ("json", "html", "png"),
    bundles: Sequence[str | Path] | None = None,
    samples: int = 30,
    seed: int = 0,
    jobs: int = 1,
    timeout: float | None = TIMEOUT,
    runtime: str = "torch",
    progress: Callable[[int, int], None] | None = None,
) -> Summary:
    """Analyse files and folders (searched whole) and write a report of each film, and an index of all, into `out`.

    A film that cannot be analysed, crashes its worker or takes longer than `timeout` seconds becomes a failure and the
    others go on. `progress` is told (films done, films in all). `bundles`, `samples`, `seed`, `runtime`: see `Analyzer`.
    Films are analysed in processes of their own, so a script that calls this keeps its calls under
    `if __name__ == "__main__":`. Raises HilumError where a bundle cannot be loaded, a format is unknown, or `out` cannot be
    written.
    """
    from hilum.analysis.render import FORMATS, write_index

    unknown = sorted(set(formats) - set(FORMATS))
    if unknown or not formats:
        raise HilumError(f"there is no report format {unknown}", mend=f"Choose from: {', '.join(FORMATS)}")
    started = time.perf_counter()
    out = Path(out)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise HilumError(f"the folder cannot be made ({error.strerror})", path=out) from error
    films, missing = expand(paths, out)
    work = with_stems(films)
    threads = max(1, (os.cpu_count() or 1) // max(1, jobs))
    make = partial(_worker, bundles, samples, seed, out, formats, threads, runtime)
    reports: dict[int, dict[str, Any]] = {}
    failed: dict[int, Failed] = {}
    try:
        for index, outcome in run_each(make, work, max(1, jobs), timeout):
            if isinstance(outcome, Failed):
                failed[index] = outcome
                _log(work[index].path, outcome)
            else:
                reports[index] = outcome
            if progress is not None:
                progress(len(reports) + len(failed), len(work))
    finally:  # an interrupted call still has an index of what it did
        entries = [reports[i] for i in sorted(reports)]
        failures = missing + [_failure(work[i].path, failed[i]) for i in sorted(failed)]
        seconds = time.perf_counter() - started
        index_page = write_index(entries, failures, out, seconds)
    return Summary(index_page, entries, failures, seconds)


def expand(paths: Iterable[str | Path], out: Path) -> tuple[list[Path], list[dict[str, Any]]]:
    """Films to try, each once, in the order given and sorted within a folder; and a failure for each path without any.

    In a folder every regular file is a film but hidden ones, known side files, and what lies in `out`.
    """
    films: dict[str, Path] = {}
    failures = []
    for path in map(Path, paths):
        found = list(_in_folder(path, out)) if path.is_dir() else [path]
        if not path.exists():
            failures.append(_failure(path, Failed("there is no such file", "Check the path")))
        elif not path.is_dir() and not path.is_file():
            failures.append(_failure(path, Failed("this is no regular file", "Give a file or a folder")))
        elif not found:
            failures.append(
                _failure(
                    path, Failed("the folder holds no films", "Give a folder with DICOM, PNG, JPEG or TIFF")
                )
            )
        else:
            for film in found:
                films.setdefault(os.path.abspath(film), film)
    return list(films.values()), failures


def with_stems(films: Sequence[Path]) -> list[Job]:
    """Each film with a stem of its own: two films `a.dcm` and `a.png` are `a` and `a-2`, the same in every call.

    Stems differ in more than case, and none begins with another and a dot, since side pictures are `<stem>.<what>.png`.
    """
    from hilum.analysis.render import safe_name

    taken = {"index"}  # whole stems, and every stem cut at a dot
    stems: set[str] = {"index"}
    jobs = []
    for film in films:
        base = safe_name(film.stem)
        stem, number = base, 1
        while stem.casefold() in taken or not stems.isdisjoint(_beginnings(stem)):
            number += 1
            stem = f"{base.replace('.', '_')}-{number}"
        stems.add(stem.casefold())
        taken.update(_beginnings(stem))
        jobs.append(Job(film, stem))
    return jobs


def _beginnings(stem: str) -> list[str]:
    """The stem, and the stem cut at each of its dots, in lower case."""
    parts = stem.casefold().split(".")
    return [".".join(parts[: i + 1]) for i in range(len(parts))]


def _in_folder(folder: Path, out: Path) -> Iterator[Path]:
    barred = out.resolve()
    for place, folders, names in os.walk(folder):
        here = Path(place)
        folders[:] = sorted(f for f in folders if not f.startswith(".") and (here / f).resolve() != barred)
        for name in sorted(names):
            film = here / name
            if not name.startswith(".") and not _is_side_file(name) and film.is_file():
                yield film


def _is_side_file(name: str) -> bool:
    lower = name.lower()
    return lower in SIDE_NAMES or Path(lower).suffix in SIDE_FILES


def _failure(path: Path, failed: Failed) -> dict[str, Any]:
    return {"file": one_line(str(path)), "fault": failed.fault, "mend": failed.mend}


def _log(path: Path, failed: Failed) -> None:
    """The trace of an unforeseen failure, a line a record; the rest is told to the caller anyway."""
    logger.info("%s: %s", one_line(str(path)), failed.fault)
    for line in (failed.trace or "").splitlines():
        logger.error("%s", line)


def _worker(
    bundles: Sequence[str | Path] | None,
    samples: int,
    seed: int,
    out: Path,
    formats: Formats,
    threads: int,
    runtime: str,
) -> Callable[[Job], dict[str, Any]]:
    """What a worker process does with a film; runs in the worker."""
    import cv2
    import torch

    torch.set_num_threads(threads)
    cv2.setNumThreads(threads)
    from hilum.analysis.analyzer import Analyzer

    with_heatmaps = bool({"html", "png"} & set(formats))
    analyzer = Analyzer(bundles, samples, seed, with_heatmaps, runtime)
    return partial(_analyze_one, analyzer, out, formats)


def _analyze_one(analyzer: Any, out: Path, formats: Formats, job: Job) -> dict[str, Any]:
    from hilum.analysis.render import write_report
    from hilum.analysis.render.pictures import NOTHING_FOUND

    report = analyzer.analyze(job.path)
    names = write_report(report, out, job.stem, formats)
    return {
        "file": one_line(str(job.path)),
        "report": names.get("json"),
        "html": names.get("html"),
        "png": names.get("overlay"),
        "analysable": report.analysable,
        "reason": report.reason,
        "positive": [f.name for f in report.findings if f.positive and f.name not in NOTHING_FOUND],
        "warnings": [notice.text for notice in report.warnings],
        "seconds": round(report.seconds, 4),
    }
