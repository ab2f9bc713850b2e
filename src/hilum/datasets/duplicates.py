"""Films that stand twice: the same bytes, or one picture at another size, brightness or format.

Two steps. A 64-bit hash of a film's coarse structure, robust to size, brightness and format, proposes pairs: the signs
of low frequencies of the discrete cosine transform, after Zauner (Implementation and Benchmarking of Perceptual Image
Hash Functions, 2010, section 3.2.1). Chest films resemble each other, so each proposed pair is then held side by
side at 64 x 64 pixels and kept where what is finer than a sixteenth of the film agrees.

Not found: films that were cropped, turned or mirrored.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from hilum.datasets.manifest import Manifest
from hilum.errors import HilumError
from hilum.images.preparation import Percentile, Preparation
from hilum.progress import tracked

SIDE = 64
DISTANCE, CORRELATION = 11, 0.85
"""Bits of 64 that may differ, and how much of the detail must agree. See docs/data.md for where they come from."""

_PREPARATION = Preparation(size=(SIDE, SIDE), normalise=Percentile(low=1, high=99))
_BANDS, _BAND_BITS = 4, 16
_CHECKED_AT_ONCE = 4096  # pairs: 128 MiB of float32
_PAIRS = {
    "a": pl.String,
    "b": pl.String,
    "exact": pl.Boolean,
    "distance": pl.Int32,
    "correlation": pl.Float64,
}


@dataclass(frozen=True, eq=False)
class Prints:
    """What is kept of each film to compare it with all others.

    Attributes
    ----------
    image_ids: n films that could be read. digests: SHA-256 of each film's file.
    hashes: (n,) uint64. thumbnails: (n, `SIDE`, `SIDE`) uint8, squashed, percentiles 1 and 99 as 0 and 255.
    failures: `image_id`, `path`, `fault` of films that could not be read or show nothing.
    """

    image_ids: tuple[str, ...]
    digests: tuple[str, ...]
    hashes: NDArray[np.uint64]
    thumbnails: NDArray[np.uint8]
    failures: pl.DataFrame


@dataclass(frozen=True, eq=False)
class Duplicates:
    """Pairs and groups of films that show the same picture.

    Attributes
    ----------
    pairs: `a`, `b` (image ids), `exact` (the same bytes), `distance` (bits of 64), `correlation` of detail in [-1, 1].
        Of k films of the same bytes only the first is compared with others, and k - 1 pairs tie the rest to it.
    groups: image ids that are linked by pairs, largest group first.
    films: how many were compared. failures: as in `Prints`. distance, correlation: the thresholds.
    """

    pairs: pl.DataFrame
    groups: tuple[tuple[str, ...], ...]
    films: int
    failures: pl.DataFrame
    distance: int
    correlation: float

    @property
    def exact_groups(self) -> tuple[tuple[str, ...], ...]:
        """Image ids of files of the same bytes, largest group first."""
        return _linked(self.pairs.filter("exact").select("a", "b").rows())


def find(
    manifest: Manifest,
    *,
    distance: int = DISTANCE,
    correlation: float = CORRELATION,
    workers: int | None = None,
    progress: bool = False,
) -> Duplicates:
    """Read every film once and compare all with all, in time that grows with the films, not with their pairs.

    `distance`, `correlation`: see `compare`. `workers`: threads that decode; default one a core.
    """
    return compare(prints(manifest, workers=workers, progress=progress), distance, correlation)


def prints(manifest: Manifest, *, workers: int | None = None, progress: bool = False) -> Prints:
    """Hash and thumbnail of every film; one that cannot be read, or shows nothing, is a failure, not an error."""
    paths = manifest.paths()
    good: list[int] = []
    digests, thumbnails, failures = [], np.zeros((len(paths), SIDE, SIDE), np.uint8), []
    with ThreadPoolExecutor(workers or os.cpu_count() or 1) as pool:
        prints = pool.map(_print, paths)
        for at, (digest, seen) in enumerate(
            tracked(prints, "comparing films", len(paths)) if progress else prints
        ):
            if isinstance(seen, str):
                failures.append((manifest.image_ids[at], manifest.table["path"][at], seen))
                continue
            thumbnails[len(good)] = seen
            good.append(at)
            digests.append(digest)
    ids = manifest.image_ids
    small = thumbnails[: len(good)]
    schema = {"image_id": pl.String, "path": pl.String, "fault": pl.String}
    return Prints(
        image_ids=tuple(ids[at] for at in good),
        digests=tuple(digests),
        hashes=hashes(small),
        thumbnails=small,
        failures=pl.DataFrame(failures, schema=schema, orient="row"),
    )


def compare(seen: Prints, distance: int = DISTANCE, correlation: float = CORRELATION) -> Duplicates:
    """Pairs whose hashes differ in at most `distance` bits (0 to 15) and whose detail correlates by at least
    `correlation`, and pairs of the same bytes.
    """
    first: dict[str, int] = {}
    exact = []
    for at, digest in enumerate(seen.digests):
        if first.setdefault(digest, at) != at:
            exact.append((first[digest], at))
    alone = np.fromiter(first.values(), np.int64, len(first))
    pairs = alone[near_pairs(seen.hashes[alone], distance)]
    agree = agreement(seen.thumbnails, pairs)
    pairs, agree = pairs[agree >= correlation], agree[agree >= correlation]
    bits = np.bitwise_count(seen.hashes[pairs[:, 0]] ^ seen.hashes[pairs[:, 1]])
    ids = seen.image_ids
    rows = [(ids[i], ids[j], True, 0, 1.0) for i, j in exact]
    rows += [
        (ids[i], ids[j], False, int(d), round(float(c), 4))
        for (i, j), d, c in zip(pairs, bits, agree, strict=True)
    ]
    table = pl.DataFrame(rows, schema=_PAIRS, orient="row")
    groups = _linked(table.select("a", "b").rows())
    return Duplicates(table, groups, len(ids), seen.failures, distance, correlation)


def hashes(thumbnails: NDArray[np.uint8]) -> NDArray[np.uint64]:
    """(n, side, side) to (n,) uint64: the signs of 8 x 8 frequencies, from one cycle a side up.

    Signs do not change where brightness is scaled or shifted. The two lowest frequencies each way are the anatomy that all
    chest films share: with them seven times as many pairs had to be held side by side. Neighbouring frequencies go
    to different quarters of the 64 bits, so that films which agree in some of them are not all alike in one quarter.
    """
    import cv2

    out = np.zeros(len(thumbnails), np.uint64)
    places = np.arange(64).reshape(_BAND_BITS, _BANDS).T.ravel()
    for row, thumbnail in enumerate(thumbnails):
        low = cv2.dct(thumbnail.astype(np.float32) - 127.5)[2:10, 2:10].ravel()
        out[row] = np.bitwise_or.reduce((low > 0)[places].astype(np.uint64) << np.arange(64, dtype=np.uint64))
    return out


def near_pairs(values: NDArray[np.uint64], distance: int) -> NDArray[np.int64]:
    """(m, 2) indices i < j of all pairs of 64-bit values that differ in at most `distance` bits (0 to 15), sorted.

    Of four quarters one differs in at most `distance // 4` bits: each value is looked up in a sorted list of each
    quarter, with every such change made (after Norouzi, Punjani and Fleet, Fast Exact Search in Hamming Space with
    Multi-Index Hashing, 2014). Time grows with n log n and with the pairs that agree in a quarter.
    """
    if not 0 <= distance < 16:
        raise ValueError(f"distance must be 0 to 15 bits of 64, got {distance}")
    found = [np.zeros((0, 2), np.int64)]
    flips = [
        sum(1 << bit for bit in bits)
        for size in range(distance // _BANDS + 1)
        for bits in itertools.combinations(range(_BAND_BITS), size)
    ]
    for band in range(_BANDS):
        keys = ((values >> np.uint64(band * _BAND_BITS)) & np.uint64(0xFFFF)).astype(np.int64)
        order = np.argsort(keys, kind="stable")
        starts = np.searchsorted(keys[order], np.arange(2**_BAND_BITS + 1))
        for flip in flips:
            begin, end = starts[keys ^ flip], starts[(keys ^ flip) + 1]
            count = end - begin
            left = np.repeat(np.arange(len(values)), count)
            within = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
            right = order[np.repeat(begin, count) + within]
            keep = left < right
            left, right = left[keep], right[keep]
            keep = np.bitwise_count(values[left] ^ values[right]) <= distance
            found.append(np.stack([left[keep], right[keep]], 1))
    return np.unique(np.concatenate(found), axis=0)


def agreement(thumbnails: NDArray[np.uint8], pairs: NDArray[np.int64]) -> NDArray[np.float64]:
    """(m,) correlation in [-1, 1] of the detail of each pair (m, 2): what a Gaussian blur of 4 pixels takes away.

    The whole picture would not do: one in a thousand pairs of unrelated COVID-19 films correlates by 0.88 or more, and by
    0.66 or more in its detail.
    """
    out = np.zeros(len(pairs))
    for start in range(0, len(pairs), _CHECKED_AT_ONCE):
        chunk = pairs[start : start + _CHECKED_AT_ONCE]
        used, where = np.unique(chunk, return_inverse=True)
        fine = _detail(thumbnails[used])
        left, right = where.reshape(chunk.shape).T
        out[start : start + len(chunk)] = np.einsum("ij,ij->i", fine[left], fine[right])
    return out


def crossing(manifest: Manifest, groups: Sequence[Sequence[str]], column: str) -> int:
    """How many groups hold films with different known values of a column (`split`, `source`, `patient`, ...)."""
    value = dict(manifest.table.select("image_id", column).rows())
    return sum(len({value[i] for i in group if value.get(i) is not None}) > 1 for group in groups)


def as_one_patient(manifest: Manifest, groups: Sequence[Sequence[str]]) -> Manifest:
    """A copy in which all patients with a film in one group are one patient, so that no split can part the group.

    The merged patient bears the name of the first of them, or `near:<first film>` where none is known; other films
    keep theirs, unknown ones stay unknown. The column `patient_published` keeps what was there. Image ids that are
    not in the manifest are passed over.
    """
    table = manifest.table
    patient = dict(zip(table["image_id"], table["patient"], strict=True))
    links = []
    for group in groups:
        films = [i for i in group if i in patient]
        names = [patient[i] or f"near:{i}" for i in films]
        links += [(names[0], name) for name in names[1:]]
    merged: dict[str, str] = {}
    for linked in _linked(links):
        known = sorted(name for name in linked if not name.startswith("near:"))
        merged |= dict.fromkeys(linked, known[0] if known else min(linked))
    column = [merged.get(p if p is not None else f"near:{i}", p) for i, p in patient.items()]
    published = "patient" if "patient_published" not in table.columns else "patient_published"
    table = table.with_columns(
        patient_published=pl.col(published), patient=pl.Series(column, dtype=pl.String)
    )
    return replace(manifest, table=table)


def _print(path: Path) -> tuple[str, NDArray[np.uint8] | str]:
    """Digest of the file and thumbnail of the film, or the fault."""
    from hilum.images.read import read

    try:
        film = read(path)
        if film.pixels.min() == film.pixels.max():
            return film.digest or "", "the film is of one shade: there is nothing to compare"
        return film.digest or "", _PREPARATION.pixels(film.pixels).astype(np.uint8, copy=False)
    except HilumError as fault:
        return "", str(fault)


def _detail(thumbnails: NDArray[np.uint8]) -> NDArray[np.float32]:
    """(n, side, side) to (n, side * side) without what is coarse, of length 1; 0 where there is no detail."""
    import cv2

    fine = np.stack([t - cv2.GaussianBlur(t, (0, 0), 4.0) for t in thumbnails.astype(np.float32)])
    fine = fine.reshape(len(thumbnails), -1)
    fine -= fine.mean(1, keepdims=True)
    return np.asarray(fine / np.maximum(np.linalg.norm(fine, axis=1, keepdims=True), 1e-6), np.float32)


def _linked(links: Sequence[tuple[str, str]]) -> tuple[tuple[str, ...], ...]:
    """Names that links tie together, each group sorted, largest first."""
    parent: dict[str, str] = {}

    def root(name: str) -> str:
        above = parent.setdefault(name, name)
        while above != parent[above]:
            parent[above] = parent[parent[above]]  # halves the way for whoever asks next
            above = parent[above]
        parent[name] = above
        return above

    for a, b in links:
        parent[root(b)] = root(a)
    groups: dict[str, list[str]] = {}
    for name in list(parent):
        groups.setdefault(root(name), []).append(name)
    return tuple(sorted((tuple(sorted(g)) for g in groups.values()), key=lambda g: (-len(g), g)))
