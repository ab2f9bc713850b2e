"""What films are called in tables: by their file, and by their folders too where several files share a name."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from hilum.datasets import disk
from hilum.errors import one_line


def own_name(film: Path) -> str:
    """The file's name without the ending of an image; a name of numbers and dots has none."""
    ending = film.suffix.lower() in disk.IMAGE_SUFFIXES
    return one_line(film.stem if ending else film.name).strip()


def names_of(films: Sequence[Path]) -> list[str]:
    """A name for each of these films, which are different files: `own_name` where no other film has that.

    Films that share it are `folder/name`, with as many folders as tell them apart, and with their ending where two lie in
    one folder. A manifest of folders (`datasets.sources`) names its films alike. The order of the films decides nothing.
    """
    sharing: dict[str, list[int]] = {}
    for i, film in enumerate(films):
        sharing.setdefault(own_name(film), []).append(i)
    names = [own_name(film) for film in films]
    for same in sharing.values():
        if same[1:]:
            for i, name in zip(same, _told_apart([films[i] for i in same]), strict=True):
                names[i] = name
    whole = [one_line(Path(os.path.abspath(film)).as_posix()) for film in films]
    # A film `a.png.dcm` may have the very name that `a.png` got beside `a.dcm`.
    return [name if names.count(name) == 1 else whole[i] for i, name in enumerate(names)]


def _told_apart(films: Sequence[Path]) -> list[str]:
    parts = [[one_line(part) for part in Path(os.path.abspath(film)).parts[1:]] for film in films]
    longest = max(map(len, parts))
    without = [[*each[:-1], own_name(film)] for each, film in zip(parts, films, strict=True)]
    for each in (without, parts):
        for folders in range(2, longest + 1):
            names = ["/".join(words[-folders:]) for words in each]
            if len(set(names)) == len(names):
                return names
    return ["/" + "/".join(words) for words in parts]
