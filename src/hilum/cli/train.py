"""`hilum train`"""

from __future__ import annotations

import logging
from pathlib import Path

import typer


def train(
    recipe: Path = typer.Argument(..., help="A recipe (YAML)."),
    changes: list[str] = typer.Argument(
        None, metavar="[key=value]...", help="Change single values by dotted path."
    ),
    out: Path | None = typer.Option(
        None, "--out", "-o", help="The run's folder; default runs/<recipe's name>."
    ),
    device: str = typer.Option("auto", help="auto, cpu or cuda."),
    tensorboard: bool = typer.Option(False, help="Write the curves for TensorBoard too."),
) -> None:
    """Train a model by a recipe; the run ends in a bundle.

    A run that was stopped goes on when the same command is given again.

    Example: hilum train recipes/lungs.yaml data.root=/data phases.0.epochs=5
    """
    from rich.console import Console
    from rich.markup import escape

    from hilum.errors import MissingExtraError
    from hilum.learning.recipe_files import load_recipe

    try:
        from hilum.learning.run import train as carry_out
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "lightning":
            raise
        raise MissingExtraError.named("train", "Training") from error
    logging.getLogger("hilum").setLevel(logging.INFO)
    wish = load_recipe(recipe, changes or [])
    bundle = carry_out(wish, out or Path("runs") / wish.name, tensorboard, device)
    console = Console()
    console.print(f"Bundle: {escape(str(bundle))}", soft_wrap=True)
    console.print(f"Its card: {escape(str(bundle / 'card.md'))}", soft_wrap=True)
