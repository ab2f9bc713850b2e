"""A generator measured: its films beside held-out real ones, and beside the films that it learnt from."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from hilum.bundles import Bundle
from hilum.bundles.card import MEMORISED
from hilum.bundles.focus import window_of
from hilum.bundles.generating import as_pixels, films_for
from hilum.datasets.manifest import Manifest
from hilum.errors import HilumError, ManifestError, ReadError, named_fault
from hilum.evaluation.generation import Closeness, closeness
from hilum.evaluation.memorisation import Memorisation, memorisation
from hilum.images.grey_png import film_grid, grey_png
from hilum.images.read import read
from hilum.learning.film_features import Features, Films, of_bundle, of_inception, of_pixels
from hilum.learning.material import patient_keys, patients_in
from hilum.learning.writing import whole, write_whole
from hilum.progress import tracked

logger = logging.getLogger(__name__)

FEWEST = 16  # held-out films
COLUMNS, SHOWN, PAIRS = 8, 64, 24
PIXELS = "pixels"
UNMEASURED = (
    "How near they come to training films was not measured, for the manifest has no part `train` of films that the bundle"
    " learnt from; the run's own manifest.parquet has."
)


def read_prepared(bundle: Bundle, films: Manifest) -> tuple[Manifest, Films, list[str]]:
    """The readable films, as the generator's training saw them, (n, h, w) in [0, 1], and the faults of the others."""
    found, good, failures = [], [], []
    for image_id, path in zip(films.image_ids, tracked(films.paths(), "reading films"), strict=True):
        try:
            film = read(path)
            found.append(as_pixels(bundle.prepare(film, window_of(bundle, film)))[0])
            good.append(True)
        except HilumError as error:
            logger.warning("left out: %s", error)
            failures.append(named_fault(image_id, error))
            good.append(False)
    if not found:
        raise ReadError(f"none of the {len(films)} films could be read; the first: {failures[0]}")
    return films.filter(pl.Series(good)), np.stack(found), failures


def learnt_from(bundle: Bundle, manifest: Manifest) -> Manifest:
    """Films of the manifest's training part whose patients the bundle knows; there may be none."""
    train = manifest.filter(split="train")
    keys = patient_keys(train)
    known = set(bundle.trained_on(sorted(set(keys))))
    return train.filter(pl.Series([key in known for key in keys], dtype=pl.Boolean))


def measure_generator(
    bundle: Bundle,
    held_out: Manifest,
    real: Films,
    truth: NDArray[Any],
    manifest: Manifest,
    folder: Path,
    encoder: str | Path | Bundle = "findings",
    seed: int = 0,
) -> dict[str, Any]:
    """Make a film for the findings of each held-out one, write grids and `metrics.json`; return the card's section.

    `real` (n, h, w) and `truth` (n, labels): the held-out films and their labels. `manifest`: where films of the training
    part are found. `encoder`: the bundle whose features are used beside Inception's. ManifestError where films are too few.
    """
    if len(real) < FEWEST:
        raise ManifestError(
            f"{len(real)} held-out films are too few to measure by", mend=f"Give {FEWEST} or more"
        )
    made = films_for(bundle, np.asarray(truth) > 0.5, seed)
    known: dict[str, Features] = {}
    own = of_bundle(encoder)
    named = f"features of {encoder.info.name if isinstance(encoder, Bundle) else Path(encoder).name}"
    known[named] = own
    inception = of_inception()
    if inception is not None:
        known["features of Inception"] = inception
    learnt = learnt_from(bundle, manifest)
    trained = read_prepared(bundle, learnt)[1] if len(learnt) >= 2 else None
    patients = np.array(patient_keys(held_out))
    rows, memory = [], {}
    for name, give in known.items():
        a, b = give(made), give(real)
        rows.append(_row(name, "synthetic", closeness(a, b, patients, seed=seed)))
        if trained is not None:
            ruler = np.random.default_rng(seed).permutation(len(trained))[: len(made)]
            if name == named:
                all_of = give(trained)
                memory[name] = memorisation(a, all_of, b, patients, seed=seed)
                some = all_of[ruler]
            else:
                some = give(trained[ruler])
            rows.append(_row(name, "real, of training", closeness(some, b, patients, seed=seed)))
    if trained is not None:
        memory[PIXELS] = memorisation(
            of_pixels(made), of_pixels(trained), of_pixels(real), patients, seed=seed
        )
    _draw(folder, made, trained, memory.get(named))
    note = (
        f"{len(made)} synthetic films of {made.shape[1]} pixels beside {len(real)} held-out real films of"
        f" {patients_in(held_out)} patients, prepared alike, with the same findings (an unknown one as none); intervals are"
        f" 95 %, by patient. FID falls with the number of films: compare it with the row of real films, not with figures"
        " elsewhere."
    )
    note += "" if inception is not None else " Features of Inception are not installed."
    note += "" if trained is not None else f" {UNMEASURED}"
    result = {
        "note": note,
        "facts": {**_facts(rows), **_nearness(memory)},
        "tables": {"beside held-out films": rows, "nearness to training films": _distances(memory)},
    }
    write_whole(folder / "metrics.json", json.dumps(result, indent=1, allow_nan=False) + "\n")
    return result


def _row(name: str, films: str, found: Closeness) -> dict[str, Any]:
    figures = {"FID": found.fid, "KID": found.kid, "density": found.density, "coverage": found.coverage}
    return {"by": name, "films": films, "n": found.fid.n} | {k: v.as_dict() for k, v in figures.items()}


def _facts(rows: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        f"{figure}, {row['by']}": row[figure]
        for row in rows
        if row["films"] == "synthetic"
        for figure in ("FID", "KID", "density", "coverage")
    }


def _nearness(memory: Mapping[str, Memorisation]) -> dict[str, Any]:
    """Facts that the card's privacy section repeats."""
    return {
        f"{MEMORISED} than {p:g} % of held-out films are, by {name}": share.as_dict()
        for name, found in memory.items()
        for p, share in found.nearer.items()
    }


def _distances(memory: Mapping[str, Memorisation]) -> list[dict[str, Any]]:
    return [
        {
            "by": name,
            "films": films,
            "n": len(distance),
            "nearest": float(distance.min()),
            "median": float(np.median(distance)),
            "training films that are nearest to some": len(set(found.nearest.tolist()))
            if films == "synthetic"
            else None,
        }
        for name, found in memory.items()
        for films, distance in (("synthetic", found.distance), ("held-out", found.held_out))
    ]


def _draw(folder: Path, made: Films, trained: Films | None, found: Memorisation | None) -> None:
    """`samples.png`; and `neighbours.png`: the synthetic films nearest to training films, each left of its nearest one."""
    pictures = {"samples.png": made[:SHOWN]}
    if trained is not None and found is not None:
        nearest = np.argsort(found.distance, kind="stable")[:PAIRS]
        pairs = np.stack([made[nearest], trained[found.nearest[nearest]]], 1)
        pictures["neighbours.png"] = pairs.reshape(-1, *made.shape[1:])
    for name, films in pictures.items():
        with whole(folder / name) as work:
            work.write_bytes(grey_png(film_grid(films, COLUMNS)))
