"""`hilum audit`"""

from __future__ import annotations

import json
from pathlib import Path

import typer

from hilum.cli.left_out import end
from hilum.errors import one_line

_STYLES = {"trap": "bold red", "watch": "yellow", "ok": "green", "not measurable": "dim"}


def audit(
    bundle: str = typer.Argument(..., help="A built-in's name, a folder or a .hilum file; it must classify."),
    manifest: Path = typer.Argument(..., help="A manifest (see: hilum data prepare)."),
    out: Path = typer.Option(
        ..., "--out", "-o", help="Folder for the report: JSON, Markdown, HTML and figures."
    ),
    split: str | None = typer.Option(
        None, help="Only films of this part of the manifest's split, such as test."
    ),
    where: str | None = typer.Option(
        None, help="Only films that meet this SQL condition, such as \"view = 'PA'\"."
    ),
    limit: int | None = typer.Option(
        None, min=1, help="At most so many films, of patients drawn by their hash."
    ),
    lungs: str = typer.Option("lungs", help="The bundle that outlines the lungs."),
    human_masks: bool = typer.Option(
        False, "--human-masks", help="Where the manifest has a mask of a film's lungs, take that."
    ),
    duplicates: bool = typer.Option(
        True, "--duplicates/--no-duplicates", help="Look in the whole manifest for films that stand twice."
    ),
    seed: int = typer.Option(0, help="Of the patients drawn and of the probe's folds."),
    as_json: bool = typer.Option(False, "--json", help="Print audit.json, for machines."),
) -> None:
    """Ask a bundle for shortcuts: does it read the lungs, or the hospital's marks?

    Films are covered in part, a probe asks the embedding for source, view, sex and age, subgroups, letters, duplicates and
    heatmaps are looked at, and each answer is put in words with its figures. Films of patients that took part in training
    are refused.

    Example: hilum audit findings nih14.parquet --split test --out audit
    """
    from hilum.audit import audit as run

    content = run(
        bundle,
        manifest,
        out,
        split=split,
        where=where,
        limit=limit,
        lungs=lungs,
        human_masks=human_masks,
        duplicates=duplicates,
        seed=seed,
    )
    if as_json:
        typer.echo(json.dumps(content, indent=1))
        end(content["unreadable"], "audit.json")
        return
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console = Console()
    table = Table("level", "question", "said")
    for statement in content["verdict"]:
        level = statement["level"]
        table.add_row(
            f"[{_STYLES[level]}]{level}[/]", escape(statement["title"]), escape(one_line(statement["words"]))
        )
    console.print(table)
    console.print(escape(content["headline"]), soft_wrap=True)
    console.print(f"Written to {escape(str(out))}", soft_wrap=True)
    end(content["unreadable"], "audit.json")
