"""Any set of films with a text file of boxes beside each, as YOLO trains on."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from hilum.datasets import box_rows, disk
from hilum.datasets.manifest import Manifest
from hilum.datasets.registry import source
from hilum.errors import DataError

_PARTS = {
    "train": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
}
_ROUNDING = 1e-3  # of a side: corners were written with a few decimals
_SCHEMA = {
    "row": pl.Int64,
    "image_id": pl.String,
    "finding": pl.String,
    "x": pl.Float64,
    "y": pl.Float64,
    "w": pl.Float64,
    "h": pl.Float64,
}


@source(
    "yolo_boxes",
    title="YOLO text files",
    what="your own films: a .txt a film with a line a box, as shares of the film's sides",
    licence="your own",
    homepage="none",
    citation="none",
    layout="""
        data.yaml                   names: [Mass, Effusion]; or classes.txt with a name a line
        images/train/a.png          images and labels in two trees, with train, val and test where there is a split
        labels/train/a.txt          class x-centre y-centre width height, each a share; or a.txt beside a.png
    """,
)
def load(root: Path, *, names: str | None = None) -> Manifest:
    """Films below the folder; a label is 1 where a box of its class stands, else 0, and unknown without a text file.

    An empty text file says that nothing was found. Text files without a film are `missing`. Patients are unknown. A
    class is its finding where the vocabulary knows its name, else it keeps its own.

    `names`: the classes in order, separated by commas, where no file names them.
    """
    root = disk.folder(root)
    classes = _classes(root, names)
    films = []
    for path in disk.images(root):
        relative = path.relative_to(root)
        part = next((_PARTS[p.lower()] for p in relative.parts[:-1] if p.lower() in _PARTS), None)
        films.append((relative.with_suffix("").as_posix(), relative.as_posix(), part))
    if not films:
        raise DataError("no film", path=root, mend="Films lie in images/, text files in labels/.")
    table = disk.texts(films, "image_id", "path", "split")
    twice = table.filter(pl.col("image_id").is_duplicated())
    if twice.height:
        raise DataError("another file has this name with another ending", path=root / twice["path"][0])
    table = box_rows.measured(table.cast(pl.String), root)
    sizes = {i: (w, h) for i, w, h in table.select("image_id", "width", "height").iter_rows()}
    texts = {i: _text_of(root, i) for i in sizes}
    drawn = [pl.DataFrame(schema=box_rows.SCHEMA)]
    drawn += [_boxes(path, i, classes, *sizes[i]) for i, path in texts.items() if path is not None]
    boxes = pl.concat(drawn)
    labels = box_rows.labels(table["image_id"], boxes, classes)
    unread = [i for i, path in texts.items() if path is None]
    read = ~pl.col("image_id").is_in(unread)
    labels = labels.with_columns(pl.when(read).then(c) for c in labels.columns if c != "image_id")
    notes = ["Patients are unknown."]
    if unread:
        notes.append(
            f"{len(unread):,} films have no text file, the first is {unread[0]}: labels are unknown."
        )
    table = table.join(labels, on="image_id", maintain_order="left")
    table = table.with_columns(source=pl.lit(root.name))
    return Manifest(table, boxes, root, _without_film(root, set(texts.values())), tuple(notes))


def _classes(root: Path, names: str | None) -> list[str]:
    if names is not None:
        found = [name.strip() for name in names.split(",")]
    elif path := disk.find_file(root, "data.yaml", "*.yaml", "*.yml"):
        found = _yaml_names(path)
    elif path := disk.find_file(root, "classes.txt", "labels/classes.txt", "*.names"):
        found = disk.read_lines(path)
    else:
        mend = "Lay data.yaml or classes.txt here, or say names=Mass,Effusion."
        raise DataError("nothing names the classes", path=root, mend=mend)
    classes = [box_rows.known_name(name, "yolo_boxes") or name for name in found]
    if not all(classes) or len(set(classes)) != len(classes):
        raise DataError(f"the classes are not distinct names: {', '.join(classes)}", path=root)
    return classes


def _yaml_names(path: Path) -> list[str]:
    """`names` of a data.yaml: a list, or a mapping of numbers from 0."""
    import yaml

    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        names = content["names"]
        return [str(names[i]) for i in range(len(names))]
    except (OSError, yaml.YAMLError, KeyError, TypeError) as fault:
        raise DataError(f"it has no list 'names': {fault}", path=path) from fault


def _text_of(root: Path, image_id: str) -> Path | None:
    """The text file of a film: in `labels` where the film is in `images` (the last folder of that name), or beside it."""
    parts = list(Path(image_id).parts)
    at = max((i for i, part in enumerate(parts[:-1]) if part == "images"), default=None)
    tree = [] if at is None else [root.joinpath(*parts[:at], "labels", *parts[at + 1 :])]
    for stem in (*tree, root / image_id):
        path = stem.with_name(stem.name + ".txt")
        if path.is_file():
            return path
    return None


def _boxes(
    path: Path, image_id: str, classes: list[str], width: int | None, height: int | None
) -> pl.DataFrame:
    """The boxes of a file in pixels of its film; DataError names the line of a fault."""
    rows = []
    for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), 1):
        words = line.split()
        if not words:
            continue
        try:
            kind, (x, y, w, h) = int(words[0]), map(float, words[1:])
        except ValueError as fault:
            said = "a line is: class x-centre y-centre width height"
            raise DataError(f"row {number}: '{line}' is no box; {said}", path=path) from fault
        if not 0 <= kind < len(classes):
            mend = f"Classes are 0 to {len(classes) - 1}: {', '.join(classes)}."
            raise DataError(f"row {number}: unknown class {kind}", path=path, mend=mend)
        rows.append((number, image_id, classes[kind], x, y, w, h))
    if rows and width is None:
        raise DataError("the film's size cannot be read, so its boxes cannot be placed", path=path)
    shares = pl.DataFrame(rows, schema=_SCHEMA, orient="row")
    for side in ("x", "y", "w", "h"):
        told = f"{side} is no share between 0 and 1 of the film's side"
        box_rows.refuse(
            shares, ~pl.col(side).is_between(0, 1 + _ROUNDING) | pl.col(side).is_nan(), told, path
        )
    half_w, half_h = pl.col("w") / 2, pl.col("h") / 2
    corners = shares.with_columns(
        x1=pl.col("x") - half_w, x2=pl.col("x") + half_w, y1=pl.col("y") - half_h, y2=pl.col("y") + half_h
    ).with_columns(
        pl.when(pl.col(c).is_between(-_ROUNDING, 1 + _ROUNDING)).then(pl.col(c).clip(0, 1)).otherwise(c)
        for c in box_rows.CORNERS
    )
    pixels = corners.with_columns(
        pl.col("x1", "x2") * (width or 1),
        pl.col("y1", "y2") * (height or 1),
        width=pl.lit(width, pl.Int32),
        height=pl.lit(height, pl.Int32),
        reader=pl.lit(None, pl.String),
    )
    return box_rows.sound(pixels, path).select(*box_rows.SCHEMA)


def _without_film(root: Path, known: set[Path | None]) -> pl.DataFrame:
    """Text files in a folder `labels` that no film has."""
    stray = sorted(
        p
        for p in root.rglob("*.txt")
        if p not in known and "labels" in p.relative_to(root).parts[:-1] and p.name != "classes.txt"
    )
    rows = [(p.relative_to(root).with_suffix("").as_posix(), p.relative_to(root).as_posix()) for p in stray]
    return disk.texts(rows, "image_id", "path").cast(pl.String)
