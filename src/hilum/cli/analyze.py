"""`hilum analyze`: films in, a folder of reports out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from hilum.analysis.folder import Writer

ROWS = 20  # of the summary; the index holds all
FORMATS = ("json", "html", "png", "dicom")
USUAL = "json,html,png"
FORMAT_HELP = (
    "Which of json, html, png and dicom to write, with commas between. dicom: results for an archive."
)
RUNTIMES = ("tuned", "torch", "onnx", "openvino", "int8", "cuda", "tensorrt")
HEATMAPS = ("cam", "cam_above_threshold", "grad_cam_plus_plus", "score_cam", "attention", "attention_rollout")


def formats(text: str) -> str:
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not parts or set(parts) - set(FORMATS):
        raise typer.BadParameter(f"'{text}'. Choose from {', '.join(FORMATS)}, with commas between.")
    return ",".join(dict.fromkeys(parts))


def split_formats(text: str) -> tuple[tuple[str, ...], Writer | None]:
    """The formats that analysis writes, and what writes DICOM results where they are asked for."""
    chosen = text.split(",")
    if "dicom" not in chosen:
        return tuple(chosen), None
    from hilum.clinic.results import check_extra, write_results

    check_extra()
    return tuple(part for part in chosen if part != "dicom"), write_results


def _runtime(name: str) -> str:
    if name not in RUNTIMES:
        raise typer.BadParameter(f"'{name}'. Choose from {', '.join(RUNTIMES)}.")
    return name


def _heatmap_method(name: str) -> str:
    if name not in HEATMAPS:
        raise typer.BadParameter(f"'{name}'. Choose from {', '.join(HEATMAPS)}.")
    return name


def analyze(
    paths: Annotated[
        list[str],
        typer.Argument(
            metavar="PATH...", help="Films (DICOM, PNG, JPEG, TIFF) or folders of them, searched whole."
        ),
    ],
    out: Annotated[
        str,
        typer.Option(
            "--out",
            "-o",
            metavar="DIR",
            help="Where the reports and the index go: none of the folders to search, but it may lie in one.",
        ),
    ],
    bundle: Annotated[
        list[str] | None,
        typer.Option(
            "--bundle",
            "-b",
            metavar="NAME|PATH",
            help="Run these bundles on every film, with the built-in lungs where none of them segments. Without it: all"
            " built-in bundles, each on the films it was made for. Repeat it for several.",
        ),
    ] = None,
    format: Annotated[
        str,
        typer.Option(callback=formats, help=FORMAT_HELP),
    ] = USUAL,
    jobs: Annotated[int, typer.Option("--jobs", "-j", min=1, help="Worker processes.")] = 1,
    samples: Annotated[
        int, typer.Option(min=0, help="Monte Carlo dropout samples; 0 for no uncertainty.")
    ] = 30,
    seed: Annotated[int, typer.Option(help="Seed of the samples.")] = 0,
    timeout: Annotated[
        float, typer.Option(min=0.1, help="Seconds a film may take before it counts as failed.")
    ] = 300.0,
    runtime: Annotated[
        str,
        typer.Option(
            callback=_runtime,
            help="What runs the bundles: tuned (what `hilum bundle tune` chose for this machine, else torch), torch, cuda"
            " (torch on a GPU), or onnx, openvino, int8 or tensorrt, for which bundles are made with `hilum bundle export`.",
        ),
    ] = RUNTIMES[0],
    heatmap_method: Annotated[
        str,
        typer.Option(
            callback=_heatmap_method,
            help="How heatmaps are made: cam, cam_above_threshold, grad_cam_plus_plus, score_cam (any model, slow),"
            " attention or attention_rollout (transformers).",
        ),
    ] = HEATMAPS[0],
    whole: Annotated[
        bool,
        typer.Option(
            "--whole",
            help="Decode every film whole. Otherwise JPEG 2000 and JPEG films are decoded at the resolution that the bundles"
            " need; pages and pictures show the whole film in either case.",
        ),
    ] = False,
    ray: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS",
            help="Analyse on a Ray cluster (HOST:PORT, auto, or local): rows in Parquet files in place of reports. PATH and"
            " DIR may then be addresses such as s3://bucket/films, and PATH a .parquet table with a column `path`.",
        ),
    ] = None,
) -> None:
    """Analyse films and write a report of each, with an index.

    Each film gives NAME.json (for machines), NAME.html (a page for people) and NAME.png (an overlay); index.html and
    index.json list them all, with the films that failed and why. With --format dicom a DICOM film gives NAME.sr.dcm,
    NAME.seg.dcm, NAME.sc.dcm and NAME.gsps.dcm, for its archive. Ends with 0, or with 1 where a film failed.

    Examples:

      hilum analyze chest.dcm --out reports

      hilum analyze /archive/2024 --out reports --jobs 4 --format json

      hilum analyze chest.dcm --out reports --format json,dicom

      hilum analyze child.png --out reports --bundle findings --bundle pneumonia

      hilum analyze chest.dcm --out reports --bundle findings-int8 --runtime int8

      hilum analyze chest.dcm --out reports --bundle findings --heatmap-method grad_cam_plus_plus

      hilum analyze s3://archive/2024 --out s3://results/2024 --bundle findings --ray auto --jobs 64
    """  # fmt: skip
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    if ray is not None:
        _on_ray(ray, paths, out, bundle, samples, seed, runtime, timeout, jobs, whole)
    from hilum.analysis.folder import analyze_all

    chosen, writer = split_formats(format)
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, transient=True) as bar:
        task = bar.add_task("Loading bundles", total=None)
        summary = analyze_all(
            paths,
            Path(out),
            formats=chosen,
            writer=writer,
            bundles=bundle,
            samples=samples,
            seed=seed,
            jobs=jobs,
            timeout=timeout,
            runtime=runtime,
            heatmap_method=heatmap_method,
            whole=whole,
            progress=lambda done, total: bar.update(task, completed=done, total=total, description="Films"),
        )
    _show(summary)
    raise typer.Exit(summary.exit_code)


def _on_ray(
    address: str,
    paths: list[str],
    out: str,
    bundles: list[str] | None,
    samples: int,
    seed: int,
    runtime: str,
    timeout: float,
    jobs: int,
    whole: bool,
) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from hilum.cluster.analysis import Wish, analyze_on_ray

    wish = Wish(tuple(bundles) if bundles else None, samples, seed, runtime, timeout, whole=whole)
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, transient=True) as bar:
        task = bar.add_task("Films", total=None)
        summary = analyze_on_ray(
            address, paths, out, wish, jobs if jobs > 1 else None,
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )  # fmt: skip
    console = Console()
    for missed in summary.missed[:ROWS]:
        console.print(f"[red]failed[/] {escape(missed['file'])}: {escape(missed['fault'])}.", soft_wrap=True)
    console.print(
        f"{summary.films - summary.failed} films analysed, {summary.failed} failed (column `fault`),"
        f" {summary.before} of them by an earlier call, {summary.seconds:.1f} s."
        f" {summary.shards} Parquet files in {escape(summary.out)}",
        soft_wrap=True,
    )
    raise typer.Exit(summary.exit_code)


def _show(summary: Any) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console = Console()
    table = Table("Film", "Above threshold", "Warnings", box=None, pad_edge=False)
    for entry in summary.entries[:ROWS]:
        table.add_row(escape(_shown(entry)), escape(_result(entry)), str(len(entry["warnings"]) or "–"))
    if summary.entries:
        console.print(table)
    if len(summary.entries) > ROWS:
        console.print(f"… and {len(summary.entries) - ROWS} more in the index")
    for failed in summary.failures[:ROWS]:
        mend = f" {failed['mend'].rstrip('.')}." if failed["mend"] else ""
        console.print(
            f"[red]failed[/] {escape(failed['file'])}: {escape(failed['fault'])}.{escape(mend)}",
            soft_wrap=True,
        )
    if len(summary.failures) > ROWS:
        console.print(f"… and {len(summary.failures) - ROWS} more failures in the index")
    count, bad = len(summary.entries), len(summary.failures)
    console.print(
        f"{count} report{'s' * (count != 1)}, {bad} failed, {summary.seconds:.1f} s."
        f" Index: {escape(str(summary.index))}",
        soft_wrap=True,
    )


def _shown(entry: dict[str, Any]) -> str:
    """The file's name; with folders where another film has it too."""
    name: str = entry["name"]
    return name if "/" in name else Path(entry["file"]).name


def _result(entry: dict[str, Any]) -> str:
    if not entry["analysable"]:
        return f"not analysed: {entry['reason']}"
    return ", ".join(entry["positive"]) or "none"
