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
    """The first file under `root` that matches the first pattern that any matches; of several the last."""
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
    content = path.read_bytes()
    text = (gzip.decompress(content) if path.suffix == ".gz" else content).decode("utf-8", "replace")
    return [line.strip() for line in text.splitlines() if line.strip()]


def images(root: Path, suffixes: Sequence[str] = IMAGE_SUFFIXES) -> list[Path]:
    """Every image under `root`, links followed, by path; names that begin with a dot are passed over."""
    found = []
    for place, _, names in os.walk(root, followlinks=True):
        here = Path(place)
        found += [here / n for n in names if n.lower().endswith(tuple(suffixes)) and not n.startswith(".")]
    return sorted(found)


def images_by_stem(root: Path, suffixes: Sequence[str] = IMAGE_SUFFIXES) -> dict[str, str]:
    """File stem to POSIX path relative to `root`, for every image under it.

    Of two files with one stem the one with the earlier suffix wins, then the one with the lesser path.
    """
    ranked = sorted(images(root, suffixes), key=lambda path: (suffixes.index(path.suffix.lower()), path))
    best: dict[str, Path] = {}
    for path in ranked:
        best.setdefault(path.stem, path)
    return {stem: best[stem].relative_to(root).as_posix() for stem in sorted(best)}


def texts(rows: Sequence[Sequence[object]], *columns: str) -> pl.DataFrame:
    """Rows as a table; a column of nulls only is text."""
    return pl.DataFrame(rows, schema=list(columns), orient="row", infer_schema_length=None).with_columns(
        pl.selectors.by_dtype(pl.Null).cast(pl.String)
    )


def measured(table: pl.DataFrame, root: Path) -> pl.DataFrame:
    """The table with `width` and `height` of each `path` from its header; null where that cannot be read."""
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
