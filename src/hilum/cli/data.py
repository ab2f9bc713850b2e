"""`hilum data list | prepare | describe | duplicates | readers | label-reports | split | store`"""

from __future__ import annotations

import inspect
import json
from pathlib import Path

import typer

from hilum.cli.duplicates import duplicates
from hilum.cli.label_reports import label_reports
from hilum.cli.readers import readers
from hilum.errors import one_line

app = typer.Typer(
    help="Public and own datasets: from a folder of films to training input.", no_args_is_help=True
)

_MANIFEST = typer.Argument(..., help="A manifest that `hilum data prepare` wrote.", metavar="MANIFEST")
_JSON = typer.Option(False, "--json", help="Print JSON, for machines.")


@app.command("list")
def list_sources(
    name: str | None = typer.Argument(None, help="Show this dataset alone, with the files it looks for."),
    as_json: bool = _JSON,
) -> None:
    """List the datasets that Hilum reads, or show one.

    Example: hilum data list nih14
    """
    from rich.console import Console
    from rich.table import Table

    from hilum.datasets import registry

    chosen = [registry.get(name)] if name else list(registry.sources().values())
    if as_json:
        keys = ("name", "title", "what", "licence", "homepage", "citation", "layout")
        found = [{k: getattr(s, k) for k in keys} | {"options": list(s.options)} for s in chosen]
        typer.echo(json.dumps(found, indent=2))
    elif name:
        source = chosen[0]
        typer.echo(f"{source.title} ({source.name})\n{source.what}\n\nLicence: {source.licence}")
        typer.echo(f"From: {source.homepage}\nCite: {source.citation}\n\nFiles:\n{source.layout}\n")
        typer.echo(f"Options: {', '.join(source.options) or 'none'}\n\n{inspect.getdoc(source.load)}")
    else:
        table = Table("name", "what", "licence")
        for source in chosen:
            table.add_row(source.name, source.what, source.licence)
        Console().print(table)


@app.command()
def prepare(
    source: str = typer.Argument(..., help="A dataset's name; see `hilum data list`.", metavar="SOURCE"),
    root: Path = typer.Argument(..., help="The folder that holds it.", metavar="ROOT"),
    options: list[str] = typer.Argument(None, help="Options of the dataset.", metavar="[key=value]..."),
    out: Path = typer.Option(..., "--out", "-o", help="The manifest to write (.parquet)."),
    as_json: bool = _JSON,
) -> None:
    """Read a dataset's tables and write a manifest; says which films are not on disk.

    Example: hilum data prepare nih14 /data/nih14 --out nih14.parquet

    Example: hilum data prepare csv films.csv labels=Effusion,mass:Mass patient=pid --out own.parquet
    """
    from hilum.datasets import registry

    manifest = registry.load(source, root, **_options(options or []))
    manifest.save(out)
    if as_json:
        found = {"manifest": str(out), "films": len(manifest), "missing": manifest.missing.height}
        found |= {"boxes": manifest.boxes.height, "findings": manifest.findings, "digest": manifest.digest}
        typer.echo(json.dumps(found | {"notes": manifest.notes}, indent=2))
        return
    typer.echo(f"{out}: {len(manifest):,} films, {manifest.boxes.height:,} boxes")
    if manifest.missing.height:
        first = manifest.missing["path"][0]
        typer.echo(
            one_line(f"{manifest.missing.height:,} films are named but not on disk, the first is {first}")
        )
    for note in manifest.notes:
        typer.echo(f"- {note}")


@app.command()
def describe(
    manifest: Path = _MANIFEST,
    out: Path = typer.Option(
        ..., "--out", "-o", help="The folder for describe.md, describe.json and the pictures."
    ),
    as_json: bool = _JSON,
) -> None:
    """Write label counts, co-occurrence, and views, sexes and ages, as tables and pictures.

    Example: hilum data describe nih14.parquet --out nih14-described
    """
    from hilum.datasets.describe import describe as write
    from hilum.datasets.manifest import Manifest

    found = write(Manifest.load(manifest), out)
    typer.echo(json.dumps(found, indent=2) if as_json else f"{out / 'describe.md'}: {found['films']:,} films")


app.command()(duplicates)
app.command()(readers)
app.command("label-reports")(label_reports)


@app.command()
def split(
    manifest: Path = _MANIFEST,
    out: Path = typer.Option(
        ..., "--out", "-o", help="The manifest to write; folds get -fold1of5 and so on."
    ),
    official: bool = typer.Option(False, "--official", help="The publishers' own split."),
    holdout: str | None = typer.Option(
        None, "--holdout", help="Shares of train, validation and test: 0.8,0.1,0.1", metavar="SHARES"
    ),
    kfold: int | None = typer.Option(None, "--kfold", help="So many folds.", metavar="K"),
    part: str | None = typer.Option(None, "--part", help="Divide only this part of the split that is there."),
    seed: int = typer.Option(0, "--seed", help="Decides who goes where."),
    own_patients: bool = typer.Option(
        False, "--own-patients", help="Take each film of unknown patient for a patient of its own."
    ),
    as_json: bool = _JSON,
) -> None:
    """Split by patient; a split that would put a patient on two sides is refused.

    Example: hilum data split nih14.parquet --holdout 0.9,0.1 --part train --out nih14-split.parquet

    Example: hilum data split kermany.parquet --kfold 5 --out kermany.parquet
    """
    from hilum.datasets import split as splits
    from hilum.datasets.manifest import Manifest
    from hilum.datasets.split import WithoutPatient

    if sum((official, holdout is not None, kfold is not None)) != 1:
        raise typer.BadParameter("give exactly one of --official, --holdout and --kfold")
    films = Manifest.load(manifest)
    unknown: WithoutPatient = "own" if own_patients else "refuse"
    if official:
        made = {out: splits.official(films, unknown)}
    elif holdout is not None:
        made = {out: splits.holdout(films, _shares(holdout), seed, part=part, without_patient=unknown)}
    else:
        folds = splits.kfold(films, kfold or 0, seed, part=part, without_patient=unknown)
        made = {out.with_name(f"{out.stem}-fold{i}of{kfold}.parquet"): f for i, f in enumerate(folds, 1)}
    for path, chosen in made.items():
        films.with_split(chosen).save(path)
    if as_json:
        found = [
            {"manifest": str(p), "counts": s.counts, "digest": s.digest, **s.choices} for p, s in made.items()
        ]
        typer.echo(json.dumps(found, indent=2))
        return
    for path, chosen in made.items():
        counts = ", ".join(f"{n:,} {name}" for name, n in chosen.counts.items())
        typer.echo(f"{path}: {counts}; digest {chosen.digest[:16]}")


@app.command()
def store(
    manifest: Path = _MANIFEST,
    out: Path = typer.Option(
        ..., "--out", "-o", help="The store's folder. A killed build goes on where it stopped."
    ),
    size: int = typer.Option(224, "--size", help="Height and width of the prepared films in pixels."),
    preparation: Path | None = typer.Option(
        None,
        "--preparation",
        help="A YAML or JSON file with a whole preparation (as in a recipe), instead of --size.",
    ),
    masks: bool = typer.Option(False, "--masks", help="Prepare the masks too."),
    workers: int | None = typer.Option(None, "--workers", help="Processes; default one a core."),
    verify: bool = typer.Option(
        False,
        "--verify",
        help="Hold every byte of a store that is there to the hash taken when it was built.",
    ),
    as_json: bool = _JSON,
) -> None:
    """Prepare every film once into one memory-mapped file; films that cannot be read are named, exit code 1.

    Example: hilum data store nih14.parquet --size 224 --out nih14-224

    Example: hilum data store nih14.parquet --size 224 --out nih14-224 --verify
    """
    from hilum.datasets import pixel_store
    from hilum.datasets.manifest import Manifest
    from hilum.images.preparation import Preparation

    chosen = _preparation(preparation) if preparation else Preparation(size=(size, size))
    held = verify and pixel_store.verify(out)
    windows = None
    if chosen.by_lungs is not None:
        from hilum.learning import focusing

        chosen = focusing.pinned_preparation(chosen)
        windows = focusing.finder(chosen)
    built = pixel_store.build(
        Manifest.load(manifest), chosen, out,
        masks=masks, workers=workers, progress=not as_json, windows=windows,
    )  # fmt: skip
    failures = built.failures.to_dicts()
    if as_json:
        found = {"store": str(out), "films": len(built), "shape": built.images.shape, "failures": failures}
        typer.echo(json.dumps(found | {"stored_digest": chosen.stored_digest, "verified": held}, indent=2))
    else:
        said = ", every byte as it was built" if held else ""
        shape = built.images.shape
        typer.echo(f"{out}: {len(built):,} films of {shape[1]} x {shape[2]} pixels{said}")
        for failure in failures:
            typer.echo(one_line(f"left out: {failure['image_id']}: {failure['fault']}"), err=True)
    if failures:
        raise typer.Exit(1)


def _options(pairs: list[str]) -> dict[str, str]:
    options = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals:
            raise typer.BadParameter(f"'{pair}' is not key=value")
        options[key] = value
    return options


def _shares(text: str) -> dict[str, float]:
    """`0.8,0.1,0.1` as train, validation, test; `0.9,0.1` as train, validation."""
    try:
        shares = [float(share) for share in text.split(",")]
    except ValueError:
        shares = []
    if len(shares) not in (2, 3):
        raise typer.BadParameter(f"--holdout wants two or three shares such as 0.8,0.1,0.1, got '{text}'")
    return dict(zip(("train", "validation", "test"), shares, strict=False))


def _preparation(path: Path):  # type: ignore[no-untyped-def]  # Preparation is imported late
    import yaml
    from pydantic import ValidationError

    from hilum.errors import RecipeError
    from hilum.images.preparation import Preparation

    try:
        return Preparation.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except (OSError, yaml.YAMLError) as fault:
        raise RecipeError(f"cannot be read: {fault}", path=path) from fault
    except ValidationError as fault:
        first = fault.errors()[0]
        field = ".".join(map(str, first["loc"]))
        raise RecipeError(f"{field}: {first['msg']}", path=path) from fault
