"""Films that stand twice where they must not: across parts of the split, across patients, or beside films trained on."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hilum.analysis.examine import embed
from hilum.audit.films import drawn
from hilum.bundles import Bundle
from hilum.datasets import duplicates
from hilum.datasets.manifest import Manifest
from hilum.learning.material import patient_keys

ALIKE = 0.9
"""Cosine of two embeddings less their mean: from here on a pair is held side by side."""
MOST_PAIRS = 2000
"""Pairs held side by side, the most alike first."""
CHUNK = 1024
NAMED = 20
"""Groups that a report names."""


@dataclass(frozen=True)
class Twins:
    """What was found; counts are of groups of films that show one picture.

    Attributes
    ----------
    films: compared by hash. groups: of one picture. examined: groups that hold an examined film.
    across_split, across_patients, across_labels: of those, with films of two parts, two patients, two truths.
    with_training: of those, with a film of a patient that the bundle was trained or chosen on.
    named: the first groups that cross something, with what they cross.
    compared: films whose embeddings were compared. alike: pairs at `ALIKE` or above. confirmed: of them those of one
        picture, as it is or mirrored; new: of those the ones that the hash did not find. unreadable: films not compared.
    """

    films: int
    groups: int
    examined: int
    across_split: int
    across_patients: int
    across_labels: int
    with_training: int
    named: tuple[dict[str, Any], ...]
    compared: int
    alike: int
    confirmed: int
    new: tuple[dict[str, Any], ...]
    unreadable: int

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {**vars(self), "named": list(self.named), "new": list(self.new)}


def twins(
    bundle: Bundle, manifest: Manifest, films: Manifest, embedding: NDArray[np.float32], seed: int = 0
) -> Twins:
    """Films of `manifest` that stand twice, as far as the examined `films` (embedding (n, features)) are touched.

    All films are compared by perceptual hash. Embeddings are compared among the examined films and as many others of the
    manifest, and pairs that are alike are held side by side as duplicates are, also mirrored: this finds what a hash misses.
    """
    seen = duplicates.prints(manifest)
    found = duplicates.compare(seen)
    examined = set(films.image_ids)
    touched = [group for group in found.groups if examined & set(group)]
    facts = _facts(bundle, manifest)
    crossings = [_crossed([facts[i] for i in group]) for group in touched]
    named = [
        {"films": list(group[:4]), "of": len(group), "crosses": sorted(crosses)}
        for group, crosses in zip(touched, crossings, strict=True)
        if crosses
    ]
    others = manifest.filter(~manifest.table["image_id"].is_in(films.image_ids))
    more, theirs = embed(bundle, drawn(others, len(films), seed)) if len(others) else (others, embedding[:0])
    together = np.concatenate([embedding, theirs]) if len(more) else embedding
    ids = [*films.image_ids, *more.image_ids]
    alike, same = _look_alikes(together, ids, len(films), seen)
    linked = {frozenset(pair) for group in touched for pair in combinations(group, 2)}
    new = [
        {"films": [a, b], "crosses": sorted(_crossed([facts[a], facts[b]]))}
        for a, b in same
        if frozenset((a, b)) not in linked
    ]
    return Twins(
        films=found.films,
        groups=len(found.groups),
        examined=len(touched),
        across_split=sum("split" in crosses for crosses in crossings),
        across_patients=sum("patient" in crosses for crosses in crossings),
        across_labels=sum("labels" in crosses for crosses in crossings),
        with_training=sum("training" in crosses for crosses in crossings),
        named=tuple(named[:NAMED]),
        compared=len(ids),
        alike=alike,
        confirmed=len(same),
        new=tuple(new[:NAMED]),
        unreadable=found.failures.height,
    )


def _facts(bundle: Bundle, manifest: Manifest) -> dict[str, dict[str, Any]]:
    """Of each film the part, the patient, the bundle's labels, and whether the bundle learnt from its patient."""
    keys = patient_keys(manifest)
    trained = set(bundle.trained_on(sorted(set(keys))))
    columns = [c for c in manifest.table.columns if c == "class" or c.removeprefix("label:") in bundle.labels]
    truths = manifest.table.select(columns).rows() if columns else [()] * len(manifest)
    return {
        image_id: {"split": part, "patient": key, "labels": truth, "training": key in trained}
        for image_id, part, key, truth in zip(
            manifest.image_ids, manifest.table["split"], keys, truths, strict=True
        )
    }


def _crossed(films: list[dict[str, Any]]) -> set[str]:
    """What films of one picture differ in."""
    crosses = {
        name for name in ("split", "patient") if len({f[name] for f in films if f[name] is not None}) > 1
    }
    for one, other in combinations(films, 2):
        known = [(a, b) for a, b in zip(one["labels"], other["labels"], strict=True) if None not in (a, b)]
        if any(a != b for a, b in known):
            crosses.add("labels")
    if any(f["training"] for f in films):
        crosses.add("training")
    return crosses


def _look_alikes(
    embedding: NDArray[np.float32], ids: list[str], examined: int, seen: duplicates.Prints
) -> tuple[int, list[tuple[str, str]]]:
    """How many pairs with an examined film are alike, and those whose detail agrees, as they are or mirrored."""
    centred = embedding.astype(np.float64) - embedding.mean(0)
    unit = centred / np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), 1e-12)
    pairs, cosines = [], []
    for start in range(0, examined, CHUNK):
        block = unit[start : min(start + CHUNK, examined)] @ unit.T
        rows, columns = np.nonzero(block >= ALIKE)
        keep = columns > rows + start
        pairs.append(np.stack([rows[keep] + start, columns[keep]], 1))
        cosines.append(block[rows[keep], columns[keep]])
    found = np.concatenate(pairs)
    order = np.argsort(-np.concatenate(cosines), kind="stable")[:MOST_PAIRS]
    row = {image_id: at for at, image_id in enumerate(seen.image_ids)}
    held = np.array(
        [(row[ids[i]], row[ids[j]]) for i, j in found[order] if ids[i] in row and ids[j] in row], np.int64
    )
    if not len(held):
        return len(found), []
    count = len(seen.thumbnails)
    both = np.concatenate([seen.thumbnails, seen.thumbnails[:, :, ::-1]])
    plain = duplicates.agreement(both, held)
    mirrored = duplicates.agreement(both, held + np.array([0, count]))
    same = np.maximum(plain, mirrored) >= duplicates.CORRELATION
    return len(found), [(seen.image_ids[i], seen.image_ids[j]) for i, j in held[same]]
