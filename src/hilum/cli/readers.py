"""`hilum data readers`"""

from __future__ import annotations

import json
from pathlib import Path

import typer


def readers(
    manifest: Path = typer.Argument(
        ..., help="A manifest of films that several readers read, such as `vinbig`'s.", metavar="MANIFEST"
    ),
    out: Path = typer.Option(..., "--out", "-o", help="The folder for readers.md, readers.json and figures."),
    replicates: int = typer.Option(1000, "--replicates", min=10, help="Draws of films for the intervals."),
    seed: int = typer.Option(0, "--seed", help="Decides which films are drawn."),
    as_json: bool = typer.Option(False, "--json", help="Print JSON, for machines."),
) -> None:
    """Compare readers: findings, box sizes, agreement, who reads like whom, and one reader against the others.

    Example: hilum data readers vinbig.parquet --out readers
    """
    from hilum.datasets.manifest import Manifest
    from hilum.datasets.reader_pages import write

    found = write(Manifest.load(manifest), out, replicates=replicates, seed=seed)
    if as_json:
        typer.echo(json.dumps(found, indent=2))
        return
    counts = found["counts"]
    typer.echo(f"{out / 'readers.md'}: {counts['readings']:,} readings of {counts['films']:,} films")
