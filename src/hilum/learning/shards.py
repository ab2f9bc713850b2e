"""`hilum evaluate` of predictions that were made already: Parquet shards of any number of films, in bounded memory."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.stats import poisson

from hilum.bundles import Bundle, load
from hilum.bundles.card import measured
from hilum.errors import ManifestError, SplitError
from hilum.evaluation.streamed import Totals, patient_hashes
from hilum.evaluation.streamed_estimates import streamed_subgroups, streamed_summary
from hilum.evaluation.subgroups import UNKNOWN, age_bands
from hilum.learning.results import label_row, plain_name, subgroup_row
from hilum.learning.writing import named, write_whole
from hilum.progress import tracked

logger = logging.getLogger(__name__)

CHUNK = 500_000
"""Films in memory at a time."""

SMALL = {"groups": 64, "fine": 8_192, "coarse": 512}
"""Totals of a subgroup: their AUC is known to about 1e-5 of a bin's share, their intervals' width to 9 %."""

ATTRIBUTES = ("sex", "view", "source", "collection")
MOST_VALUES = 50  # of an attribute that is worth a row each


def shards_of(path: str | Path) -> list[Path] | None:
    """The shards that a path names, a folder of Parquet files or one of them; None where it holds no predictions."""
    return tables_with(path, lambda names: any(name.startswith("probability:") for name in names))


def tables_with(path: str | Path, fits: Callable[[list[str]], bool]) -> list[Path] | None:
    """The Parquet files that a path names, a folder or one of them; None where there are none, or where the columns of the
    first do not fit.
    """
    path = Path(path)
    files = sorted(path.glob("*.parquet")) if path.is_dir() else [path]
    if not files or not files[0].is_file() or files[0].suffix != ".parquet":
        return None
    return files if fits(pl.scan_parquet(files[0]).collect_schema().names()) else None


def evaluate_shards(
    bundle: str | Path | Bundle,
    shards: Sequence[Path],
    out: str | Path,
    where_sql: str | None = None,
    name: str = "shards",
) -> dict[str, Any]:
    """Measure predictions of `bundle` and write `metrics.json`, `evaluation.md` and `evaluation.json` to `out`.

    `shards`: Parquet files with a row a film, as `predictions.parquet` of an evaluation has them: `image_id`, `patient`,
    `probability:<label>` and `truth:<label>` (0, 1 or NaN), and where there are any, `sex`, `view`, `source`, `age`.
    Memory does not grow with the films. Films of patients that the bundle was trained or chosen on are refused as
    `evaluate` refuses them. ManifestError where no column fits the bundle or no film is left.
    """
    loaded = bundle if isinstance(bundle, Bundle) else load(bundle)
    cuts = [label.threshold.value if label.threshold else np.nan for label in loaded.info.labels]
    labels = _measured_labels(loaded, shards[0])
    chosen = [loaded.labels.index(label) for label in labels]
    thresholds = np.array([cuts[k] for k in chosen], np.float64)
    whole = Totals.empty(thresholds)
    parts: dict[tuple[str, str], Totals] = {}
    met, known = 0, _Known(loaded)
    for table in _chunks(shards, labels, where_sql):
        table = known.strangers(table)
        if not len(table):
            continue
        truth, scores = (
            table.select(f"{kind}:{label}" for label in labels).cast(pl.Float64).to_numpy()
            for kind in ("truth", "probability")
        )
        hashes = patient_hashes(table["patient"])
        whole.add(truth, scores, hashes)
        met += len(table)
        for attribute, value, rows in _divided(table):
            if (attribute, value) not in parts:
                if sum(each == attribute for each, _ in parts) == MOST_VALUES:
                    continue
                parts[attribute, value] = Totals.empty(thresholds, **SMALL)
            parts[attribute, value].add(truth[rows], scores[rows], hashes[rows])
    if not met:
        raise ManifestError("no film is left to evaluate on", mend="Change --where")
    known.refuse(met)
    summary = streamed_summary(whole, labels)
    groups = streamed_subgroups(dict(sorted(parts.items())), labels)
    note = f"{met} films in {len(shards)} shards; intervals are 95 %, by patient, of the jackknife over groups of them."
    note += f" Evaluated on {datetime.now(UTC).date().isoformat()}." + (
        f" Where: {where_sql}." if where_sql else ""
    )
    result = {
        "note": note,
        "facts": {plain_name(key): value.as_dict() for key, value in summary.overall.items()},
        "tables": {
            "per output": [label_row(label) for label in summary.as_dict()["labels"]],
            "subgroups": [subgroup_row(part.as_dict()) for part in groups],
        },
    }
    out = Path(out)
    with named(out):
        out.mkdir(parents=True, exist_ok=True)
    metrics = {**summary.as_dict(), "subgroups": [part.as_dict() for part in groups]}
    write_whole(out / "metrics.json", json.dumps(metrics, indent=1, allow_nan=False) + "\n")
    write_whole(out / "evaluation.md", f"# {loaded.info.title}: {name}\n\n{measured(result)}\n")
    content = {"name": name, "bundle": loaded.info.digest, **result}
    write_whole(out / "evaluation.json", json.dumps(content, indent=1, allow_nan=False) + "\n")
    return result


def _measured_labels(bundle: Bundle, shard: Path) -> list[str]:
    names = pl.scan_parquet(shard).collect_schema().names()
    labels = [x for x in bundle.labels if f"truth:{x}" in names and f"probability:{x}" in names]
    if not labels or "patient" not in names:
        raise ManifestError(
            "these are no predictions of this bundle with their truth",
            path=shard,
            mend=f"Give columns patient, and probability: and truth: of any of {', '.join(bundle.labels)}",
        )
    return labels


def _chunks(shards: Sequence[Path], labels: Sequence[str], condition: str | None) -> Iterator[pl.DataFrame]:
    """The films, at most CHUNK at a time; those of unknown patient are named for themselves."""
    columns = [f"{kind}:{label}" for kind in ("truth", "probability") for label in labels]
    for shard in tracked(shards, "measuring"):
        lazy = pl.scan_parquet(shard)
        there = lazy.collect_schema().names()
        kept = [*columns, "patient", *(c for c in ("image_id", "age", *ATTRIBUTES) if c in there)]
        films = int(lazy.select(pl.len()).collect().item())
        for start in range(0, films, CHUNK):
            table = lazy.slice(start, CHUNK)
            if condition is not None:
                table = table.filter(pl.sql_expr(f"({condition})"))
            found = table.select(kept).collect()
            if found["patient"].null_count() and "image_id" in there:
                own = pl.concat_str(pl.lit("film:"), "image_id")
                found = found.with_columns(pl.coalesce("patient", own).alias("patient"))
            yield found


def _divided(table: pl.DataFrame) -> Iterator[tuple[str, str, NDArray[np.bool_]]]:
    """Each value of each attribute, with the films that have it."""
    columns = {n: table[n].cast(pl.String).fill_null(UNKNOWN) for n in ATTRIBUTES if n in table.columns}
    if "age" in table.columns:
        ages = table["age"].cast(pl.Float64)
        known = ages.unique()
        bands = pl.Series(age_bands(known.to_numpy()).astype(str))
        columns["age"] = ages.replace_strict(known, bands, return_dtype=pl.String)
    for name, column in columns.items():
        for value in column.unique().sort():
            yield name, value, (column == value).to_numpy()


class _Known:
    """Films of patients that a bundle was trained or chosen on: left out, and counted, for chance explains a few."""

    def __init__(self, bundle: Bundle) -> None:
        self.bundle = bundle
        self.films, self.patients, self.met = 0, set[str](), 0

    def strangers(self, table: pl.DataFrame) -> pl.DataFrame:
        """The films of others."""
        if not len(self.bundle.patients):
            return table
        names = table["patient"].unique().to_list()
        self.met += len(names)
        known = self.bundle.trained_on(names)
        if not known:
            return table
        self.patients.update(known[: 10_000 - len(self.patients)])
        others = table.filter(~pl.col("patient").is_in(known))
        self.films += len(table) - len(others)
        return others

    def refuse(self, films: int) -> None:
        """SplitError where there are more than chance explains."""
        by_chance = self.met * len(self.bundle.patients) / 2**32
        if len(self.patients) > poisson.ppf(0.999, by_chance):
            raise SplitError(
                f"{self.films} of these {films + self.films} films belong to patients that '{self.bundle.info.name}' was"
                f" trained or chosen on, such as {min(self.patients)}",
                mend="Evaluate on other patients",
            )
        if self.films:
            logger.warning("%d films that may be of patients in training are left out", self.films)
