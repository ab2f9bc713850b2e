"""Shares of the patients, drawn by a hash of each, so that a smaller share lies within a greater one."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256

import polars as pl

from hilum.datasets.manifest import Manifest
from hilum.errors import RecipeError


def sampled(manifest: Manifest, patients: Sequence[str], fraction: float) -> Manifest:
    """The films of a share of the patients, the same ones whatever else the manifest holds."""
    if fraction == 1:
        return manifest
    kept = manifest.filter(_drawn(patients, fraction))
    if not len(kept):
        raise RecipeError(
            f"data.fraction: {fraction:g} of the patients are none", mend="Give a greater share"
        )
    return kept


def with_labels(manifest: Manifest, patients: Sequence[str], share: float, seed: int) -> Manifest:
    """Films of training and validation (column `split`), of training those alone of a share of its patients.

    Another salt than `sampled` has, so that the one share says nothing of the other; RecipeError where none is left.
    """
    if share == 1:
        return manifest
    drawn = _drawn(patients, share, salt=f"labelled:{seed}:")
    kept = manifest.filter(drawn | (manifest.table["split"] != "train"))
    if not len(kept.filter(split="train")):
        raise RecipeError(
            f"data.labelled: {share:g} of the training patients are none", mend="Give a greater share"
        )
    return kept


def _drawn(patients: Sequence[str], share: float, salt: str = "") -> pl.Series:
    """Whether a film's patient is among the share, by a hash of the patient."""
    digests = [sha256((salt + key).encode()).digest() for key in patients]
    return pl.Series(
        [int.from_bytes(digest[:8], "big") / 2**64 < share for digest in digests], dtype=pl.Boolean
    )
