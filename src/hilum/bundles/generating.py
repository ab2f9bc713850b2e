"""Films from a bundle that generates: for findings that are asked for, or drawn as training films had them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from hilum.bundles.bundle import Bundle
from hilum.bundles.info import Info
from hilum.errors import BundleError
from hilum.models.contract import Generative

BATCH = 64


def films_for(bundle: Bundle, conditions: ArrayLike, seed: int = 0) -> NDArray[np.float32]:
    """A film for each row of findings (n, labels) of 0 and 1: (n, h, w) in [0, 1], bone white.

    The same bundle, conditions and seed give the same films, and more rows only add films. BundleError where the bundle does
    not generate, or where findings and labels differ in number.
    """
    model = bundle.model
    if bundle.info.task != "generate" or not isinstance(model, Generative):
        raise BundleError(
            "it does not make films",
            path=bundle.info.name,
            mend="Give a bundle that was trained with task generate",
        )
    wanted = torch.from_numpy(np.array(conditions, np.float32))
    if (
        wanted.ndim != 2
        or wanted.shape[1] != len(bundle.labels)
        or not bool(((wanted == 0) | (wanted == 1)).all())
    ):
        raise BundleError(
            f"findings of shape {tuple(wanted.shape)}; 0 or 1 for each of {len(bundle.labels)} labels is wanted",
            path=bundle.info.name,
        )
    chance = torch.Generator().manual_seed(seed)
    noise = torch.randn(len(wanted), model.latent, generator=chance)
    height, width = bundle.info.preparation.size
    out = np.empty((len(wanted), height, width), np.float32)
    with torch.inference_mode():
        for start in range(0, len(wanted), BATCH):
            rows = slice(start, start + BATCH)
            out[rows] = as_pixels(model.generator(noise[rows], wanted[rows]))
    return out


def as_pixels(films: Tensor) -> NDArray[np.float32]:
    """Films (n, 1, h, w) in [-1, 1] as (n, h, w) in [0, 1]."""
    return np.asarray((films.float()[:, 0] / 2 + 0.5).clamp(0, 1).cpu().numpy(), np.float32)


def drawn(info: Info, films: int, seed: int = 0) -> NDArray[np.float32]:
    """Findings (films, labels) drawn as often as training films had them together."""
    if not info.conditions:
        raise BundleError(
            "it does not say which findings stand together", path=info.name, mend="Name them with --label"
        )
    table = np.stack([asked(info, condition.findings) for condition in info.conditions])
    counts = np.array([condition.films for condition in info.conditions], np.float64)
    return table[np.random.default_rng(seed).choice(len(table), films, p=counts / counts.sum())]


def asked(info: Info, findings: Sequence[str]) -> NDArray[np.float32]:
    """(labels,) 1 for each of `findings`, else 0. BundleError for one that the bundle has not learnt."""
    names = [label.name for label in info.labels]
    strange = [name for name in findings if name not in names]
    if strange:
        raise BundleError(
            f"it has not learnt {', '.join(strange)}", path=info.name, mend=f"It has: {', '.join(names)}"
        )
    return np.array([name in findings for name in names], np.float32)


def counted(names: Sequence[str], labels: ArrayLike) -> list[tuple[tuple[str, ...], int]]:
    """Findings that stand together and how many films (rows of labels (n, names), NaN unknown) have exactly these; the most
    common first.
    """
    rows: NDArray[Any] = np.asarray(labels) > 0.5
    unique, counts = np.unique(rows, axis=0, return_counts=True)
    sets = [tuple(name for name, there in zip(names, row, strict=True) if there) for row in unique]
    return sorted(zip(sets, counts.tolist(), strict=True), key=lambda each: (-each[1], each[0]))


def refuse_generator(info: Info, mend: str = "Give a bundle that reads films") -> None:
    """BundleError where a bundle that makes films is asked to read some."""
    if info.task == "generate":
        raise BundleError(
            "it makes films and reads none",
            path=info.name,
            mend=f"{mend}; this one is for: hilum synthesise, hilum evaluate",
        )
