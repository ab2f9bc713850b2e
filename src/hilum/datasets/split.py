"""Splits by patient: held out, k-fold or official; none can put a patient on two sides, but for `leaky_holdout`,
which is there to show what that does.

Parts are balanced over the label matrix by iterative stratification (`stratify`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from hilum.datasets.manifest import Manifest
from hilum.datasets.stratify import stratify
from hilum.errors import SplitError

WithoutPatient = Literal["refuse", "own"]


@dataclass(frozen=True, eq=False)
class Split(Mapping[str, str]):
    """Which film is in which part: a mapping of image id to `train`, `validation` or `test`.

    `choices` records how it came about (method, fractions, seed, what was done with films of unknown
    patient).
    """

    parts: Mapping[str, str]
    choices: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "parts", MappingProxyType(dict(self.parts)))
        object.__setattr__(self, "choices", MappingProxyType(dict(self.choices)))

    def __getitem__(self, image_id: str) -> str:
        return self.parts[image_id]

    def __iter__(self) -> Iterator[str]:
        return iter(self.parts)

    def __len__(self) -> int:
        return len(self.parts)

    def __reduce__(self) -> tuple[Any, ...]:
        return Split, (dict(self.parts), dict(self.choices))

    @cached_property
    def digest(self) -> str:
        """SHA-256 of who is where; the same for the same assignment, however it was made."""
        lines = "\n".join(f"{image_id}\t{part}" for image_id, part in sorted(self.parts.items()))
        return hashlib.sha256(lines.encode()).hexdigest()

    @property
    def counts(self) -> dict[str, int]:
        """Films a part."""
        names, counts = np.unique(list(self.parts.values()), return_counts=True)
        return dict(zip(names.tolist(), counts.tolist(), strict=True))

    def assert_disjoint(self, manifest: Manifest) -> None:
        """SplitError that names patients with films in two parts, or films whose patient is unknown."""
        own = self.choices.get("without_patient") == "own"
        sides: dict[str, set[str]] = {}
        for image_id, patient in zip(
            manifest.image_ids, _patients(manifest, "own" if own else "refuse"), strict=True
        ):
            if image_id in self.parts:
                sides.setdefault(patient, set()).add(self.parts[image_id])
        both = sorted(patient for patient, parts in sides.items() if len(parts) > 1)
        if both:
            shown = ", ".join(f"{p} ({' and '.join(sorted(sides[p]))})" for p in both[:5])
            more = f" and {len(both) - 5} more" if len(both) > 5 else ""
            raise SplitError(
                f"{len(both)} patients are on two sides: {shown}{more}", mend="Split by patient."
            )


def official(manifest: Manifest, without_patient: WithoutPatient = "refuse") -> Split:
    """The split that the dataset's publishers give, checked for patients on two sides."""
    given = manifest.filter(pl.col("split").is_not_null())
    if not len(given):
        raise SplitError("this manifest has no official split", mend="Use holdout or kfold.")
    choices = {"method": "official", "without_patient": without_patient}
    split = Split(dict(zip(given.image_ids, given.table["split"], strict=True)), choices)
    split.assert_disjoint(given)
    return split


def holdout(
    manifest: Manifest,
    fractions: Mapping[str, float],
    seed: int,
    *,
    part: str | None = None,
    by: Sequence[str] = ("view",),
    without_patient: WithoutPatient = "refuse",
) -> Split:
    """Parts of about the given shares of films, balanced over labels, class and the columns `by`, whole
    patients each.

    `fractions`: part to share, summing to 1. `part`: divide only this part of the manifest's own split, and
    leave
    the others as they are: `holdout(m, {"train": 0.9, "validation": 0.1}, 1, part="train")` takes validation
    patients out of the official training set. `without_patient`: films of unknown patient are refused
    (SplitError), or each taken as a patient of its own, which is recorded.
    """
    if not fractions or min(fractions.values()) <= 0 or abs(sum(fractions.values()) - 1) > 1e-6:
        raise SplitError(f"fractions must be positive and sum to 1, got {dict(fractions)}")
    inside, kept = _divide(manifest, part)
    names = list(fractions)
    side = _stratified(inside, np.array([fractions[n] for n in names]), seed, by, without_patient)
    parts = kept | {i: names[s] for i, s in zip(inside.image_ids, side, strict=True)}
    choices = {
        "method": "holdout",
        "fractions": dict(fractions),
        "seed": seed,
        "part": part,
        "by": list(by),
        "without_patient": without_patient,
    }
    split = Split(parts, choices)
    split.assert_disjoint(manifest)
    return split


def kfold(
    manifest: Manifest,
    k: int,
    seed: int,
    *,
    part: str | None = None,
    by: Sequence[str] = ("view",),
    without_patient: WithoutPatient = "refuse",
) -> tuple[Split, ...]:
    """k splits into train and validation: each film is in validation once. Else as `holdout`."""
    if k < 2:
        raise SplitError(f"k must be at least 2, got {k}")
    inside, kept = _divide(manifest, part)
    side = _stratified(inside, np.full(k, 1 / k), seed, by, without_patient)
    splits = []
    for fold in range(k):
        parts = kept | {
            i: "validation" if s == fold else "train" for i, s in zip(inside.image_ids, side, strict=True)
        }
        choices = {
            "method": "kfold",
            "k": k,
            "fold": fold,
            "seed": seed,
            "part": part,
            "by": list(by),
            "without_patient": without_patient,
        }
        split = Split(parts, choices)
        split.assert_disjoint(manifest)
        splits.append(split)
    return tuple(splits)


def fold(
    manifest: Manifest,
    k: int,
    number: int,
    validation: float,
    seed: int,
    *,
    by: Sequence[str] = ("view",),
    without_patient: WithoutPatient = "refuse",
) -> Split:
    """Fold `number` of `kfold` as a run uses it: its part held out is `test`, and the share `validation` of the
    other films is taken by patient to choose the epoch.
    """
    outer = kfold(manifest, k, seed, by=by, without_patient=without_patient)[number]
    held_out = {i: "test" if part == "validation" else "train" for i, part in outer.items()}
    inner = holdout(
        manifest.with_split(held_out),
        {"train": 1 - validation, "validation": validation},
        seed,
        part="train",
        by=by,
        without_patient=without_patient,
    )
    return Split(inner.parts, {**outer.choices, "validation": validation})


def leaky_holdout(
    manifest: Manifest, fractions: Mapping[str, float], seed: int, *, by: Sequence[str] = ("view",)
) -> Split:
    """`holdout` by film, which puts films of one patient on two sides: to show what leakage does to figures.

    Not checked against overlap, which it has; whoever uses it must say so.
    """
    alone = manifest.table.with_columns(patient=pl.format("film:{}", "image_id"))
    parts = holdout(Manifest(alone), fractions, seed, by=by)
    return Split(parts.parts, {**parts.choices, "method": "leaky_holdout"})


def patients_on_two_sides(manifest: Manifest, split: Split) -> int:
    """How many patients have films in two parts."""
    known = manifest.with_split(split).table.filter(
        pl.col("patient").is_not_null(), pl.col("split").is_not_null()
    )
    sides = known.group_by("patient").agg(pl.col("split").n_unique())
    return int((sides["split"] > 1).sum())


def _stratified(
    manifest: Manifest,
    shares: NDArray[np.float64],
    seed: int,
    by: Sequence[str],
    without_patient: WithoutPatient,
) -> NDArray[np.int64]:
    """Side of each film."""
    patients, group = np.unique(_patients(manifest, without_patient), return_inverse=True)
    if len(patients) < len(shares):
        raise SplitError(f"{len(patients)} patients cannot fill {len(shares)} parts")
    positives = _strata(manifest, by)
    counts = np.zeros((len(patients), positives.shape[1]))
    np.add.at(counts, group, positives)
    return stratify(counts, np.bincount(group).astype(np.float64), shares, seed)[group]


def _strata(manifest: Manifest, by: Sequence[str]) -> NDArray[np.float64]:
    """(films, strata) of 1 and 0: positive labels (unknown counts as neither), classes, and values of the
    columns `by`.
    """
    columns = [np.nan_to_num(manifest.labels()[1].astype(np.float64))]
    for name in ("class", *by):
        if name not in manifest.table.columns:
            if name in by:
                raise SplitError(f"cannot balance by '{name}': no such column")
            continue
        values = manifest.table[name]
        for value in values.drop_nulls().unique().sort():
            columns.append((values == value).fill_null(False).to_numpy().astype(np.float64)[:, None])
    return np.hstack(columns)


def _patients(manifest: Manifest, without_patient: WithoutPatient) -> list[str]:
    """A patient a film; the film itself where it has none and that was allowed."""
    column = manifest.table["patient"]
    unknown = column.is_null()
    if without_patient == "refuse" and unknown.any():
        first = manifest.table.filter(unknown)["image_id"][0]
        raise SplitError(
            f"{unknown.sum()} films have no patient, the first is '{first}'",
            mend="Find out whose they are, or say without_patient='own': each is then a patient of its own.",
        )
    return [p if p is not None else f"film:{i}" for p, i in zip(column, manifest.image_ids, strict=True)]


def _divide(manifest: Manifest, part: str | None) -> tuple[Manifest, dict[str, str]]:
    """The films to divide, and those that keep the part they have."""
    if part is None:
        return manifest, {}
    inside = manifest.filter(pl.col("split") == part)
    if not len(inside):
        raise SplitError(f"the manifest's own split has no part '{part}'", mend="See its column 'split'.")
    outside = manifest.filter((pl.col("split") != part) & pl.col("split").is_not_null())
    return inside, dict(zip(outside.image_ids, outside.table["split"], strict=True))
