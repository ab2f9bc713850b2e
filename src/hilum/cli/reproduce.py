"""`hilum reproduce`"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from hilum.studies.jobs import Request


def reproduce(
    study: str = typer.Argument(
        ..., help="roy-fusion, nandi-hybrid, degerli-recovnet, nawaz-vinbig or suh-ssganvit."
    ),
    data: Path = typer.Option(..., "--data", help="Folder with the public datasets, each in its own folder."),
    out: Path = typer.Option(..., "--out", "-o", help="Folder for runs, tables and figures."),
    variant: str = typer.Option(
        "published", help="published, or light for small machines; see the study's README."
    ),
    arms: list[str] = typer.Option([], "--arms", help="Only this arm (repeat for more)."),
    folds: list[int] = typer.Option([], "--folds", help="Only this fold, counted from 1 (repeat for more)."),
    fraction: float | None = typer.Option(None, min=0, max=1, help="Share of the patients to take."),
    changes: list[str] = typer.Option(
        [],
        "--set",
        metavar="KEY=VALUE",
        help="Change every arm's recipe (repeat for more); NAME.KEY=VALUE changes that of a training before them.",
    ),
    device: str = typer.Option("auto", help="auto, cpu or cuda."),
    at_once: int = typer.Option(1, min=1, help="Runs at a time."),
    dry_run: bool = typer.Option(
        False, "--dry-run", help="Say what would be done, how long it takes, and how much disk."
    ),
) -> None:
    """Run a published study on your copy of its data: its arms, its tables and figures, printed beside yours.

    A study that was stopped goes on when the same command is given again. Exit code 1 says that a run failed; the
    report, written all the same, names it.

    Example: hilum reproduce nandi-hybrid --data /data --variant light --out studies/nandi

    Example: hilum reproduce roy-fusion --data /data --out studies/roy --dry-run
    """
    from rich.console import Console
    from rich.markdown import Markdown
    from rich.markup import escape

    from hilum.errors import MissingExtraError, RecipeError

    try:
        from hilum.studies import load
        from hilum.studies.jobs import Request
        from hilum.studies.reproduce import reproduce as carry_out
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "lightning":
            raise
        raise MissingExtraError.named("train", "Reproducing a study") from error
    if any(fold < 1 for fold in folds):
        raise RecipeError("--folds counts from 1")
    request = Request(
        load(study),
        variant,
        data.absolute(),
        out,
        tuple(arms),
        tuple(f - 1 for f in folds),
        fraction,
        tuple(changes),
    )
    if dry_run:
        _foretell(request, device)
        return
    logging.getLogger("hilum").setLevel(logging.INFO)
    made = carry_out(request, device, at_once)
    console = Console()
    console.print(Markdown(made.table.read_text(encoding="utf-8")))
    console.print(f"Written to {escape(str(made.table.parent))}", soft_wrap=True)
    if made.faults:
        typer.secho(f"hilum: {len(made.faults)} runs failed; the report names them", fg="red", err=True)
        raise typer.Exit(1)


def _foretell(request: Request, device: str) -> None:
    from rich.console import Console
    from rich.table import Table

    from hilum.studies import cost

    jobs = [*request.preliminaries(), *request.jobs()]
    costs = cost.estimate(jobs, device)
    rows = cost.rows(costs)
    table = Table(*rows[0])
    for row in rows:
        table.add_row(*(str(value) for value in row.values()))
    console = Console()
    console.print(table)
    hours = sum(each.seconds for each in costs) / 3600
    disk = sum(each.megabytes for each in costs) + cost.store_megabytes(jobs)
    console.print(
        f"{len(jobs)} runs, at most {hours:.1f} hours of training steps as measured, {disk / 1000:.1f} GB of disk."
        " Early stopping may end runs sooner; validation after each epoch, testing, export and figures come on top."
    )
    missing = max(each.missing for each in costs)
    if missing:
        whole = sum(each.megabytes for each in costs) + cost.store_megabytes(jobs, missing=True)
        console.print(
            f"With the {missing:,} films that the data's tables name and that are not on disk:"
            f" {cost.with_missing(costs):,.1f} hours, {whole / 1000:,.1f} GB."
        )
