"""The films that a list of paths means: files as they are named, folders searched whole, and what cannot be reached told."""

from __future__ import annotations

import json
import logging
import os
import re
import stat
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hilum.analysis.workers import Failed
from hilum.errors import one_line

logger = logging.getLogger(__name__)

# Files that lie beside films in a folder and are none. A file that is named on the command line is always tried.
SIDE_FILES = frozenset(
    f".{kind}"
    for kinds in (
        "txt csv tsv json jsonl xml yaml yml toml parquet xlsx md rst log pdf docx",
        "html htm css js py ipynb sha256 md5",
        "npy npz pt pth safetensors hilum onnx zip gz tgz tar 7z",
    )
    for kind in kinds.split()
)
CLASSES = "classes.png"
"""The figure of classes, predicted and true, that stands beside an index."""
SIDE_NAMES = frozenset({"dicomdir", "readme", "license", "thumbs.db", "desktop.ini", "makefile"})


@dataclass(frozen=True)
class _Missed:
    """A path that leads to no film, and why."""

    path: Path
    why: Failed


Found = Path | _Missed


def expand(paths: Iterable[str | Path], out: Path) -> tuple[list[Path], list[dict[str, Any]]]:
    """Films to try, each once, in the order given and sorted within a folder; a failure for each path that leads to none.

    In a folder every regular file is a film but hidden ones, known side files, what lies in `out`, and the pictures that
    the `index.json` of an earlier call lists, and its DICOM results. Folders that cannot be opened, links that lead
    nowhere, and links to other folders (which are not followed) are failures too: no film is passed over without a
    word.
    """
    films: dict[str, Path] = {}
    failures = []
    for path in map(Path, paths):
        found = list(_under(path, out))
        if not found:
            mend = "Give a folder with DICOM, PNG, JPEG or TIFF"
            found = [_Missed(path, Failed("the folder holds no films", mend))]
        for item in found:
            if isinstance(item, _Missed):
                failures.append(failure_of(item.path, item.why))
            else:
                films.setdefault(os.path.abspath(item), item)
    return list(films.values()), failures


def failure_of(path: Path, failed: Failed) -> dict[str, Any]:
    """A failure as the index lists it."""
    return {"file": one_line(str(path)), "fault": failed.fault, "mend": failed.mend}


def is_folder(path: str | Path, folder: Path) -> bool:
    """Whether the path is this very folder, however it is written."""
    return os.path.isdir(path) and os.path.realpath(path) == os.path.realpath(folder)


def _under(path: Path, out: Path) -> Iterator[Found]:
    kind = _kind(path)
    if isinstance(kind, _Missed):
        yield kind
    elif stat.S_ISDIR(kind):
        yield from _in_folder(path, out)
    elif stat.S_ISREG(kind):
        yield path
    else:
        yield _Missed(path, Failed("this is no regular file", "Give a file or a folder"))


def _kind(path: Path) -> int | _Missed:
    """The mode of what the path leads to."""
    try:
        return path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        if path.is_symlink():
            return _Missed(path, Failed("this link leads nowhere", "Mend the link, or remove it"))
        return _Missed(path, Failed("there is no such file", "Check the path"))
    except (OSError, ValueError) as error:
        return _cannot_open(path, error)


def _cannot_open(path: Path, error: OSError | ValueError) -> _Missed:
    reason = getattr(error, "strerror", None) or str(error)
    return _Missed(path, Failed(f"it cannot be opened ({reason})", "Check the path and its rights"))


def _in_folder(folder: Path, out: Path) -> Iterator[Found]:
    whole, barred = os.path.realpath(folder), os.path.realpath(out)
    closed: list[OSError] = []
    for place, folders, names in os.walk(folder, onerror=closed.append):
        here = Path(place)
        seen = sorted(f for f in folders if not f.startswith(".") and os.path.realpath(here / f) != barred)
        folders[:] = [f for f in seen if not os.path.islink(here / f)]
        written = _results_of_a_call(here, names)
        for name in sorted(names):
            if name.startswith(".") or _is_side_file(name) or name in written:
                continue
            kind = _kind(here / name)
            if isinstance(kind, _Missed):
                yield kind
            elif stat.S_ISREG(kind):
                yield here / name
        for name in seen:
            target = os.path.realpath(here / name)
            if name not in folders and not Path(target).is_relative_to(whole):
                fault = "this is a link to another folder, which is not followed"
                yield _Missed(here / name, Failed(fault, f"Give the folder itself: {one_line(target)}"))
    yield from (_cannot_open(Path(error.filename), error) for error in closed)


def _is_side_file(name: str) -> bool:
    lower = name.lower()
    return lower in SIDE_NAMES or Path(lower).suffix in SIDE_FILES


_PICTURE = re.compile(r"(.+?)(\.lungs|\.lung-left|\.lung-right|\.heatmap-[^.]+.*)?\.png", re.DOTALL)


def _results_of_a_call(folder: Path, names: Sequence[str]) -> set[str]:
    """Of the names in a folder those of pictures and DICOM results that an earlier call wrote there, by its `index.json`."""
    if "index.json" not in names:
        return set()
    try:
        index = json.loads((folder / "index.json").read_bytes())
        reports = index["reports"]
        overlays = {entry["png"] for entry in reports if isinstance(entry["png"], str)}
        others = {entry["beside"] for entry in reports if isinstance(entry.get("beside"), str)}
        results = {str(name) for entry in reports for name in dict(entry.get("dicom") or {}).values()}
    except (OSError, ValueError, KeyError, TypeError):  # another program's index
        return set()
    parts = ((name, _PICTURE.fullmatch(name)) for name in names)
    found = {name for name, part in parts if part is not None and f"{part[1]}.png" in overlays}
    found |= (overlays | others | results | ({CLASSES} if others else set())) & set(names)
    if found:
        logger.info("%s: %d results of an earlier call are no films", one_line(str(folder)), len(found))
    return found
