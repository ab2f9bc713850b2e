"""What lies on disk: tables (plain or gzipped), images by stem, and sizes from headers alone."""

from __future__ import annotations

import gzip
import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import polars as pl

from hilum.errors import DataError

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".dcm", ".dicom")


def folder(root: str | Path) -> Path:
    """`root` as an absolute path; DataError where it is no folder."""
    path = Path(root).absolute()
    if not path.is_dir():
        raise DataError("no such folder", path=path, mend="Give the folder that holds the dataset.")
    return path


def find_file(root: Path, *patterns: str) -> Path | None:
    """The first file under `root` that matches the first matching glob pattern; of several the last by name."""
    for pattern in patterns:
        found = sorted(p for p in root.glob(pattern) if p.is_file())
        if found:
            return found[-1]
    return None


def need_file(root: Path, *patterns: str, what: str) -> Path:
    """`find_file`, or a DataError that says what was looked for."""
    found = find_file(root, *patterns)
    if found is None:
        raise DataError(f"{what} not found", path=root, mend=f"Looked for: {', '.join(patterns)}.")
    return found


def read_csv(path: Path) -> pl.DataFrame:
    """A CSV file, gzipped or not, every column as text; empty cells are null."""
    try:
        return pl.read_csv(path, infer_schema=False, encoding="utf8-lossy")
    except (pl.exceptions.PolarsError, OSError) as fault:
        raise DataError(f"not a readable CSV file: {fault}", path=path) from fault


def need_columns(frame: pl.DataFrame, columns: Iterable[str], path: Path) -> None:
    """DataError for the first of `columns` that the table at `path` lacks."""
    for column in columns:
        if column not in frame.columns:
            raise DataError(f"no column '{column}'", path=path, mend=f"It has: {', '.join(frame.columns)}.")


def read_lines(path: Path) -> list[str]:
    """Lines of a text file, gzipped or not, without blanks at the ends and without empty lines."""
    opened = gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8")
    with opened as lines:
        return [line.strip() for line in lines if line.strip()]


def images_by_stem(root: Path, suffixes: Sequence[str] = IMAGE_SUFFIXES) -> dict[str, str]:
    """File stem to POSIX path relative to `root`, for every image under it, links followed.

    Of two files with one stem that with the earlier suffix in `suffixes` wins, then that with the lesser path.
    """
    rank = {suffix: i for i, suffix in enumerate(suffixes)}
    best: dict[str, tuple[int, str]] = {}
    for place, folders, names in os.walk(root, followlinks=True):
        folders.sort()
        for name in names:
            stem, suffix = os.path.splitext(name)
            order = rank.get(suffix.lower())
            if order is None or name.startswith("."):
                continue
            found = (order, os.path.relpath(os.path.join(place, name), root).replace(os.sep, "/"))
            if stem not in best or found < best[stem]:
                best[stem] = found
    return {stem: path for stem, (_, path) in sorted(best.items())}


def texts(rows: Sequence[Sequence[object]], *columns: str) -> pl.DataFrame:
    """Rows as a table; a column of nulls only is text."""
    return pl.DataFrame(rows, schema=list(columns), orient="row", infer_schema_length=None).with_columns(
        pl.selectors.by_dtype(pl.Null).cast(pl.String)
    )


def measured(table: pl.DataFrame, root: Path) -> pl.DataFrame:
    """The table with `width` and `height` of each `path` from its header; null where the header cannot be read."""
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(_size, [root / p for p in table["path"]]))
    return table.hstack(pl.DataFrame(found, schema={"width": pl.Int32, "height": pl.Int32}, orient="row"))


def _size(path: Path) -> tuple[int | None, int | None]:
    from PIL import Image

    try:
        with Image.open(path) as image:
            return image.size
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None, None  # the pixel store names it when it cannot be read; DICOM is not read here
