"""`hilum data duplicates`"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import typer

from hilum.errors import one_line


def duplicates(
    manifests: list[Path] = typer.Argument(
        ..., help="Manifests that `hilum data prepare` wrote, compared as one.", metavar="MANIFEST..."
    ),
    out: Path = typer.Option(..., "--out", "-o", help="The JSON file for groups and pairs."),
    merged: Path | None = typer.Option(
        None,
        "--merged",
        help="Also write the manifests as one, in which films of one group are of one patient: no split parts them.",
    ),
    distance: int | None = typer.Option(
        None, "--distance", min=0, max=15, help="Bits of the 64-bit hash that may differ; default 11."
    ),
    correlation: float | None = typer.Option(
        None, "--correlation", min=-1, max=1, help="How far the detail must agree; default 0.85."
    ),
    workers: int | None = typer.Option(None, "--workers", min=1, help="Threads; default one a core."),
    as_json: bool = typer.Option(False, "--json", help="Print JSON, for machines."),
) -> None:
    """Find films that stand twice, as the same bytes or as one picture at another size, brightness or format.

    Example: hilum data duplicates cohen.parquet covid.parquet --out duplicates.json --merged both.parquet
    """
    from hilum.datasets import duplicates as search
    from hilum.datasets.manifest import Manifest, concat

    films = concat([Manifest.load(path) for path in manifests])
    found = search.find(
        films,
        distance=search.DISTANCE if distance is None else distance,
        correlation=search.CORRELATION if correlation is None else correlation,
        workers=workers,
        progress=not as_json,
    )
    told = {
        "films": found.films,
        "distance": found.distance,
        "correlation": found.correlation,
        "exact_pairs": found.pairs.filter("exact").height,
        "near_pairs": found.pairs.filter(~found.pairs["exact"]).height,
        "films_in_groups": sum(map(len, found.groups)),
        "crossing": {c: search.crossing(films, found.groups, c) for c in ("source", "patient", "split")},
        "groups": found.groups,
        "exact_groups": found.exact_groups,
        "failures": found.failures.to_dicts(),
    }
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(told | {"pairs": found.pairs.to_dicts()}, indent=1) + "\n", encoding="utf-8")
    if merged is not None:
        search.as_one_patient(films, found.groups).save(merged)
    if as_json:
        typer.echo(json.dumps(told, indent=2))
    else:
        _show(told, out)


def _show(told: dict[str, Any], out: Path) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("", "count")
    for name, count in (
        ("films compared", told["films"]),
        ("pairs of the same bytes", told["exact_pairs"]),
        ("near-duplicate pairs", told["near_pairs"]),
        ("groups", len(told["groups"])),
        ("films in groups", told["films_in_groups"]),
        ("groups across sources", told["crossing"]["source"]),
        ("groups across patients", told["crossing"]["patient"]),
        ("groups across parts of the split", told["crossing"]["split"]),
        ("films that could not be compared", len(told["failures"])),
    ):
        table.add_row(name, f"{count:,}")
    Console().print(table)
    for group in told["groups"][:3]:
        more = f" and {len(group) - 4} more" if len(group) > 4 else ""
        typer.echo(one_line(f"together: {', '.join(group[:4])}{more}"))
    typer.echo(f"{out}: every group and pair")
    for failure in told["failures"]:
        typer.echo(one_line(f"left out: {failure['image_id']}: {failure['fault']}"), err=True)
