"""A linear probe of what a run began with: a logistic regression on embeddings of its encoder as it was before training."""

from __future__ import annotations

import logging
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray

from hilum.datasets.manifest import Manifest
from hilum.evaluation.logistic import fit, fit_labels
from hilum.images.preparation import Preparation
from hilum.images.read import read
from hilum.learning.building import build_model
from hilum.learning.material import gather
from hilum.learning.writing import whole
from hilum.models import Classifier
from hilum.studies.jobs import Job
from hilum.studies.results import Predictions

PROBE = "probe.parquet"
BATCH = 64

logger = logging.getLogger(__name__)


def probe(job: Job, held_out: Predictions) -> Predictions:
    """The films of `held_out` with the probabilities of a regression that learnt the run's training films, of whose labels
    it knows what the run knew. Kept in the run's folder.

    The regression's penalty is fixed (`logistic.STRENGTH`), so that no film chooses it. A label that training does not
    know is 0.5 throughout.
    """
    place = job.folder / PROBE
    kept = pl.read_parquet(place) if place.is_file() else None
    if kept is None or kept["image_id"].to_list() != held_out.films.tolist():
        found = _probabilities(job, held_out)
        columns = {label: found[:, i].astype(np.float32) for i, label in enumerate(held_out.labels)}
        kept = pl.DataFrame({"image_id": held_out.films.tolist(), **columns})
        with whole(place) as work:
            kept.write_parquet(work)
    return replace(held_out, probability=kept.select(held_out.labels).to_numpy().astype(np.float64))


def _probabilities(job: Job, held_out: Predictions) -> NDArray[np.float64]:
    recipe = job.recipe
    logger.info("%s, fold %d: a linear probe of the start", job.arm, job.number)
    stuff = gather(recipe)
    torch.manual_seed(recipe.seed)
    model = build_model(recipe)
    assert isinstance(model, Classifier)
    features = embeddings(model.eval(), recipe.preparation, stuff.store.images[stuff.train.rows])
    pixels = _pixels(recipe.preparation, job.folder / "manifest.parquet", tuple(held_out.films.tolist()))
    asked = embeddings(model, recipe.preparation, pixels)
    truth = np.asarray(stuff.train.truth)
    if recipe.task == "multiclass":
        known = truth >= 0
        return fit(features[known], truth[known], len(held_out.labels)).probabilities(asked)
    fits = fit_labels(features, truth)
    each = [np.full(len(asked), 0.5) if one is None else one.probabilities(asked)[:, 1] for one in fits]
    return np.column_stack(each)


@torch.inference_mode()
def embeddings(
    model: Classifier, preparation: Preparation, images: NDArray[np.uint8] | NDArray[np.uint16]
) -> NDArray[np.float32]:
    """Stored films (n, h, w) to the model's embeddings (n, features)."""
    found = [
        model.encode(preparation.tensor(images[start : start + BATCH])).float().numpy()
        for start in range(0, len(images), BATCH)
    ]
    return np.concatenate(found)


@lru_cache(maxsize=4)
def _pixels(
    preparation: Preparation, manifest: Path, films: tuple[str, ...]
) -> NDArray[np.uint8] | NDArray[np.uint16]:
    """Films of a run's manifest, prepared."""
    table = Manifest.load(manifest)
    where = dict(zip(table.image_ids, table.paths(), strict=True))
    found: NDArray[Any] = np.stack([preparation.pixels(read(where[film]).pixels) for film in films])
    return found
