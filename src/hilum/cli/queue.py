"""`hilum queue`: what waits, what was done, what was set apart, and who did what."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from hilum.cli.clinic_parts import DatabaseOption, JsonOption, StoreOption, opened, user
from hilum.errors import one_line

app = typer.Typer(
    help="The clinic's queue: list, add, retry, release, and the audit trail.", no_args_is_help=True
)

STATES = ("queued", "running", "done", "failed", "held", "not_for_us", "removed")
Jobs = Annotated[
    list[int], typer.Argument(metavar="JOB...", help="Numbers of jobs, as `hilum queue list` shows them.")
]


@app.command("list")
def list_(
    store: StoreOption,
    database: DatabaseOption = None,
    state: Annotated[
        str | None, typer.Option(metavar="STATE", help=f"Only these: {', '.join(STATES)}.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many, the newest.")] = 50,
    as_json: JsonOption = False,
) -> None:
    """List jobs, newest first, and how many there are in each state.

    Example: hilum queue list --store clinic --state held
    """
    from hilum.clinic.ledger import Queue

    if state is not None and state not in STATES:
        raise typer.BadParameter(f"'{state}'. Choose from {', '.join(STATES)}.", param_hint="--state")
    _, ledger = opened(store, database)
    queue = Queue(ledger)
    counts, jobs = queue.counts(), queue.jobs(state, limit=limit)  # type: ignore[arg-type]
    if as_json:
        typer.echo(json.dumps({"counts": counts, "jobs": jobs}, indent=2))
        return
    typer.echo(
        ", ".join(f"{count} {name}" for name, count in counts.items() if count) or "the queue is empty"
    )
    _table(jobs)


@app.command()
def add(
    films: Annotated[list[Path], typer.Argument(metavar="FILM...", help="Files to queue.")],
    store: StoreOption,
    database: DatabaseOption = None,
    as_json: JsonOption = False,
) -> None:
    """Queue films by hand, through the same door as all others. Ends with 1 where one was refused.

    Example: hilum queue add film.dcm --store clinic
    """
    there, ledger = opened(store, database)
    from hilum.clinic.intake import Intake

    refused = False
    with Intake(there, ledger) as intake:
        for film in films:
            outcome = intake.accept(film, "cli", user())
            refused |= not outcome.accepted
            if as_json:
                typer.echo(json.dumps({"file": str(film), **outcome.__dict__}))
            else:
                job = f", job {outcome.job_id}" if outcome.job_id is not None else ""
                why = f": {outcome.reason}" if outcome.reason else ""
                typer.echo(one_line(f"{film}: {outcome.kind}{job}{why}"))
    raise typer.Exit(int(refused))


@app.command()
def retry(jobs: Jobs, store: StoreOption, database: DatabaseOption = None) -> None:
    """Queue failed jobs again, or done ones for other bundles.

    Example: hilum queue retry 12 13 --store clinic
    """
    from hilum.clinic.ledger import Queue

    _, ledger = opened(store, database)
    for job in jobs:
        Queue(ledger).retry(job, user())


@app.command()
def release(jobs: Jobs, store: StoreOption, database: DatabaseOption = None) -> None:
    """Let films that were set apart (a conflict, a quarantine) be analysed after all.

    Example: hilum queue release 12 --store clinic
    """
    from hilum.clinic.ledger import Queue

    _, ledger = opened(store, database)
    for job in jobs:
        Queue(ledger).release(job, user())


@app.command()
def remove(
    store: StoreOption,
    older_than: Annotated[
        float, typer.Option(metavar="DAYS", min=1, help="Films that came, and were done, longer ago.")
    ],
    database: DatabaseOption = None,
    keep_reviewed: Annotated[
        bool, typer.Option("--keep-reviewed", help="Leave films that a reader has said something of.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say how many there are.")] = False,
) -> None:
    """Remove films and results that were kept long enough. What waits, is held or on its way stays; so does the trail.

    For a timer, once a day.

    Example: hilum queue remove --older-than 90 --store clinic
    """
    import time

    there, ledger = opened(store, database)
    from hilum.clinic.ledger import Retention
    from hilum.clinic.retention import remove_old

    before = time.time() - older_than * 86400
    if dry_run:
        typer.echo(f"{Retention(ledger).old(before, keep_reviewed)} films would be removed")
        return
    removed = remove_old(there, ledger, before, user(), keep_reviewed)
    typer.echo(f"{removed.films} films and {removed.results} results were removed")


@app.command()
def trail(
    store: StoreOption,
    database: DatabaseOption = None,
    form: Annotated[
        str,
        typer.Option(
            "--format", metavar="FORMAT", help="json (a line an event) or xml (PS3.15 A.5 messages)."
        ),
    ] = "json",
    after: Annotated[int, typer.Option(min=0, help="Only events with a greater number.")] = 0,
) -> None:
    """Print the audit trail, oldest first. Reading it is itself noted.

    Example: hilum queue trail --store clinic --format xml
    """
    from hilum.clinic.ledger import Trail

    if form not in ("json", "xml"):
        raise typer.BadParameter(f"'{form}'. Choose json or xml.", param_hint="--format")
    _, ledger = opened(store, database)
    found = Trail(ledger)
    for line in found.json_lines(after=after) if form == "json" else found.messages(after=after):
        typer.echo(line)
    found.add("trail read", "cli", user(), {"after": after}, action="R")


def _table(jobs: list[dict[str, Any]]) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    if not jobs:
        return
    table = Table("Job", "State", "Received", "Door", box=None, pad_edge=False)
    table.add_column("Instance", overflow="fold")
    table.add_column("Reason", overflow="fold")
    for job in jobs:
        received = datetime.fromtimestamp(job["received"]).strftime("%Y-%m-%d %H:%M:%S")
        told = (job["state"], received, job["door"], job["sop_uid"], job["reason"] or "")
        table.add_row(str(job["id"]), *(escape(one_line(text)) for text in told))
    Console().print(table)
