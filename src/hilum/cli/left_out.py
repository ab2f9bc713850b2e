"""How a command ends that had to leave films out: they are named, and the exit code is 1."""

from __future__ import annotations

from collections.abc import Sequence

import typer

from hilum.errors import one_line

SHOWN = 20


def end(faults: Sequence[str], listed_in: str) -> None:
    """Name the films that were left out on stderr; exit code 1 where any was. `listed_in`: the file that has them all."""
    for fault in faults[:SHOWN]:
        typer.echo(one_line(f"left out: {fault}"), err=True)
    if faults:
        typer.echo(f"films left out: {len(faults)}; {listed_in} names them all", err=True)
        raise typer.Exit(1)
