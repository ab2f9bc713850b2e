"""Lungs that were published as two masks, a file a side, as one mask a film: a manifest names one file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray
from PIL import Image

from hilum.errors import DataError

RIGHT, LEFT = 128, 255
"""Values of the patient's right and left lung in a joined mask; where both were drawn the left one shows."""

PROPORTION = 0.02
"""How far the sides of a mask may be from its film's proportions: reduced copies are rounded to whole pixels."""


def folder(root: Path, joined: str | None) -> Path:
    """Where the joined masks of the dataset at `root` lie: `joined`, or `hilum_masks` in `root`."""
    return root / "hilum_masks" if joined is None else Path(joined).absolute()


def with_masks(
    table: pl.DataFrame, root: Path, out: Path, right: Mapping[str, Path], left: Mapping[str, Path]
) -> pl.DataFrame:
    """The table (`image_id`, `path`, `width`, `height`) with a column `mask`, whose files this writes to `out`.

    `right`, `left`: image id to the file of that lung's mask. DataError where a film has no size: it cannot be read.
    """
    column = []
    for name, path, width, height in table.select("image_id", "path", "width", "height").rows():
        if width is None:
            raise DataError("the film cannot be read", path=root / path, mend="Fetch the file again.")
        target = out / f"{name}.png"
        join(right[name], left[name], target, (height, width))
        inside = target.is_relative_to(root)
        column.append(target.relative_to(root).as_posix() if inside else str(target))
    return table.with_columns(pl.Series("mask", column, dtype=pl.String))


def half_empty(table: pl.DataFrame, root: Path) -> list[str]:
    """A note on the films of `with_masks` in whose mask a lung is missing; empty where there are none."""
    found = []
    for name, mask in table.select("image_id", "mask").rows():
        with Image.open(root / mask) as image:
            values = {value for _, value in image.getcolors() or ()}
        found += [f"{name} ({side})" for side, v in (("right", RIGHT), ("left", LEFT)) if v not in values]
    return (
        [f"{len(found):,} masks of one lung are empty: {', '.join(found[:5])}{', ...' if found[5:] else ''}."]
        if found
        else []
    )


def join(right: Path, left: Path, out: Path, size: tuple[int, int]) -> None:
    """Write the PNG `out` of `size` (height, width): 0, `RIGHT` and `LEFT`, masks of another size by nearest neighbour.

    One that is there and newer than both stays as it is. DataError where one cannot be read or has other proportions than
    the film, or `out` cannot be written.
    """
    try:
        if out.is_file() and out.stat().st_mtime_ns >= max(p.stat().st_mtime_ns for p in (right, left)):
            return
        joined = np.where(_side(right, size), RIGHT, 0)
        joined[_side(left, size)] = LEFT
        out.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(joined.astype(np.uint8)).save(out)
    except OSError as fault:
        raise DataError(
            f"the joined mask cannot be written: {fault.strerror or fault}",
            path=out,
            mend="Name a folder that can be written to: joined=FOLDER.",
        ) from fault


def _side(path: Path, size: tuple[int, int]) -> NDArray[np.bool_]:
    try:
        with Image.open(path) as image:
            drawn = np.asarray(image.convert("L")) > 0
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as fault:
        raise DataError(f"not a readable mask: {fault}", path=path) from fault
    high, wide = drawn.shape[0] / size[0], drawn.shape[1] / size[1]
    if abs(high - wide) > PROPORTION * max(high, wide):
        raise DataError(
            f"the mask has {drawn.shape[1]} x {drawn.shape[0]} pixels, its film {size[1]} x {size[0]}: other proportions",
            path=path,
            mend="Fetch film and mask again: one of them was cut or squashed.",
        )
    rows = (np.arange(size[0]) * 2 + 1) * drawn.shape[0] // (2 * size[0])
    columns = (np.arange(size[1]) * 2 + 1) * drawn.shape[1] // (2 * size[1])
    return np.asarray(drawn[rows][:, columns], bool)
