"""`hilum train`"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from rich.table import Table


def train(
    recipe: Path = typer.Argument(..., help="A recipe (YAML)."),
    changes: list[str] = typer.Argument(
        None, metavar="[key=value]...", help="Change single values by dotted path."
    ),
    out: Path | None = typer.Option(
        None, "--out", "-o", help="The run's folder; default runs/<recipe's name>."
    ),
    device: str = typer.Option("auto", help="auto, cpu or cuda."),
    devices: int = typer.Option(
        1, min=1, help="Processes that train together: a GPU each, or a share of the processor each."
    ),
    ray: str | None = typer.Option(
        None,
        metavar="ADDRESS",
        help="Train on a Ray cluster (HOST:PORT, auto, or local), by --devices processes.",
    ),
    tensorboard: bool = typer.Option(False, help="Write the curves for TensorBoard too."),
    profile: bool = typer.Option(False, help="Say where the steps' time went."),
) -> None:
    """Train a model by a recipe; the run ends in a bundle.

    A run that was stopped goes on when the same command is given again.

    Examples:

      hilum train recipes/lungs.yaml data.root=/data phases.0.epochs=5

      hilum train recipes/lungs.yaml data.root=/data --devices 2 --profile
    """
    from rich.console import Console
    from rich.markup import escape

    from hilum.errors import MissingExtraError
    from hilum.learning.recipe_files import load_recipe

    try:
        from hilum.learning.together import train_together
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "lightning":
            raise
        raise MissingExtraError.named("train", "Training") from error
    logging.getLogger("hilum").setLevel(logging.INFO)
    wish = load_recipe(recipe, changes or [])
    folder = out or Path("runs") / wish.name
    options = {"tensorboard": tensorboard, "profile": profile}
    if ray is not None:
        from hilum.cluster.training import train_on_ray

        bundle = train_on_ray(ray, wish, folder, devices, device, **options)
    else:
        bundle = train_together(wish, folder, devices, device, **options)
    console = Console()
    if profile:
        console.print(_profile(folder))
    console.print(f"Bundle: {escape(str(bundle))}", soft_wrap=True)
    console.print(f"Its card: {escape(str(bundle / 'card.md'))}", soft_wrap=True)


def _profile(folder: Path) -> Table:
    from rich.table import Table

    from hilum.learning.profile import read

    table = Table("phase", "part of a step", "s", "share", "ms a step", box=None, pad_edge=False)
    for row in read(folder):
        table.add_row(row.phase, row.part, f"{row.seconds:.1f}", f"{row.share:.1%}", f"{row.per_step:.1f}")
    return table
