"""`hilum detect`: films in, fused boxes out, as reports, a table and a submission."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hilum.cli.analyze import FORMAT_HELP, ROWS, USUAL, formats, split_formats

if TYPE_CHECKING:
    from hilum.analysis.detect_films import Outcome

METHODS = ("wbf", "nmw", "nms", "soft-nms", "soft-nms-linear")
CONF_TYPES = ("box_and_model_avg", "absent_model_aware_avg", "max")
HOWS, POOLS = ("hard", "soft"), ("max", "mean")


def _one_of(*known: str) -> Any:
    def check(value: str) -> str:
        if value not in known:
            raise typer.BadParameter(f"'{value}'. Choose from {', '.join(known)}.")
        return value

    return check


def _weights(text: str | None) -> str | None:
    if text is None:
        return None
    try:
        good = all(float(part) > 0 for part in text.split(","))
    except ValueError:
        good = False
    if not good:
        raise typer.BadParameter(f"'{text}'. Give numbers above 0 with commas between: 2,1.")
    return text


def detect(
    paths: Annotated[
        list[Path],
        typer.Argument(
            metavar="FILM...", help="Films (DICOM, PNG, JPEG, TIFF) or folders of them, searched whole."
        ),
    ],
    out: Annotated[
        Path,
        typer.Option("--out", "-o", metavar="DIR", help="Where the reports, the index and boxes.csv go."),
    ],
    bundle: Annotated[
        list[str],
        typer.Option(
            "--bundle",
            "-b",
            metavar="NAME|PATH",
            help="A detector, each with its own input size. Repeat it to fuse several.",
        ),
    ],
    method: Annotated[
        str,
        typer.Option(
            "--method", "-m", callback=_one_of(*METHODS), help=f"How boxes are fused: {', '.join(METHODS)}."
        ),
    ] = METHODS[0],
    iou: Annotated[
        float, typer.Option(min=0, max=0.999, help="Boxes of one thing overlap by more than this.")
    ] = 0.55,
    weights: Annotated[
        str | None,
        typer.Option(
            callback=_weights, metavar="W,W,...", help="How much each detector counts, in their order: 2,1."
        ),
    ] = None,
    skip_below: Annotated[
        float, typer.Option(min=0, max=1, help="Leave out boxes with a lower score before fusion.")
    ] = 0.0,
    conf_type: Annotated[
        str, typer.Option(callback=_one_of(*CONF_TYPES), help=f"Score of a wbf box: {', '.join(CONF_TYPES)}.")
    ] = CONF_TYPES[0],
    tta: Annotated[
        bool, typer.Option("--tta", help="Each detector sees a film on three scales: 1, 0.83 and 0.67.")
    ] = False,
    flip: Annotated[
        bool, typer.Option("--flip", help="With --tta: the middle one mirrored. No class may have a side.")
    ] = False,
    filter: Annotated[
        list[str] | None,
        typer.Option(
            "--filter",
            metavar="NAME|PATH",
            help="A classifier that says whether a film is normal. Repeat it for the mean of several.",
        ),
    ] = None,
    filter_label: Annotated[
        str | None,
        typer.Option(
            metavar="LABEL",
            help="The classifiers' label to go by; default: their 'No Finding' or 'Normal', else all their findings.",
        ),
    ] = None,
    filter_pool: Annotated[
        str,
        typer.Option(
            callback=_one_of(*POOLS),
            help="Without such a label: one minus the max or the mean of all findings.",
        ),
    ] = POOLS[0],
    filter_how: Annotated[
        str,
        typer.Option(
            callback=_one_of(*HOWS),
            help="hard drops the boxes of normal films, soft multiplies scores by 1 - p(normal).",
        ),
    ] = HOWS[0],
    filter_threshold: Annotated[
        float, typer.Option(min=0, max=1, help="Of hard: p(normal) from which a film is normal.")
    ] = 0.95,
    submission: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write the VinBigData competition's format (.csv or .csv.gz) too."),
    ] = None,
    sizes: Annotated[
        Path | None,
        typer.Option(
            metavar="CSV",
            help="image_id,width,height of the published films where the files are reductions: tables are in those pixels.",
        ),
    ] = None,
    truth: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Readers' boxes to draw beside the output: a manifest (.parquet) or a table of boxes.",
        ),
    ] = None,
    format: Annotated[str, typer.Option(callback=formats, help=FORMAT_HELP)] = USUAL,
    jobs: Annotated[int, typer.Option("--jobs", "-j", min=1, help="Worker processes.")] = 1,
    timeout: Annotated[
        float, typer.Option(min=0.1, help="Seconds a film may take before it counts as failed.")
    ] = 300.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for machines.")] = False,
) -> None:
    """Find boxes on films by one or more detectors, fused, and write reports, a table and a submission.

    Each film gives NAME.json, NAME.html and NAME.png as `hilum analyze` writes them, with boxes above their threshold; with
    --truth also NAME.beside.png. boxes.csv holds every box, for `hilum boxes fuse` and `hilum boxes score`. Ends with 0, or
    with 1 where a film failed.

    Examples:

      hilum detect film.dcm --bundle yolo-s --bundle yolo-m --out boxes

      hilum detect /films --bundle a --bundle b --weights 2,1 --method wbf --iou 0.5 --tta --out boxes --submission sub.csv

      hilum detect /films --bundle a --filter findings --filter-how soft --out boxes --truth films.parquet
    """  # fmt: skip
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from hilum.analysis.detect_films import detect_films
    from hilum.analysis.detection import Detection
    from hilum.analysis.normality import Filter
    from hilum.models.viewed import PLAIN, published_views

    if flip and not tta:
        raise typer.BadParameter("--flip goes with --tta")
    if filter_label is not None and not filter:
        raise typer.BadParameter("--filter-label goes with --filter")
    asked: Any = {"how": filter_how, "pool": filter_pool}
    judges = Filter(tuple(filter), filter_label, threshold=filter_threshold, **asked) if filter else None
    fusion: Any = {"method": method, "conf_type": conf_type}
    how = Detection(
        iou_threshold=iou,
        weights=tuple(float(part) for part in weights.split(",")) if weights else None,
        skip_below=skip_below,
        views=published_views(flip) if tta else PLAIN,
        filter=judges,
        **fusion,
    )
    chosen, writer = split_formats(format)
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, transient=True, disable=as_json) as bar:
        task = bar.add_task("Loading bundles", total=None)
        done = detect_films(
            paths,
            out,
            bundle,
            how,
            submission=submission,
            sizes=sizes,
            truth=truth,
            formats=chosen,
            writer=writer,
            jobs=jobs,
            timeout=timeout,
            progress=lambda some, total: bar.update(task, completed=some, total=total, description="Films"),
        )
    if as_json:
        typer.echo(json.dumps(_plain(done), indent=2))
    else:
        _show(done)
    raise typer.Exit(done.exit_code)


def _plain(done: Outcome) -> dict[str, Any]:
    summary = done.summary
    return {
        "index": str(summary.index),
        "boxes": str(done.boxes),
        "submission": str(done.submission) if done.submission else None,
        "classes": str(done.classes) if done.classes else None,
        "films": [
            {
                "film": film.name,
                "file": str(film.file),
                "boxes": len(film.boxes),
                "called": list(film.called),
                "normal": film.normal,
            }
            for film in summary.boxes
        ],
        "not_analysable": list(done.unjudged),
        "without_truth": list(done.untold),
        "renamed": dict(done.renamed),
        "failures": summary.failures,
        "seconds": round(summary.seconds, 3),
    }


def _show(done: Outcome) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console, summary = Console(), done.summary
    table = Table("Film", "Boxes", "Above threshold", "Normal", box=None, pad_edge=False)
    for film in summary.boxes[:ROWS]:
        normal = "–" if film.normal is None else f"{film.normal:.2f}"
        table.add_row(
            escape(film.name), f"{len(film.boxes):,}", escape(", ".join(film.called)) or "none", normal
        )
    if summary.boxes:
        console.print(table)
    if len(summary.boxes) > ROWS:
        console.print(f"… and {len(summary.boxes) - ROWS} more in {escape(str(done.boxes))}", soft_wrap=True)
    for name in done.unjudged[:ROWS]:
        console.print(f"not analysed, in no table: {escape(name)}", soft_wrap=True)
    for name in done.untold[:ROWS]:
        console.print(f"no truth: {escape(name)}", soft_wrap=True)
    for file, given in done.renamed[:ROWS]:
        console.print(f"in tables as {escape(given)}: {escape(file)}", soft_wrap=True)
    for failed in summary.failures[:ROWS]:
        mend = f" {failed['mend'].rstrip('.')}." if failed["mend"] else ""
        said = f"{escape(failed['file'])}: {escape(failed['fault'])}.{escape(mend)}"
        console.print(f"[red]failed[/] {said}", soft_wrap=True)
    lists = (done.unjudged, done.untold, done.renamed, summary.failures)
    hidden = sum(max(0, len(each) - ROWS) for each in lists)
    if hidden:
        console.print(f"… and {hidden} more of these; --json lists all")
    written = [path for path in (done.boxes, done.submission, summary.index) if path is not None]
    count, bad = len(summary.entries), len(summary.failures)
    console.print(
        f"{count} report{'s' * (count != 1)}, {bad} failed, {summary.seconds:.1f} s."
        f" Written: {escape(', '.join(map(str, written)))}",
        soft_wrap=True,
    )
