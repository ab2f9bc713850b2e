"""`hilum deidentify`: DICOM films in, films that name nobody out."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from hilum.clinic.deidentify import Outcome

ROWS = 20


class Dates(StrEnum):
    """What becomes of dates."""

    none = "none"
    shifted = "shifted"


def deidentify(
    paths: Annotated[
        list[Path], typer.Argument(metavar="PATH...", help="DICOM films or folders of them, searched whole.")
    ],
    out: Annotated[
        Path,
        typer.Option(
            "--out", "-o", metavar="DIR", help="Where the new films go: none of the folders to search."
        ),
    ],
    key: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="The project's secret key; made there if the file does not exist. The same key gives the same new"
            " identifiers. Without it: a key for this call alone.",
        ),
    ] = None,
    keep_dates: Annotated[
        Dates,
        typer.Option(
            help="none: dates go. shifted: all dates of a patient move by the same number of days (113107)."
        ),
    ] = Dates.none,
    keep_device: Annotated[
        bool, typer.Option("--keep-device", help="Keep the equipment's identity (113109).")
    ] = False,
    keep_characteristics: Annotated[
        bool,
        typer.Option(
            "--keep-characteristics",
            help="Keep age, sex, size, weight and the like (113108); 90 years is the most.",
        ),
    ] = False,
    names: Annotated[
        Path | None,
        typer.Option(
            metavar="JSON", help="Also write which old file became which new one. As secret as the key."
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for machines.")] = False,
) -> None:
    """De-identify DICOM films by the basic profile of PS3.15 Annex E.

    Each film becomes DIR/UID.dcm with new identifiers; deidentified.json says what was done, and warns of films that
    seem to have text burnt in: look at these. Ends with 0, or with 1 where a film was refused.

    Examples:

      hilum deidentify chest.dcm --out anonymous

      hilum deidentify /archive/2024 --out anonymous --key project.key --keep-dates shifted --keep-characteristics
    """
    from hilum.analysis.render.files import as_json as to_json
    from hilum.analysis.render.files import write_whole
    from hilum.clinic.deidentify import Options, deidentify_all, read_key

    if names is not None and names.resolve().is_relative_to(out.resolve()):
        raise typer.BadParameter("--names must not lie in the folder that is given away")
    if key is not None and key.resolve().is_relative_to(out.resolve()):
        raise typer.BadParameter("--key must not lie in the folder that is given away")
    options = Options(dates=keep_dates is Dates.shifted, device=keep_device, person=keep_characteristics)
    done = deidentify_all(paths, out, read_key(key), options)
    if names is not None:
        write_whole(names, to_json(done.names))
    if as_json:
        said = {"account": str(done.account), "films": done.films, "failures": done.failures}
        typer.echo(json.dumps(said, indent=2))
    else:
        _show(done)
    raise typer.Exit(done.exit_code)


def _show(done: Outcome) -> None:
    from rich.console import Console
    from rich.markup import escape

    console = Console()
    warned = [film for film in done.films if film["warnings"]]
    for film in warned[:ROWS]:
        told = " ".join(warning["text"] for warning in film["warnings"])
        console.print(f"[yellow]look at[/] {escape(film['name'])}: {escape(told)}", soft_wrap=True)
    for failed in done.failures[:ROWS]:
        mend = f" {failed['mend'].rstrip('.')}." if failed["mend"] else ""
        console.print(
            f"[red]refused[/] {escape(failed['file'])}: {escape(failed['fault'])}.{escape(mend)}",
            soft_wrap=True,
        )
    hidden = max(0, len(warned) - ROWS) + max(0, len(done.failures) - ROWS)
    if hidden:
        console.print(f"… and {hidden} more of these")
    console.print(
        f"{len(done.films)} film{'s' * (len(done.films) != 1)} de-identified, {len(warned)} to look at,"
        f" {len(done.failures)} refused. Account: {escape(str(done.account))}",
        soft_wrap=True,
    )
