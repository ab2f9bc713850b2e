"""Rows of `hilum analyze --ray` and a manifest to predictions with their truth, as `evaluate_shards` takes them."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import polars as pl

from hilum.bundles import Bundle
from hilum.datasets.manifest import LABEL, Manifest
from hilum.errors import ManifestError
from hilum.learning.shards import tables_with
from hilum.progress import tracked

logger = logging.getLogger(__name__)

WHO = ("image_id", "patient", "sex", "view", "age", "source", "collection", "split")
KEY = "film"


def rows_of(path: str | Path) -> list[Path] | None:
    """The shards of rows in a folder that `hilum analyze --ray` wrote, or one of them; None where there are none."""
    return tables_with(path, lambda names: {"findings", "source", "fault"} <= set(names))


def with_truth(rows: Sequence[Path], manifest: Manifest, bundle: Bundle, folder: Path) -> list[Path]:
    """Write `<shard>.parquet` into `folder` for each shard of `rows`, with the patient and the truth of each film.

    A film is looked up by its path, or where no path is the manifest's (another mount, an object store) by its file's name
    with or without ending, as its `image_id`. Films without a result, or that the manifest does not know, are left out with
    a word. ManifestError where none is left.
    """
    names = [label for label in bundle.labels if label in manifest.findings]
    if not names:
        raise ManifestError(
            f"the manifest knows none of what {bundle.info.name} tells",
            mend=f"Give a manifest with labels of {', '.join(bundle.labels)}",
        )
    truth, ids = _truth(manifest, names), set(manifest.image_ids)
    folder.mkdir(parents=True, exist_ok=True)
    found, films, without, unknown = [], 0, 0, 0
    for shard in tracked(rows, "joining"):
        table = _wide(pl.read_parquet(shard, columns=["source", "analysable", "findings"]), names, bundle)
        without += table["probability:" + names[0]].null_count()
        table = table.drop_nulls("probability:" + names[0])
        known = table.rename({"source": KEY}).join(truth, on=KEY, how="inner")
        if known.is_empty() and len(table):
            keys = [_named(source, ids) for source in table["source"]]
            by_name = truth.drop(KEY).with_columns(pl.col("image_id").alias(KEY))
            known = table.with_columns(pl.Series(KEY, keys)).drop("source").join(by_name, on=KEY, how="inner")
        unknown += len(table) - len(known)
        if len(known):
            known.drop(KEY).write_parquet(folder / shard.name)
            found.append(folder / shard.name)
            films += len(known)
    if not films:
        raise ManifestError(
            "no row is of a film of the manifest",
            path=rows[0],
            mend="Give the manifest of these films, under the same paths or file names",
        )
    for count, why in ((without, "have no result of this bundle"), (unknown, "are not in the manifest")):
        if count:
            logger.warning("%d films %s and are left out", count, why)
    return found


def _named(source: str, ids: set[str]) -> str:
    path = PurePosixPath(source)
    return path.name if path.name in ids else path.stem


def _truth(manifest: Manifest, names: Sequence[str]) -> pl.DataFrame:
    table = manifest.table
    return table.select(
        pl.Series(KEY, [str(path) for path in manifest.paths()]),
        *(name for name in WHO if name in table.columns),
        *(pl.col(LABEL + name).cast(pl.Float64).alias(f"truth:{name}") for name in names),
    )


def _wide(rows: pl.DataFrame, names: Sequence[str], bundle: Bundle) -> pl.DataFrame:
    """`source` and `probability:<label>`, null where a film has none of this bundle."""
    each = pl.element().struct
    chosen = [
        pl.col("findings")
        .list.eval(
            each.field("probability").filter(
                (each.field("bundle") == bundle.info.name) & (each.field("name") == name)
            )
        )
        .list.first()
        .alias(f"probability:{name}")
        for name in names
    ]
    return rows.select("source", *chosen)
