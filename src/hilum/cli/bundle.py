"""`hilum bundle list | show | verify | pack | export | tune | reference | import | ensemble`"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from hilum.cli.bundle_films import reference, tune

FORMS = ("onnx", "openvino", "int8")
KINDS = ("torchxrayvision", "chexnet")

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


def _form(name: str) -> str:
    if name not in FORMS:
        raise typer.BadParameter(f"'{name}'. Choose from {', '.join(FORMS)}.")
    return name


@app.command()
def export(
    bundle: Annotated[str, typer.Argument(help="A built-in's name, a folder or a .hilum file.")],
    to: Annotated[str, typer.Option("--to", callback=_form, help="onnx, openvino or int8 (OpenVINO's).")],
    out: Annotated[
        Path,
        typer.Option("--out", "-o", metavar="DIR", help="Where the bundle goes: a folder, or a .hilum file."),
    ],
    calibrate: Annotated[
        Path | None,
        typer.Option(
            metavar="MANIFEST|DIR",
            help="Training films: a manifest, of which the training part is taken, or a folder. int8 needs them.",
        ),
    ] = None,
) -> None:
    """Write a bundle with its model also for ONNX Runtime or OpenVINO, for machines without a GPU.

    What comes out is the same bundle, still with its torch weights; `hilum analyze --runtime` says what to run.

    Examples:

      hilum bundle export findings --to onnx --out findings-onnx

      hilum bundle export findings --to int8 --calibrate nih14.parquet --out findings-int8
    """  # fmt: skip
    from hilum.bundles import verify
    from hilum.bundles.export import export as make
    from hilum.bundles.files import EXPORTED

    films = _training_films(calibrate, out) if calibrate is not None else []
    form: Any = to
    place = make(bundle, form, out, films)
    info = verify(place)
    made = info.exports[form]
    tried = f"{made.tried_on} films" if made.tried_on else "noise"
    typer.echo(
        f"{place}: {', '.join(EXPORTED[to])}; probabilities differ from torch by at most {made.drift:.2g} on {tried}"
    )


def _training_films(given: Path, out: Path) -> list[Path]:
    """Films of a folder, or of a manifest's training part (all of one that is not split)."""
    from hilum.errors import ManifestError

    if given.is_dir():
        from hilum.analysis.search import expand

        films, _ = expand([given], out)
    else:
        from hilum.datasets.manifest import Manifest

        manifest = Manifest.load(given)
        split = "split" in manifest.table.columns and manifest.table["split"].is_not_null().any()
        films = (manifest.filter(split="train") if split else manifest).paths()
    if not films:
        raise ManifestError("it holds no training films", path=given)
    return films


app.command()(tune)
app.command()(reference)


@app.command()
def ensemble(
    bundles: list[str] = typer.Argument(..., help="Two or more: built-in names, folders or .hilum files."),
    out: Path = typer.Option(
        ..., "--out", "-o", help="Where to write: a name ending in .hilum gives one file, else a folder."
    ),
    name: str | None = typer.Option(None, help="The ensemble's name; default that of --out."),
) -> None:
    """Join bundles of one recipe (other seeds, other folds) into one that gives their mean probability and their spread.

    Example: hilum bundle ensemble runs/seed1/bundle runs/seed2/bundle runs/seed3/bundle --out ensemble.hilum
    """
    from hilum.bundles import load, save
    from hilum.bundles.ensembling import ensemble as join

    joined = join([load(bundle) for bundle in bundles], name or out.stem)
    typer.echo(str(save(joined, out)))


def _kind(name: str) -> str:
    if name not in KINDS:
        raise typer.BadParameter(f"'{name}'. Choose from {', '.join(KINDS)}.")
    return name


@app.command("import")
def import_(
    weights: Annotated[Path, typer.Argument(metavar="FILE", help="A PyTorch checkpoint, or .safetensors.")],
    kind: Annotated[str, typer.Option("--as", callback=_kind, help="torchxrayvision or chexnet.")],
    out: Annotated[
        Path,
        typer.Option("--out", "-o", metavar="DIR", help="Where the bundle goes: a folder, or a .hilum file."),
    ],
    licence: Annotated[
        str,
        typer.Option(
            prompt="Licence of the weights, as their makers say",
            help="Licence of the weights, as their makers say; it stands on the card and in every report.",
        ),
    ],
    variant: Annotated[
        str | None,
        typer.Option(
            help="Which of torchxrayvision's weights, such as densenet121-res224-all, where FILE's name does not tell."
        ),
    ] = None,
    name: Annotated[str | None, typer.Option(help="The bundle's name.")] = None,
) -> None:
    """Make a bundle of others' weights: a torchxrayvision classifier or a CheXNet checkpoint.

    Only tensors are read; nothing in FILE is executed.

    Examples:

      hilum bundle import model.pth.tar --as chexnet --licence unknown --out chexnet

      hilum bundle import xrv.pt --as torchxrayvision --variant densenet121-res224-all --licence Apache-2.0 --out xrv
    """  # fmt: skip
    from hilum.bundles import verify
    from hilum.bundles.importing import import_weights

    place = import_weights(weights, kind, out, licence, variant, name)
    info = verify(place)
    typer.echo(
        f"{place}: {info.name}, {len(info.labels)} outputs ({', '.join(label.name for label in info.labels)})"
    )
