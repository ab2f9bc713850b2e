"""What a run that generates ends in: the findings that films are drawn by, and a first look beside validation films."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hilum.bundles import Bundle
from hilum.bundles.generating import counted, films_for
from hilum.bundles.info import Condition
from hilum.evaluation.sliced import sliced_wasserstein
from hilum.images.enhance import resize
from hilum.images.grey_png import film_grid, grey_png
from hilum.learning import material, writing
from hilum.learning.tasks.generate import COLUMNS, FLAT, SEEN, SHOWN

logger = logging.getLogger(__name__)

FEWEST = 3
"""Training films that a set of findings must have to be kept: a rarer one could tell of a patient."""
LIMITS = (
    "Its films are for training beside real ones, never for validation or test, and show no patient.",
    "What they teach is what it learnt from its training films: no finding of it was seen by a radiologist.",
)
COLLAPSED = "COLLAPSED: whatever the noise, its films of the same findings are nearly one and the same."
DRAWS = 16


def as_generator(bundle: Bundle, labels: tuple[str, ...], stuff: material.Material) -> Bundle:
    """The bundle with the findings that stand together in training films, and with what it must not be used for."""
    sets = counted(labels, np.asarray(stuff.train.truth, np.float64))
    common = [(names, films) for names, films in sets if films >= FEWEST] or sets[:1]
    conditions = tuple(Condition(findings=names, films=films) for names, films in common)
    limits = (*bundle.info.limits, *LIMITS)
    bundle.info = bundle.info.model_copy(update={"conditions": conditions, "limits": limits})
    return bundle


def conclude_generator(bundle: Bundle, stuff: material.Material, folder: Path, seed: int) -> Bundle:
    """Films for the validation films' findings, how far they lie from these, and how much noise changes them."""
    part = stuff.validation
    real = bundle.info.preparation.tensor(stuff.store.images[part.rows])[:, 0].numpy() / 2 + 0.5
    conditions = (np.asarray(part.truth) > 0.5).astype(np.float32)
    made = films_for(bundle, conditions, seed)
    train = stuff.train.rows[: len(real)]
    learnt = bundle.info.preparation.tensor(stuff.store.images[train])[:, 0].numpy() / 2 + 0.5
    facts: dict[str, Any] = {
        "sliced Wasserstein distance to validation films": sliced_wasserstein(_flat(made), _flat(real)),
    }
    if len(learnt) == len(real):
        facts["the same of as many training films"] = sliced_wasserstein(_flat(learnt), _flat(real))
    spread = float(real.std(0).mean())
    changed = noise_changes(bundle, conditions[:COLUMNS], seed) / spread if spread else 0.0
    facts["change of a pixel by noise alone, as a share of that between validation films"] = changed
    limits = bundle.info.limits
    if changed < FLAT:
        logger.warning("%s", COLLAPSED)
        limits = (COLLAPSED, *limits)
    note = (
        f"{len(real)} films for the findings of as many validation films, which chose the epoch; grey values in [0, 1], at"
        f" {SEEN} pixels a side. Nearness to training films is not measured here."
    )
    place = folder / "validation"
    with writing.named(place):
        place.mkdir(parents=True, exist_ok=True)
    with writing.whole(place / "samples.png") as work:
        work.write_bytes(grey_png(film_grid(made[:SHOWN], COLUMNS)))
    writing.write_whole(place / "metrics.json", json.dumps({"note": note, "facts": facts}, indent=1) + "\n")
    metrics = {"validation (chose the epoch)": {"note": note, "facts": facts, "tables": {}}}
    bundle.info = bundle.info.model_copy(update={"metrics": metrics, "limits": limits})
    return bundle


def noise_changes(bundle: Bundle, conditions: NDArray[np.float32], seed: int) -> float:
    """The standard deviation of a pixel over draws of noise, in [0, 1], the mean over pixels and `conditions`."""
    films = films_for(bundle, np.repeat(conditions, DRAWS, 0), seed)
    return float(films.reshape(len(conditions), DRAWS, -1).std(1).mean())


def _flat(films: NDArray[Any]) -> NDArray[np.float32]:
    """Films (n, h, w) at `SEEN` pixels a side at most, as rows."""
    side = min(SEEN, films.shape[-1])
    return np.stack([resize(np.asarray(film, np.float32), side, side).ravel() for film in films])
