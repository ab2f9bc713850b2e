"""`hilum synthesise`"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import typer


def _depth(bits: int) -> int:
    if bits not in (8, 16):
        raise typer.BadParameter(f"{bits}. Choose 8 or 16.")
    return bits


def synthesise(
    bundle: str = typer.Argument(..., help="A bundle that generates: a folder or a .hilum file."),
    films: int = typer.Option(..., min=1, help="How many films to make."),
    out: Path = typer.Option(..., "--out", "-o", help="Folder for the films and their manifest."),
    label: list[str] = typer.Option(
        [],
        help="A finding that every film is to have; may be given again. Default: drawn as in training films.",
    ),
    seed: int = typer.Option(0, help="Of the noise and of the findings drawn."),
    bits: int = typer.Option(8, callback=_depth, help="Of the PNG files: 8 or 16."),
) -> None:
    """Make films with a generator, for training beside real ones.

    The folder is a source of its own for a recipe: `{source: synthetic, root: DIR}`. Such films are never taken for
    validation or test.

    Example: hilum synthesise runs/gan/bundle --films 500 --label Mass --out synthetic
    """
    from rich.console import Console
    from rich.markup import escape

    from hilum.learning.synthesise import synthesise as make

    depth: Any = bits
    place = make(bundle, films, out, label, seed, depth)
    Console().print(f"{films} films; their manifest: {escape(str(place))}", soft_wrap=True)
