"""The manifest: one table of films, a row each, and one of boxes, checked when it is made.

Columns of the table: `image_id` (unique), `path` (absolute, or relative to `root`), `patient`, `study`,
`view` (PA, AP, LATERAL, OTHER), `sex` (F, M), `age` (years), `source`, `split` (train, validation, test),
`width` and `height`; where a dataset has them `class` (mutually exclusive), `mask` (path) with `mask_value`
and `mask_ignore`, a `label:<Finding>` a finding (1, 0 or null for unknown) and a `teacher:<Finding>` a
finding (a probability), and a `soft:<Finding>` a finding (a training target in [0, 1] for a film whose label is
unknown, which no metric sees). Any further column (a licence, say) is kept as it is.

Sizes and boxes are in pixels of the file at `path`: a source whose boxes were published at another size
scales them.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from hilum.datasets import checks
from hilum.errors import ManifestError

LABEL, TEACHER, SOFT = "label:", "teacher:", "soft:"
PARTS = checks.PARTS
_META_KEY = "hilum"


def _no_boxes() -> pl.DataFrame:
    return pl.DataFrame(schema=checks.BOX_SCHEMA)


def _none_missing() -> pl.DataFrame:
    return pl.DataFrame(schema=checks.MISSING_SCHEMA)


@dataclass(frozen=True, eq=False)
class Manifest:
    """Films and what is known of them; immutable, validated on creation (ManifestError names row and column).

    Attributes
    ----------
    table: see the module. Absent optional columns are added as nulls; NaN becomes null.
    boxes: `image_id`, `finding`, `x1`, `y1`, `x2`, `y2` (pixels of the file), `reader`.
    root: what relative paths are relative to.
    missing: `image_id` and `path` (as the dataset's tables name it) of films that are named but not on disk.
    notes: what a reader of results on this data should know.
    """

    table: pl.DataFrame
    boxes: pl.DataFrame = field(default_factory=_no_boxes)
    root: Path | None = None
    missing: pl.DataFrame = field(default_factory=_none_missing)
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        table = checks.table(self.table)
        object.__setattr__(self, "table", table)
        object.__setattr__(self, "boxes", checks.boxes(self.boxes, table))
        object.__setattr__(self, "missing", checks.missing(self.missing, table))
        object.__setattr__(self, "root", None if self.root is None else Path(self.root).absolute())

    def __len__(self) -> int:
        return self.table.height

    def __repr__(self) -> str:
        return (
            f"Manifest({len(self)} films, {self.boxes.height} boxes, {self.missing.height} missing,"
            f" findings: {', '.join(self.findings) or 'none'})"
        )

    @property
    def image_ids(self) -> list[str]:
        return self.table["image_id"].to_list()

    @property
    def findings(self) -> tuple[str, ...]:
        """Names of the label columns, in the table's order."""
        return tuple(c.removeprefix(LABEL) for c in self.table.columns if c.startswith(LABEL))

    def labels(self) -> tuple[tuple[str, ...], NDArray[np.float32]]:
        """(names, (n, labels) float32 of 1, 0 and NaN for unknown)."""
        return self.findings, self._matrix(LABEL)

    def teacher(self) -> tuple[tuple[str, ...], NDArray[np.float32]]:
        """(names, (n, labels) float32 probabilities in [0, 1], NaN where it did not see the film)."""
        return tuple(
            c.removeprefix(TEACHER) for c in self.table.columns if c.startswith(TEACHER)
        ), self._matrix(TEACHER)

    def classes(self, names: tuple[str, ...]) -> NDArray[np.int64]:
        """(n,) index of each film's class in `names`, -1 where unknown; another class is a ManifestError."""
        if "class" not in self.table.columns:
            raise ManifestError(
                "the manifest has no column 'class'", mend="Its findings are in label columns."
            )
        where = {name: i for i, name in enumerate(names)}
        strange = sorted({c for c in self.table["class"].drop_nulls().unique() if c not in where})
        if strange:
            raise ManifestError(f"classes {', '.join(strange)} are not among {', '.join(names)}")
        return np.array([where.get(c, -1) if c is not None else -1 for c in self.table["class"]], np.int64)

    def paths(self) -> list[Path]:
        """Absolute paths of the films."""
        return [self.absolute(p) for p in self.table["path"]]

    def absolute(self, path: str) -> Path:
        return Path(path) if self.root is None else self.root / path

    def filter(self, *predicates: Any, **equals: Any) -> Manifest:
        """Rows for which every polars predicate holds and every named column equals its value; boxes too."""
        table = self.table.filter(*predicates, **equals)
        return replace(
            self, table=table, boxes=self.boxes.filter(pl.col("image_id").is_in(table["image_id"].to_list()))
        )

    def with_split(self, parts: Mapping[str, str]) -> Manifest:
        """A copy whose `split` is `parts[image_id]`, null for films not in it; a `Split` will do."""
        known = set(self.image_ids)
        strange = next((i for i in parts if i not in known), None)
        if strange is not None:
            raise ManifestError(f"the split names '{strange}', which is not in this manifest")
        column = pl.Series("split", [parts.get(i) for i in self.image_ids], dtype=pl.String)
        return replace(self, table=self.table.with_columns(column))

    @cached_property
    def digest(self) -> str:
        """SHA-256 of table and boxes, whatever the order of rows and columns; the root does not count."""
        sha = hashlib.sha256()
        order = ["image_id", "finding", "x1", "y1", "x2", "y2", "reader"]
        for frame, keys in ((self.table, ["image_id"]), (self.boxes, order)):
            frame = frame.sort(keys, nulls_last=True)
            for name in sorted(frame.columns):
                sha.update(f"\x1d{name}\x1d".encode())
                sha.update(_column_bytes(frame[name]))
        return sha.hexdigest()

    def save(self, path: str | Path) -> None:
        """To `path` (.parquet; root, notes and missing films in its metadata) and `<stem>.boxes.parquet`."""
        path = _parquet(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        meta = {
            "version": 1,
            "root": None if self.root is None else self.root.as_posix(),
            "notes": self.notes,
            "missing": self.missing.rows(),
            "digest": self.digest,
        }
        boxes = _boxes_beside(path)
        if self.boxes.height:
            self.boxes.write_parquet(boxes)
        else:
            boxes.unlink(missing_ok=True)  # of an earlier manifest of this name
        self.table.write_parquet(path, metadata={_META_KEY: json.dumps(meta)})

    @classmethod
    def load(cls, path: str | Path, root: str | Path | None = None) -> Manifest:
        """A saved manifest; `root` replaces the one it was saved with (the data moved)."""
        given, path = Path(path), _parquet(path)
        if not path.is_file() and given.exists():
            what = "a folder" if given.is_dir() else "no Parquet file"
            mend = "Make a manifest of it with: hilum data prepare"
            raise ManifestError(f"{what}, and a manifest is wanted", path=given, mend=mend)
        if not path.is_file():
            raise ManifestError("no such manifest", path=path, mend="Make one with: hilum data prepare")
        try:
            table = pl.read_parquet(path)
            meta = json.loads(pl.read_parquet_metadata(path).get(_META_KEY, "null"))
            boxes = pl.read_parquet(_boxes_beside(path)) if _boxes_beside(path).is_file() else _no_boxes()
        except (pl.exceptions.PolarsError, OSError, ValueError) as fault:
            raise ManifestError(f"not a readable Parquet file: {fault}", path=path) from fault
        if meta is None:
            raise ManifestError(
                "a Parquet file, but no manifest that Hilum saved", path=path, mend="Use source 'csv'."
            )
        missing = pl.DataFrame(meta["missing"], schema=checks.MISSING_SCHEMA, orient="row")
        where = root if root is not None else meta["root"]
        manifest = cls(table, boxes, where if where is None else Path(where), missing, tuple(meta["notes"]))
        if manifest.digest != meta["digest"]:
            raise ManifestError(
                "the table or its boxes were changed after saving", path=path, mend="Prepare it again."
            )
        return manifest

    def _matrix(self, prefix: str) -> NDArray[np.float32]:
        columns = [c for c in self.table.columns if c.startswith(prefix)]
        out = np.full((len(self), len(columns)), np.nan, np.float32)
        for i, column in enumerate(columns):
            out[:, i] = self.table[column].cast(pl.Float32).fill_null(float("nan")).to_numpy()
        return out


def concat(manifests: list[Manifest]) -> Manifest:
    """Several manifests as one, rooted at their roots' common folder.

    Columns are united; a finding that one of them does not label is unknown there. One film in two of them
    is refused.
    """
    if not manifests:
        raise ManifestError("nothing to join")
    root = _common_root(manifests)
    tables = []
    for manifest in manifests:
        moved = [
            pl.Series(c, [_from(root, manifest, p) for p in manifest.table[c]], dtype=pl.String)
            for c in ("path", "mask")
            if c in manifest.table.columns
        ]
        tables.append(manifest.table.with_columns(moved))
    return Manifest(
        pl.concat(tables, how="diagonal_relaxed"),
        pl.concat([m.boxes for m in manifests]),
        root,
        pl.concat([m.missing for m in manifests]),
        tuple(dict.fromkeys(note for m in manifests for note in m.notes)),
    )


def _common_root(manifests: list[Manifest]) -> Path | None:
    """The deepest folder that holds every root; None where a manifest has none, or drives differ."""
    roots = [m.root for m in manifests]
    if any(root is None for root in roots):
        return None
    try:
        return Path(os.path.commonpath([str(root) for root in roots]))
    except ValueError:
        return None


def _from(root: Path | None, manifest: Manifest, path: str | None) -> str | None:
    if path is None:
        return None
    absolute = manifest.absolute(path)
    inside = root is not None and absolute.is_relative_to(root)
    return absolute.relative_to(root).as_posix() if inside and root is not None else str(absolute)


def _parquet(path: str | Path) -> Path:
    path = Path(path)
    return path if path.suffix == ".parquet" else path.with_name(path.name + ".parquet")


def _boxes_beside(path: Path) -> Path:
    return path.with_name(f"{path.stem}.boxes.parquet")


def _column_bytes(column: pl.Series) -> bytes:
    if column.dtype.is_numeric():
        return column.cast(pl.Float64).fill_null(float("nan")).to_numpy().astype("<f8").tobytes()
    return "\x1f".join("\x00" if v is None else str(v) for v in column).encode()
