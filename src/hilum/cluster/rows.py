"""Results as Parquet shards: a row a film, whole files only, under names that follow from the films."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import Any

import fsspec
import polars as pl

from hilum.analysis.report import Report
from hilum.cluster.films import Shard, is_local
from hilum.errors import HilumError

_FINDING = pl.Struct(
    {
        "bundle": pl.String,
        "name": pl.String,
        "group": pl.String,
        "probability": pl.Float64,
        "std": pl.Float64,
        "low": pl.Float64,
        "high": pl.Float64,
        "threshold": pl.Float64,
        "positive": pl.Boolean,
    }
)
_BOX = pl.Struct({"bundle": pl.String, "name": pl.String, "score": pl.Float64, "box": pl.List(pl.Float64)})
_BUNDLE = pl.Struct({"name": pl.String, "version": pl.String, "digest": pl.String})
SCHEMA: dict[str, pl.DataType | type[pl.DataType]] = {
    "source": pl.String,
    "sha256": pl.String,
    "analysable": pl.Boolean,
    "reason": pl.String,
    "view": pl.String,
    "sex": pl.String,
    "age": pl.Float64,
    "lung_share": pl.Float64,
    "findings": pl.List(_FINDING),
    "boxes": pl.List(_BOX),
    "warnings": pl.List(pl.String),
    "bundles": pl.List(_BUNDLE),
    "seconds": pl.Float64,
    "fault": pl.String,
    "mend": pl.String,
}
"""Columns of a shard. `fault` and `mend` are null of a film that was analysed, and all others but `source` of one that was
not."""


def row_of(film: str, report: Report) -> dict[str, Any]:
    """A film's row: numbers as the report has them, not rounded."""
    return {
        "source": film,
        "sha256": report.film.digest,
        "analysable": report.analysable,
        "reason": report.reason,
        "view": report.film.view,
        "sex": report.film.sex,
        "age": report.film.age,
        "lung_share": report.lungs.area_share if report.lungs else None,
        "findings": [
            {
                "bundle": f.bundle,
                "name": f.name,
                "group": f.group,
                "probability": f.probability,
                "std": f.std,
                "low": f.interval[0] if f.interval else None,
                "high": f.interval[1] if f.interval else None,
                "threshold": f.threshold,
                "positive": f.positive,
            }
            for f in report.findings
        ],
        "boxes": [
            {"bundle": b.bundle, "name": b.name, "score": b.score, "box": list(b.box)} for b in report.boxes
        ],
        "warnings": [notice.text for notice in report.warnings],
        "bundles": [{"name": b.name, "version": b.version, "digest": b.digest} for b in report.bundles],
        "seconds": report.seconds,
    }


def failed_row(film: str, fault: str, mend: str | None) -> dict[str, Any]:
    """The row of a film that has no report."""
    return {"source": film, "fault": fault, "mend": mend}


def write_shard(out: str, shard: Shard, rows: Sequence[dict[str, Any]]) -> None:
    """`<shard's name>.parquet` in the folder `out`, whole or not at all; a second writer writes the same over it."""
    system, folder = fsspec.core.url_to_fs(out)
    table = pl.DataFrame([{name: row.get(name) for name in SCHEMA} for row in rows], schema=SCHEMA)
    path = f"{folder}/{shard.name}.parquet"
    work = (
        f"{folder}/.{shard.name}.{os.getpid()}.part" if is_local(out) else path
    )  # an object appears when it is whole
    system.makedirs(folder, exist_ok=True)
    with system.open(work, "wb") as file:
        table.write_parquet(file, compression="zstd")
    if work != path:
        os.replace(work, path)


def is_written(out: str, shard: Shard) -> bool:
    """Whether the shard's file lies in `out`."""
    system, folder = fsspec.core.url_to_fs(out)
    return bool(system.exists(f"{folder}/{shard.name}.parquet"))


def written(out: str) -> list[str]:
    """The shards that lie in `out`, by their addresses."""
    system, folder = fsspec.core.url_to_fs(out)
    if not system.exists(folder):
        return []
    return sorted(
        system.unstrip_protocol(path) if not is_local(out) else path
        for path in system.glob(f"{folder}/*.parquet")
    )


def done(out: str) -> set[str]:
    """The films that have a row in `out`. HilumError where another program's Parquet files lie there."""
    films: set[str] = set()
    for path in written(out):
        try:
            with fsspec.open(path) as file:
                films.update(pl.read_parquet(file, columns=["source"])["source"].to_list())
        except pl.exceptions.PolarsError as error:
            raise HilumError(
                f"this is no shard of results ({error})", path=path, mend="Choose another folder with --out"
            ) from error
    return films


def read(paths: Iterable[str]) -> pl.DataFrame:
    """The rows of these shards."""
    tables = []
    for path in paths:
        with fsspec.open(path) as file:
            tables.append(pl.read_parquet(file))
    return pl.concat(tables) if tables else pl.DataFrame(schema=SCHEMA)
