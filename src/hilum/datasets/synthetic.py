"""Films that a generator made (source `synthetic`): training may take them, and nothing is ever measured on them."""

from __future__ import annotations

from dataclasses import replace

import polars as pl

from hilum.datasets.checks import SYNTHETIC
from hilum.datasets.manifest import Manifest
from hilum.errors import ManifestError

_IS_ONE = pl.col("source").eq_missing(SYNTHETIC)


def kept_for_training(manifest: Manifest, column: str) -> Manifest:
    """The manifest with `train` in `column` of every synthetic film: no split may take one out of the training part."""
    if not manifest.table.select(_IS_ONE.any()).item():
        return manifest
    before = pl.col(column) if column in manifest.table.columns else pl.lit(None, pl.String)
    return replace(
        manifest,
        table=manifest.table.with_columns(
            pl.when(_IS_ONE).then(pl.lit("train")).otherwise(before).alias(column)
        ),
    )


def refuse_synthetic(films: Manifest) -> None:
    """ManifestError where films that something is to be measured on were made by a generator."""
    made = films.filter(_IS_ONE)
    if len(made):
        raise ManifestError(
            f"{len(made)} of these {len(films)} films are synthetic, such as {made.image_ids[0]}",
            mend="Measure on real films: synthetic ones are for training alone",
        )
