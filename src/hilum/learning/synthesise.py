"""`hilum synthesise`: films of a generator as PNG files, with a manifest by which training takes them beside real ones."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import polars as pl

from hilum.bundles import Bundle, load
from hilum.bundles.card import MEMORISED
from hilum.bundles.generating import asked, drawn, films_for
from hilum.datasets.checks import SYNTHETIC
from hilum.datasets.manifest import LABEL, Manifest
from hilum.datasets.sources.synthetic import MANIFEST
from hilum.errors import BundleError
from hilum.images.grey_png import film_grid, grey_png
from hilum.learning.writing import named, whole
from hilum.progress import tracked

logger = logging.getLogger(__name__)

FILMS = "films"
COLUMNS, SHOWN = 8, 64


def synthesise(
    bundle: str | Path | Bundle,
    films: int,
    out: str | Path,
    labels: Sequence[str] = (),
    seed: int = 0,
    bits: Literal[8, 16] = 8,
) -> Path:
    """Write `films` films to `out/films`, a grid of the first to `out/samples.png`, and their manifest; return its path.

    `labels`: the findings of every film; without, each film's are drawn as training films had them together. Each film is a
    patient of its own, of source `synthetic` and part `train`, with 1 or 0 for every finding. The manifest is written last.
    BundleError where the bundle does not generate or has not learnt a finding.
    """
    loaded = bundle if isinstance(bundle, Bundle) else load(bundle)
    if films < 1:
        raise BundleError(f"{films} films are none", mend="Ask for 1 or more")
    _warn_unmeasured(loaded)
    info = loaded.info
    wanted: Any = asked(info, labels)[None].repeat(films, 0) if labels else drawn(info, films, seed)
    pictures = films_for(loaded, wanted, seed)
    folder = Path(out)
    manifest = folder / MANIFEST
    with named(folder):
        (folder / FILMS).mkdir(parents=True, exist_ok=True)
        manifest.unlink(missing_ok=True)
    ids = [f"{SYNTHETIC}-{info.name}-{seed}-{number:06d}" for number in range(films)]
    for image_id, film in zip(ids, tracked(pictures, "writing films", total=films), strict=True):
        with whole(folder / FILMS / f"{image_id}.png") as work:
            work.write_bytes(grey_png(film, bits))
    with whole(folder / "samples.png") as work:
        work.write_bytes(grey_png(film_grid(pictures[:SHOWN], COLUMNS)))
    height, width = pictures.shape[1:]
    table = pl.DataFrame(
        {
            "image_id": ids,
            "path": [f"{FILMS}/{image_id}.png" for image_id in ids],
            "patient": ids,
            "source": SYNTHETIC,
            "split": "train",
            "width": width,
            "height": height,
            **{LABEL + name: wanted[:, column] for column, name in enumerate(loaded.labels)},
        }
    )
    note = (
        f"Made by the bundle '{info.name}' {info.version} ({info.digest[:16]}), seed {seed}, which learnt from patients of"
        f" the split {info.provenance.split_digest[:16]}: what learns from these films has learnt from those patients too."
    )
    with named(manifest):
        Manifest(table, root=folder.absolute(), notes=(note,)).save(manifest)
    return manifest


def _warn_unmeasured(bundle: Bundle) -> None:
    facts = [fact for result in bundle.info.metrics.values() for fact in result.get("facts", {})]
    if not any(fact.startswith(MEMORISED) for fact in facts):
        logger.warning(
            "%s: how near its films come to its training films was not measured; do so before you pass any on:"
            " hilum evaluate --record",
            bundle.info.name,
        )
