"""From films to tables: reports with boxes, `boxes.csv`, the competition's submission, and truth beside output."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hilum.analysis.box_files import (
    FilmBoxes,
    GrowingTable,
    class_name,
    table_of,
    write_boxes,
    write_submission,
)
from hilum.analysis.detection import Detection
from hilum.analysis.folder import TIMEOUT, Beside, Formats, Summary, Writer, analyze_all
from hilum.analysis.search import CLASSES
from hilum.analysis.truth import read_truth
from hilum.bundles import verify
from hilum.bundles.encoding import refuse_encoder
from hilum.bundles.generating import refuse_generator
from hilum.datasets.box_rows import known_name
from hilum.datasets.box_tables import COMPETITION_CLASSES, read_sizes
from hilum.errors import BundleError, HilumError, one_line

TABLE = "boxes.csv"


@dataclass(frozen=True)
class Outcome:
    """summary: of the reports. boxes: the table of all boxes. submission, classes: the files, where asked for.
    unjudged: films that are not analysable, which stand in no table. untold: films that the truth knows nothing of.
    renamed: file and name in tables of films whose name there is not their file's."""

    summary: Summary
    boxes: Path
    submission: Path | None
    classes: Path | None
    unjudged: tuple[str, ...]
    untold: tuple[str, ...]
    renamed: tuple[tuple[str, str], ...] = ()

    @property
    def exit_code(self) -> int:
        return self.summary.exit_code


def detect_films(
    paths: Sequence[str | Path],
    out: str | Path,
    bundles: Sequence[str | Path],
    how: Detection,
    *,
    submission: str | Path | None = None,
    sizes: str | Path | None = None,
    truth: str | Path | None = None,
    formats: Formats = ("json", "html", "png"),
    jobs: int = 1,
    timeout: float | None = TIMEOUT,
    progress: Callable[[int, int], None] | None = None,
    writer: Writer | None = None,
) -> Outcome:
    """Detect on films and folders: a report of each into `out` as `analyze_all` writes it, and one `boxes.csv` of all.

    Parameters
    ----------
    bundles: at least one detects; others (lungs, classifiers) take part in the reports.
    submission: a file for the competition's format.
    sizes: a table `image_id,width,height` of films whose files are reductions: tables, and a truth that is one, are then in
        pixels of the published films, and pictures have their shape.
    truth: readers' boxes to draw beside the output, see `truth.read_truth`.
    writer: see `analyze_all`.

    Boxes below their threshold stand in the tables too, for scores of rank need them; reports show those above. A film goes
    by the name of its file in every table; where files share a name, their folders stand before it (`names.names_of`,
    `Outcome.renamed`). A film that fails, or is not analysable, stands in no table. Rows are added to `boxes.csv` as films
    end, and put into the order of the films in the end; the submission is written then.
    Raises HilumError for bundles, tables and places that cannot be used, before any film is read.
    """
    folder = Path(out)
    _check(bundles, submission is not None)
    if submission is not None and Path(submission).is_dir():
        raise HilumError("the submission would be a folder", path=submission, mend="Give a file in it.")
    beside = Beside(
        read_truth(truth) if truth is not None else None,
        {name: (width, height) for name, width, height in read_sizes(sizes).iter_rows()}
        if sizes is not None
        else None,
    )
    table_file = GrowingTable(folder / TABLE, beside.sizes)
    summary = analyze_all(
        paths,
        folder,
        formats=formats,
        bundles=bundles,
        jobs=jobs,
        timeout=timeout,
        progress=progress,
        detection=how,
        beside=beside,
        each=table_file.add,
        writer=writer,
    )
    table = table_of(summary.boxes, folder / TABLE, beside.sizes)
    write_boxes(table, folder / TABLE)
    submitted = write_submission(table, Path(submission)) if submission is not None else None
    known = [film for film in summary.boxes if film.truth is not None]
    return Outcome(
        summary,
        folder / TABLE,
        submitted,
        _draw(known, folder / CLASSES) if known else None,
        tuple(entry["file"] for entry in summary.entries if not entry["analysable"]),
        tuple(film.name for film in summary.boxes if film.truth is None) if truth is not None else (),
        tuple((one_line(str(film.file)), film.name) for film in summary.boxes if film.renamed),
    )


def _check(bundles: Sequence[str | Path], numbered: bool) -> None:
    """That one of the bundles detects and, for a submission, that the competition has a number for each class."""
    infos = [verify(bundle) for bundle in bundles]
    for info in infos:
        refuse_encoder(info)
        refuse_generator(info, "Give bundles that detect")
    found = [info for info in infos if info.task == "detect"]
    if not found:
        raise BundleError("none of the bundles detects", mend="Name one that gives boxes with --bundle")
    for info in found if numbered else ():
        for label in info.labels:
            if known_name(label.name, "vinbig") not in COMPETITION_CLASSES:
                mend = "Leave the submission out: boxes.csv has names."
                raise BundleError(
                    f"its class '{label.name}' has no number in a submission", path=info.name, mend=mend
                )


def _draw(films: Sequence[FilmBoxes], path: Path) -> Path:
    from hilum.evaluation.plots_boxes import plot_class_films

    predicted = Counter(name for film in films for name in {class_name(called) for called in film.called})
    true: Counter[Any] = Counter(name for film in films for name in {box.name for box in film.truth or ()})
    return plot_class_films(predicted, true, path, len(films))
