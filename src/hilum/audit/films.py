"""Which films an audit looks at, and what is known of each that a model could take for a finding."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from hashlib import sha256

import numpy as np
import polars as pl

from hilum.bundles import Bundle
from hilum.datasets.manifest import Manifest
from hilum.errors import ManifestError
from hilum.evaluation.subgroups import UNKNOWN, age_bands
from hilum.learning.evaluate import labelled, strangers
from hilum.learning.material import patient_keys, where

logger = logging.getLogger(__name__)

ATTRIBUTES = ("source", "collection", "view", "sex", "age")
"""What a model should not need to know: where a film comes from, how it was taken, of whom. Age is in bands."""


@dataclass(frozen=True, eq=False)
class Asked:
    """What was asked for: `films` to examine, out of all of `manifest`, and the choice in words."""

    films: Manifest
    manifest: Manifest
    choice: str


def chosen(
    bundle: Bundle,
    manifest: Manifest,
    split: str | None = None,
    where_sql: str | None = None,
    limit: int | None = None,
    seed: int = 0,
) -> Asked:
    """The films of `manifest` to examine.

    Films of patients that the bundle was trained or chosen on are refused (SplitError), as `hilum evaluate` does; films
    without a label that the bundle gives are left out. `limit`: at most so many films, of patients drawn by a hash of
    their name and the seed: the same patients whatever else the manifest holds.
    """
    films = manifest if split is None else manifest.filter(split=split)
    films = where(films, where_sql, "where")
    if not len(films):
        raise ManifestError("no film is left to audit on", mend="Change --split or --where")
    films = labelled(bundle, strangers(bundle, films))
    films = drawn(films, limit, seed)
    said = [f"part: {split}"] if split else ["all parts"]
    said += [f"where: {where_sql}"] if where_sql else []
    said += [f"at most {limit} films, patients drawn with seed {seed}"] if limit else []
    return Asked(films, manifest, "; ".join(said))


def drawn(films: Manifest, limit: int | None, seed: int) -> Manifest:
    """At most `limit` films: whole patients in the order of their hash, the last of them in part."""
    if limit is None or len(films) <= limit:
        return films
    keys, ids = patient_keys(films), films.image_ids
    hashes = [sha256(f"{seed}:{key}".encode()).digest() for key in keys]
    order = sorted(range(len(films)), key=lambda row: (hashes[row], ids[row]))
    kept = np.zeros(len(films), bool)
    kept[order[:limit]] = True
    return films.filter(pl.Series(kept))


def attributes(films: Manifest) -> tuple[dict[str, list[str | None]], dict[str, str]]:
    """Each of `ATTRIBUTES` that tells films apart, a value or None a film; and of the others why they cannot be asked of."""
    table = films.table
    found: dict[str, list[str | None]] = {}
    for name in ATTRIBUTES:
        if name == "age":
            bands = age_bands(table["age"].cast(pl.Float64).to_numpy()).tolist()
            found[name] = [None if band == UNKNOWN else band for band in bands]
        elif name in table.columns:
            found[name] = [None if value in (None, "") else str(value) for value in table[name]]
    usable, why = {}, {}
    for name, values in found.items():
        known = sorted({value for value in values if value is not None})
        if len(known) > 1:
            usable[name] = values
        elif known:
            why[name] = f"all films that say are '{known[0]}': nothing to compare"
        else:
            why[name] = "no film says"
    return usable, why
