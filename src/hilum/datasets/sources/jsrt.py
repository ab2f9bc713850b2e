"""JSRT films, half with a lung nodule, with the SCR masks of each lung; `convert` makes PNG files of its raw ones."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import polars as pl

from hilum.datasets import disk, joined_masks
from hilum.datasets.manifest import LABEL, Manifest
from hilum.datasets.registry import source
from hilum.errors import DataError

_NAME = re.compile(r"^JPC(?P<kind>[LN])N\d{3}$")
_PIXELS, _TOP = 2048, 4095
_SIDES = ("right lung", "left lung")
_MASKS = (".gif", ".png", ".bmp", ".tif")


@source(
    "jsrt",
    title="JSRT films with the SCR lung masks",
    what="247 frontal films with masks of each lung, 154 with a nodule; the two folds of the SCR study",
    licence="free for research, with registration (JSRT; Image Sciences Institute for the masks)",
    homepage="Japanese Society of Radiological Technology; Image Sciences Institute, Utrecht (SCR)",
    citation="Shiraishi et al., AJR 174, 2000; van Ginneken, Stegmann and Loog, Med Image Anal 10, 2006",
    layout="""
        films/JPCLN001.png ...          LN with a nodule, NN without; any folder will do
        fold1/masks/left lung/JPCLN001.gif, fold1/masks/right lung/...   as SCR is published, below any folder
        fold2/masks/left lung/JPCLN002.gif, fold2/masks/right lung/...
    """,
)
def load(root: Path, *, joined: str | None = None) -> Manifest:
    """Films that have a mask of both lungs; each film is a patient of its own. Films without are `missing`.

    JSRT publishes raw .IMG files, which nothing tells apart from other bytes: make PNG files of them once with
    `convert(root)`. The SCR masks (1024 x 1024, a file a lung) are joined into one PNG a film of the film's size
    (128 the patient's right lung, 255 the left), written to the folder `joined`; default `hilum_masks` in the
    dataset's. `fold` is fold1 or fold2 where the masks lie in folders of these names, else null.
    """
    root = disk.folder(root)
    out = joined_masks.folder(root, joined)
    films = {
        p.stem: p for p in disk.images(root, (".png",)) if _NAME.match(p.stem) and not _is_mask(p, root, out)
    }
    if not films:
        raise DataError("no film JPCLN001.png or the like", path=root, mend=_mend(root))
    masks = {(_side(p), p.stem): p for p in disk.images(root, _MASKS) if _side(p) and out not in p.parents}
    rows, missing = [], []
    for stem, film in sorted(films.items()):
        gone = [side for side in _SIDES if (side, stem) not in masks]
        if gone:
            missing.append((stem, f"{gone[0]}/{stem}.gif"))
            continue
        fold = next((p.name for p in masks["left lung", stem].parents if p.name in ("fold1", "fold2")), None)
        nodule = float(stem.startswith("JPCLN"))
        rows.append((stem, film.relative_to(root).as_posix(), f"jsrt:{stem}", fold, nodule))
    if not rows:
        raise DataError(
            "no film has a mask of both lungs", path=root, mend="Lay SCR's fold1/ and fold2/ here."
        )
    table = disk.texts(rows, "image_id", "path", "patient", "fold", LABEL + "Nodule")
    table = disk.measured(table, root)
    right, left = ({stem: p for (s, stem), p in masks.items() if s == side} for side in _SIDES)
    table = joined_masks.with_masks(table, root, out, right, left)
    table = table.with_columns(view=pl.lit("PA"), source=pl.lit("jsrt"))
    notes = (
        "The masks leave out the lung behind the heart, unlike the V7 masks.",
        *joined_masks.half_empty(table, root),
    )
    return Manifest(table, root=root, missing=disk.texts(missing, "image_id", "path"), notes=notes)


def convert(root: str | Path, out: str | Path | None = None) -> list[Path]:
    """Write a 16-bit PNG, bone white, to `out` (default `films` in `root`) for each raw JPC*.IMG below `root`.

    A raw file is 2048 x 2048 big-endian 16-bit values of 12 bits, more where the film is blacker, without a header
    (Shiraishi 2000). DataError names a file of another length or with values beyond 12 bits. A PNG that is there stays.
    """
    from PIL import Image

    root = disk.folder(Path(root))
    folder = Path(out) if out is not None else root / "films"
    raw = [p for p in disk.images(root, (".img",)) if _NAME.match(p.stem)]
    if not raw:
        raise DataError("no file JPCLN001.IMG or the like", path=root)
    folder.mkdir(parents=True, exist_ok=True)
    written = [folder / f"{path.stem}.png" for path in raw]
    for path, target in zip(raw, written, strict=True):
        if target.is_file():
            continue
        if path.stat().st_size != 2 * _PIXELS**2:
            raise DataError(f"not {_PIXELS} x {_PIXELS} values of 16 bits", path=path)
        values = np.fromfile(path, ">u2").reshape(_PIXELS, _PIXELS)
        if values.max() > _TOP:
            raise DataError(f"a value of {values.max()} is beyond 12 bits", path=path)
        # All 16 bits are filled, as readers take a 16-bit PNG to do.
        bright = np.rint((_TOP - values.astype(np.float64)) * (65535 / _TOP)).astype(np.uint16)
        Image.fromarray(bright).save(target)
    return written


def _side(path: Path) -> str | None:
    """`left lung` or `right lung` where the file lies in a folder of that name, however it is spelled."""
    name = path.parent.name.lower().replace("_", " ")
    return name if name in _SIDES else None


def _is_mask(path: Path, root: Path, out: Path) -> bool:
    """SCR draws hearts and clavicles too, in folders below `masks`."""
    return _side(path) is not None or out in path.parents or "masks" in path.relative_to(root).parts


def _mend(root: Path) -> str:
    if any(_NAME.match(p.stem) for p in disk.images(root, (".img",))):
        return f'Its films are raw: python -c "from hilum.datasets.sources import jsrt; jsrt.convert({str(root)!r})"'
    return "Give the folder that holds the films as PNG."
