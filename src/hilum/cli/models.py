"""`hilum models list | show`"""

from __future__ import annotations

import json
from typing import Any

import typer

from hilum.errors import RecipeError

app = typer.Typer(help="The architectures that a recipe can name.", no_args_is_help=True)

OUTPUTS = 14  # ChestX-ray14's findings


@app.command("list")
def list_models(as_json: bool = typer.Option(False, "--json", help="Print JSON.")) -> None:
    """List the architectures and what each is.

    Example: hilum models list
    """
    from rich.console import Console
    from rich.table import Table

    from hilum.models import names
    from hilum.models.describe import about

    if as_json:
        typer.echo(json.dumps({name: about(name) for name in names()}, indent=2))
        return
    table = Table("name", "what it is")
    for name in names():
        table.add_row(name, about(name))
    Console().print(table)


@app.command()
def show(
    name: str = typer.Argument(..., help="An architecture; see: hilum models list"),
    options: list[str] | None = typer.Argument(
        None, metavar="[KEY=VALUE]...", help="Options of the architecture, as in a recipe's model.options."
    ),
    as_json: bool = typer.Option(False, "--json", help="Print JSON."),
) -> None:
    """Show an architecture's parameters by part, size, input and licences; built with random weights, nothing downloaded.

    \b
    Examples:

      hilum models show attention_fusion

      hilum models show backbone_head name=resnet50 hidden=100 dropout=0 outputs=4
    """
    from rich.console import Console
    from rich.table import Table

    from hilum.models.describe import describe

    found = describe(name, **{"outputs": OUTPUTS, **_parsed(options or [])})
    if as_json:
        typer.echo(json.dumps(found.as_dict(), indent=2, default=str))
        return
    table = Table(found.name, found.about)
    for part, count in found.parts.items():
        table.add_row(f"parameters, {part}", f"{count:,}")
    table.add_row("parameters, all (trainable)", f"{found.parameters:,}")
    table.add_row("batch-norm statistics", f"{found.statistics:,}")
    table.add_row("weights in a bundle", f"{found.megabytes:.1f} MB")
    height, width = found.input_size
    table.add_row("input", f"{height} x {width} pixels, {found.channels} channels")
    table.add_row("mean, std", f"{_short(found.mean)}; {_short(found.std)}")
    table.add_row("head", found.head)
    table.add_row("options", ", ".join(f"{k}={v}" for k, v in found.options.items()))
    table.add_row("licence of the code", found.code)
    for backbone in found.backbones:
        weights = f"pretrained weights {backbone.weights}" if backbone.weights else "no pretrained weights"
        table.add_row(f"backbone {backbone.name}", f"code {backbone.code}, {weights}")
    Console().print(table)


def _parsed(options: list[str]) -> dict[str, Any]:
    """`key=value` with values as YAML reads them: 0.5 a number, [64, 64] a list, null nothing."""
    import yaml

    found = {}
    for text in options:
        key, sign, value = text.partition("=")
        if not sign or not key.isidentifier():
            raise RecipeError(f"{text!r} is not key=value", mend="Write an option such as name=densenet121")
        try:
            found[key] = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise RecipeError(f"{text!r}: the value cannot be read", mend="Quote it") from error
    return found


def _short(values: tuple[float, ...]) -> str:
    return ", ".join(f"{value:g}" for value in values)
