"""`hilum bundle list | show | verify | pack`"""

from __future__ import annotations

import json
from pathlib import Path

import typer

app = typer.Typer(help="Look into bundles and check them.", no_args_is_help=True)


@app.command("list")
def list_builtin() -> None:
    """List the built-in bundles.

    Example: hilum bundle list
    """
    from rich.console import Console
    from rich.table import Table

    from hilum.bundles import builtin_names, verify

    table = Table("name", "version", "title", "task", "outputs", "licence")
    for name in builtin_names():
        info = verify(name)
        table.add_row(
            name, info.version, info.title, info.task, str(len(info.labels)), info.provenance.licence
        )
    Console().print(table)


@app.command()
def show(
    bundle: str = typer.Argument(..., help="A built-in's name, a folder or a .hilum file."),
    as_json: bool = typer.Option(False, "--json", help="Print bundle.json instead of the card."),
) -> None:
    """Show a bundle's card: data, outputs, thresholds, measured results, limits.

    Example: hilum bundle show findings
    """
    from rich.console import Console
    from rich.markdown import Markdown

    from hilum.bundles import verify
    from hilum.bundles.card import card

    info = verify(bundle)
    if as_json:
        typer.echo(json.dumps(info.model_dump(mode="json"), indent=2))
    else:
        Console().print(Markdown(card(info)))


@app.command()
def verify(bundle: str = typer.Argument(..., help="A built-in's name, a folder or a .hilum file.")) -> None:
    """Check every checksum of a bundle; exit code 1 where one is wrong.

    Example: hilum bundle verify my-bundle.hilum
    """
    from hilum.bundles import verify as check

    info = check(bundle)
    typer.echo(
        f"{info.name} {info.version}: {len(info.files) + 1} files are as they were written ({info.digest[:16]})"
    )


@app.command()
def pack(
    bundle: str = typer.Argument(..., help="A built-in's name, a folder or a .hilum file."),
    out: Path = typer.Argument(
        ..., help="Where to write: a name ending in .hilum gives one file, else a folder."
    ),
) -> None:
    """Write a bundle as one file, or unpack one into a folder; every checksum is verified on the way.

    Example: hilum bundle pack findings findings.hilum
    """
    from hilum.bundles import load, save

    typer.echo(str(save(load(bundle), out)))
