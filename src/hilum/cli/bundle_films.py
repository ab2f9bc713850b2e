"""`hilum bundle tune | reference`: what is measured on films and kept in a bundle."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def tune(
    bundle: Annotated[str, typer.Argument(help="A built-in's name, a folder or a .hilum file.")],
    films: Annotated[
        Path,
        typer.Argument(
            metavar="MANIFEST|DIR",
            help="Films to measure on: a manifest (its validation part; INT8 takes its ranges from the training part), or a"
            " folder (half for each).",
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", metavar="DIR", help="Where the tuned bundle goes. Without it: where it lies."
        ),
    ] = None,
    tolerance: Annotated[
        float,
        typer.Option(
            min=0.0, help="The largest change of a reported probability that a faster runtime may make."
        ),
    ] = 0.01,
    most: Annotated[int, typer.Option("--films", min=1, help="Films to measure on, at most.")] = 200,
    rounds: Annotated[int, typer.Option(min=1, help="Rounds of the clock.")] = 20,
) -> None:
    """Choose the fastest runtime of a bundle on this machine, and record what it changes.

    ONNX Runtime, OpenVINO, INT8 and, where there is a GPU, torch and TensorRT on it are run beside torch: milliseconds a
    film, the largest change of a reported number, AUC, Dice and calibration error. One that changes a number by more than
    the tolerance is refused. All of it is written into the bundle; `hilum analyze` then uses what was chosen for the machine
    it runs on.

    Examples:

      hilum bundle tune findings nih14.parquet --out findings-tuned

      hilum bundle tune findings films/ --tolerance 0.05 --out findings-fast
    """  # fmt: skip
    from rich.console import Console
    from rich.table import Table

    from hilum.analysis.search import expand
    from hilum.bundles.card import ran_row
    from hilum.bundles.machine import machine
    from hilum.datasets.manifest import Manifest
    from hilum.learning.tune import tune as measure

    given = expand([films], out or Path("."))[0] if films.is_dir() else Manifest.load(films)
    info = measure(bundle, given, out, tolerance, most, rounds)
    found = info.tuned[machine()]
    rows = [{"runtime": name, **ran_row(ran)} for name, ran in found.runtimes.items()]
    table = Table(*rows[0], box=None, pad_edge=False)
    for row in rows:
        table.add_row(
            *("–" if v is None else f"{v:.4g}" if isinstance(v, float) else str(v) for v in row.values())
        )
    Console().print(table)
    typer.echo(f"{machine()}: {found.chosen}, by {found.films} films, {found.threads} threads")


def reference(
    bundle: Annotated[str, typer.Argument(help="A folder or a .hilum file; it is written anew.")],
    manifest: Annotated[Path, typer.Argument(help="A manifest (see: hilum data prepare).")],
    split: Annotated[
        str | None, typer.Option(help="Only films of this part of the manifest's split, such as validation.")
    ] = None,
    samples: Annotated[int, typer.Option(min=0, help="Monte Carlo dropout samples, as in the clinic.")] = 30,
) -> None:
    """Keep in a bundle what its scores and its films are like on known films: what `/metrics` measures a drift against.

    Example: hilum bundle reference runs/findings/bundle runs/findings/manifest.parquet --split validation
    """
    from hilum.analysis.reference import reference_of
    from hilum.bundles import load, save
    from hilum.bundles.files import locate
    from hilum.datasets.manifest import Manifest

    loaded, films = load(bundle), Manifest.load(manifest)
    films = films.filter(split=split) if split is not None else films
    note = f"{split or 'all'} films of {', '.join(sorted(set(films.table['source'].drop_nulls())))}"
    found = reference_of(loaded, films.paths(), note, samples)
    loaded.info = loaded.info.model_copy(update={"reference": found})
    place = save(loaded, locate(bundle))
    typer.echo(f"{place}: the reference is of {found.films} {note} ({loaded.info.digest[:16]})")
