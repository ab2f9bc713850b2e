"""`hilum evaluate`"""

from __future__ import annotations

from pathlib import Path

import typer

from hilum.cli.left_out import end


def evaluate(
    bundle: str = typer.Argument(..., help="A built-in's name, a folder or a .hilum file."),
    manifest: Path = typer.Argument(
        ...,
        help="A manifest (see: hilum data prepare); or predictions with their truth, a Parquet file or a folder of them; or"
        " what `hilum analyze --ray` wrote, with --truth.",
    ),
    out: Path = typer.Option(..., "--out", "-o", help="Folder for metrics, tables, plots and predictions."),
    split: str | None = typer.Option(
        None, help="Only films of this part of the manifest's split, such as test."
    ),
    where: str | None = typer.Option(
        None, help="Only films that meet this SQL condition, such as \"view = 'PA'\"."
    ),
    truth: Path | None = typer.Option(
        None,
        help="Of rows that `hilum analyze --ray` wrote: the manifest that knows their patients and labels.",
    ),
    name: str | None = typer.Option(None, help="What to call this evaluation; default the manifest's name."),
    features: str = typer.Option(
        "findings", help="Of a generator: the bundle by whose features its films are compared with real ones."
    ),
    record: bool = typer.Option(False, help="Write the result into the bundle and its card."),
) -> None:
    """Measure a bundle on films it has not seen: the one door to test data and to anyone's own set.

    Films of patients that took part in training or validation are refused. Ends with 1 where films could not be read:
    they are named, and the others are measured.

    Example: hilum evaluate findings nih14.parquet --split test --out results

    Example: hilum evaluate runs/lungs/bundle runs/lungs/manifest.parquet --split test --out results

    Example: hilum evaluate findings predictions/ --where "view = 'PA'" --out results

    Example: hilum evaluate findings rows/ --truth nih14.parquet --out results
    """
    from rich.console import Console
    from rich.markdown import Markdown
    from rich.markup import escape

    from hilum.bundles import load
    from hilum.bundles.card import measured
    from hilum.datasets.manifest import Manifest
    from hilum.learning.evaluate import evaluate as measure
    from hilum.learning.row_truth import rows_of, with_truth
    from hilum.learning.shards import evaluate_shards, shards_of

    console = Console()
    rows = rows_of(manifest)
    if (rows is None) != (truth is None):
        raise typer.BadParameter(
            "--truth and a folder that `hilum analyze --ray` wrote go together.", param_hint="--truth"
        )
    if rows is not None and truth is not None:
        shards: list[Path] | None = with_truth(rows, Manifest.load(truth), load(bundle), out / "predictions")
    else:
        shards = shards_of(manifest)
    if shards is not None:
        if split is not None or record:
            raise typer.BadParameter("--split and --record go with a manifest: choose films with --where.")
        found = evaluate_shards(bundle, shards, out, where, name or manifest.stem)
        console.print(Markdown(measured(found)))
        console.print(f"Written to {escape(str(out))}", soft_wrap=True)
        return
    result = measure(
        bundle, manifest, out, split=split, where_sql=where, name=name, record=record, features=features
    )
    console.print(Markdown(measured(result)))
    console.print(f"Written to {escape(str(out))}", soft_wrap=True)
    end(result["unreadable"], "evaluation.json")
