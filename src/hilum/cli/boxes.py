"""`hilum boxes fuse | score`"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from hilum.cli.box_figures import draw, show
from hilum.errors import one_line

if TYPE_CHECKING:
    import polars as pl

    from hilum.datasets.box_tables import BoxTable, Fault

app = typer.Typer(help="Boxes of detectors: fuse several models' boxes, score them.", no_args_is_help=True)

_SHOWN = 20
_CLASSES = typer.Option(
    None,
    "--classes",
    help="Class names in the order of their numbers, with commas between; default VinBigData's.",
)
_SIZES = typer.Option(
    None, "--sizes", help="CSV with image_id,width,height: boxes must then lie inside their film."
)
_SKIP = typer.Option(False, "--skip-bad", help="Keep bad rows out, list them, and end with 1.")
_JSON = typer.Option(False, "--json", help="Print JSON, for machines.")


@app.command()
def fuse(
    tables: list[Path] = typer.Argument(
        ...,
        help="Predictions, a table a model; submissions or long tables, .csv or .csv.gz.",
        metavar="TABLE...",
    ),
    out: Path = typer.Option(..., "--out", "-o", help="The table to write (.csv or .csv.gz)."),
    method: str = typer.Option("wbf", "--method", "-m", help="wbf, nmw, nms, soft-nms or soft-nms-linear."),
    iou: float = typer.Option(
        0.55, "--iou", min=0, max=1, help="Boxes of one thing overlap by more than this."
    ),
    weights: str | None = typer.Option(
        None, "--weights", help="How much each table counts, with commas: 2,1,1."
    ),
    skip_below: float = typer.Option(
        0.0, "--skip-below", min=0, max=1, help="Leave out boxes with a lower score."
    ),
    conf_type: str = typer.Option(
        "box_and_model_avg",
        "--conf-type",
        help="Score of a wbf box: box_and_model_avg, absent_model_aware_avg, avg or max.",
    ),
    allows_overflow: bool = typer.Option(
        False, "--allows-overflow", help="With --conf-type avg: scores may exceed 1."
    ),
    sigma: float = typer.Option(0.5, "--sigma", help="Width of soft-nms."),
    least: float = typer.Option(0.001, "--least", help="soft-nms drops boxes whose score falls to this."),
    form: str | None = typer.Option(
        None, "--format", help="submission or long; default the first table's.", metavar="FORMAT"
    ),
    classes: str | None = _CLASSES,
    sizes: Path | None = _SIZES,
    skip_bad: bool = _SKIP,
    as_json: bool = _JSON,
) -> None:
    """Fuse the boxes of several models, film by film and class by class.

    Example: hilum boxes fuse fold0.csv fold1.csv fold2.csv --method wbf --iou 0.4 --out fused.csv

    Example: hilum boxes fuse a.csv.gz b.csv.gz --method nms --weights 2,1 --format long --out fused.csv.gz
    """
    from hilum.boxes import CONF_TYPES, METHODS
    from hilum.datasets import box_tables
    from hilum.datasets.box_sets import fuse_tables

    _one_of("--method", method, METHODS)
    _one_of("--conf-type", conf_type, CONF_TYPES)
    if form is not None:
        _one_of("--format", form, ("submission", "long"))
    if out.exists() and any(out.samefile(path) for path in tables if path.exists()):
        raise typer.BadParameter(f"--out {out} is one of the tables to fuse; name another file")
    if out.suffix not in (".csv", ".gz"):
        raise typer.BadParameter(f"--out wants a name that ends in .csv or .csv.gz, not '{out.name}'")
    read = [
        box_tables.read(path, classes=_names(classes), sizes=_sizes(sizes), skip_bad=skip_bad)
        for path in tables
    ]
    fused = fuse_tables(
        read,
        skip_bad=skip_bad,
        method=method,
        iou_threshold=iou,
        weights=_weights(weights, len(tables)),
        skip_box_threshold=skip_below,
        conf_type=conf_type,
        allows_overflow=allows_overflow,
        sigma=sigma,
        score_threshold=least,
    )
    box_tables.write(fused, out, form)  # type: ignore[arg-type]
    told: dict[str, Any] = {
        "out": str(out),
        "method": method,
        "iou": iou,
        "films": fused.films.height,
        "boxes_in": {str(table.path): table.boxes.height for table in read},
        "boxes": fused.boxes.height,
    }
    if as_json:
        typer.echo(json.dumps(told | {"kept_out": _plain(fused.faults)}, indent=2))
    else:
        total = sum(told["boxes_in"].values())
        said = f"{out}: {total:,} boxes of {len(read)} tables became {fused.boxes.height:,} on {fused.films.height:,} films"
        typer.echo(one_line(f"{said} ({method}, IoU {iou:g})"))
    _end(fused.faults)


@app.command()
def score(
    predictions: Path = typer.Argument(
        ..., help="Predicted boxes: a submission or a long table.", metavar="PREDICTIONS"
    ),
    truth: Path = typer.Argument(
        ..., help="True boxes: a submission, a long table, or a manifest (.parquet).", metavar="TRUTH"
    ),
    iou: float = typer.Option(
        0.4, "--iou", min=0, max=1, help="A box is true where it overlaps a true one by more."
    ),
    threshold: float = typer.Option(
        0.5,
        "--threshold",
        min=0,
        max=1,
        help="A film has a finding where a box has this score; choose it on other films.",
    ),
    no_finding: bool = typer.Option(
        False,
        "--no-finding",
        help="True films without a box count as 'No Finding', box 0 0 1 1, as in the competition.",
    ),
    figures: Path | None = typer.Option(
        None,
        "--figures",
        help="A folder for roc.png and classes.png (films), froc.png and reliability.png (boxes).",
    ),
    replicates: int = typer.Option(1000, "--replicates", min=10, help="Draws of films for the intervals."),
    seed: int = typer.Option(0, "--seed", help="Decides the draws."),
    classes: str | None = _CLASSES,
    sizes: Path | None = _SIZES,
    skip_bad: bool = _SKIP,
    as_json: bool = _JSON,
) -> None:
    """Score boxes: PASCAL VOC AP at IoU > 0.4 as VinBigData's competition, COCO AP, FROC, films, calibration.

    Intervals come from drawing films, or patients where the truth's long table has a column `patient`.

    Example: hilum boxes score fused.csv truth.csv

    Example: hilum boxes score fused.csv truth.csv --iou 0.5 --no-finding --figures figures
    """
    from hilum.datasets import box_tables
    from hilum.datasets.box_sets import beside, of_manifest
    from hilum.datasets.manifest import Manifest
    from hilum.evaluation.detection_summary import detection_summary

    names, known = _names(classes), _sizes(sizes)
    predicted = box_tables.read(predictions, classes=names, sizes=known, skip_bad=skip_bad)
    if truth.suffix == ".parquet":
        true: BoxTable = of_manifest(Manifest.load(truth), truth)
    else:
        true = box_tables.read(truth, scored=False, classes=names, sizes=known, skip_bad=skip_bad)
    if no_finding:
        true = box_tables.with_no_finding(true)
    both = beside(predicted, true, skip_bad=skip_bad)
    found = detection_summary(
        both.boxes,
        both.names,
        both.patients,
        iou_threshold=iou,
        film_threshold=threshold,
        replicates=replicates,
        seed=seed,
    )
    if figures is not None:
        draw(both, figures, iou, threshold)
    if as_json:
        typer.echo(json.dumps(found.as_dict() | {"kept_out": _plain(both.faults)}, indent=2))
    else:
        show(found)
    _end(both.faults)


def _end(faults: Sequence[Fault]) -> None:
    """Say what is wrong with the rows, and whether they were kept out; exit code 1 where anything is."""
    for fault in faults[:_SHOWN]:
        said = "stays, without a row in the other table" if fault.stays else "kept out"
        typer.echo(one_line(f"{said}: {fault}"), err=True)
    if len(faults) > _SHOWN:
        typer.echo(f"{len(faults) - _SHOWN:,} more; --json lists all", err=True)
    if faults:
        raise typer.Exit(1)


def _plain(faults: Sequence[Fault]) -> list[dict[str, Any]]:
    return [
        {
            "path": str(f.path),
            "line": f.line,
            "box": f.box,
            "image_id": f.image_id,
            "fault": f.what,
            "stays": f.stays,
        }
        for f in faults
    ]


def _one_of(option: str, value: str, known: Sequence[str]) -> None:
    if value not in known:
        raise typer.BadParameter(f"{option} is one of {', '.join(known)}, not '{value}'")


def _names(classes: str | None) -> tuple[str, ...] | None:
    return None if classes is None else tuple(name.strip() for name in classes.split(","))


def _weights(weights: str | None, tables: int) -> list[float] | None:
    if weights is None:
        return None
    try:
        values = [float(weight) for weight in weights.split(",")]
    except ValueError:
        values = []
    if len(values) != tables or min(values) <= 0:
        raise typer.BadParameter(f"--weights wants {tables} numbers above 0, got '{weights}'")
    return values


def _sizes(path: Path | None) -> pl.DataFrame | None:
    from hilum.datasets import box_tables

    return None if path is None else box_tables.read_sizes(path)
