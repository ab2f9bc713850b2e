"""An encoder's embeddings of stored films, which films probes ask, and what an encoder's bundle says that they found."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray

from hilum.datasets.batches import Batches
from hilum.evaluation import delong
from hilum.evaluation.embedding_probe import EmbeddingProbe, probe_embeddings, spread
from hilum.images.preparation import Preparation
from hilum.learning.material import Material, Part, patient_keys, patients_in
from hilum.learning.pretexts.options import PretextLoss
from hilum.learning.recipe import Recipe
from hilum.learning.writing import named, write_whole
from hilum.models import Encoder

COLLAPSED = 1e-3
"""The `spread` of embeddings below which they are nearly the same for every film."""

MOST = 5_000
"""Training films that probes learn from, evenly taken."""


def probed(part: Part) -> Part:
    """The films that know a label, at most `MOST` of them; none where no label is given."""
    truth = np.asarray(part.truth, np.float32)
    known = np.flatnonzero(~np.isnan(truth).all(1)) if truth.shape[1] else np.zeros(0, np.int64)
    if len(known) > MOST:
        known = known[np.linspace(0, len(known) - 1, MOST).round().astype(np.int64)]
    chosen = np.zeros(len(part.rows), bool)
    chosen[known] = True
    return Part(part.manifest.filter(pl.Series(chosen)), part.rows[known], truth[known], truth[known])


@torch.no_grad()
def embeddings(
    encoder: Encoder, films: Batches, preparation: Preparation, device: torch.device
) -> NDArray[np.float64]:
    """(films, features) in float32 precision, of films as they are, by an encoder in eval mode on this device."""
    found = []
    with torch.autocast(device.type, enabled=False):
        for batch in films.epoch(0):
            images = preparation.tensor(batch.images.to(device))
            vectors = encoder(images.contiguous(memory_format=torch.channels_last))
            found.append(vectors.float().cpu().double().numpy())
    return np.concatenate(found)


def measure_encoder(encoder: Encoder, recipe: Recipe, stuff: Material, folder: Path) -> dict[str, Any]:
    """Write `probes.json` to `folder`; return the card's section: what both probes find in the embeddings of validation
    films, with intervals by patient, and how far the embeddings spread.
    """
    loss, names = recipe.loss, recipe.data.labels
    assert isinstance(loss, PretextLoss)
    found = _of(encoder, recipe, stuff, stuff.validation)
    width = spread(found)
    facts: dict[str, Any] = {
        "pretexts": loss.words,
        "features": found.shape[1],
        "spread of embeddings": width,
    }
    tables: dict[str, Any] = {}
    if names:
        known = probed(stuff.train)
        truth = np.asarray(stuff.validation.truth, np.float64)
        learnt_from = _of(encoder, recipe, stuff, known)
        probe = probe_embeddings(learnt_from, np.asarray(known.truth), found, truth, loss.neighbours)
        facts["training films with labels"] = len(known.rows)
        tables["probes"] = _rows(
            probe, names, truth, np.array(patient_keys(stuff.validation.manifest)), facts
        )
    fallen = width < COLLAPSED
    note = (
        f"{len(found)} films of {patients_in(stuff.validation.manifest)} patients. By itself it finds nothing: k-NN and"
        " linear probes learnt from the training films' labels, which no loss saw; intervals are 95 %, by patient."
        + (" COLLAPSED: the embedding is nearly the same for every film." if fallen else "")
    )
    result = {"note": note, "facts": facts, "tables": tables}
    with named(folder):
        folder.mkdir(parents=True, exist_ok=True)
    write_whole(folder / "probes.json", json.dumps(result, indent=1) + "\n")
    return result


def _of(encoder: Encoder, recipe: Recipe, stuff: Material, part: Part) -> NDArray[np.float64]:
    films = Batches(stuff.store, part.rows, size=2 * recipe.phases[-1].batch, shuffle=False)
    return embeddings(encoder, films, recipe.preparation, torch.device("cpu"))


def _rows(
    probe: EmbeddingProbe,
    names: tuple[str, ...],
    truth: NDArray[np.float64],
    patients: NDArray[Any],
    facts: dict[str, Any],
) -> list[dict[str, Any]]:
    """A row a label that could be probed for; the mean AUC of both probes goes to `facts`."""
    there = np.asarray(~np.isnan(probe.linear).any(0) & ~np.isnan(probe.knn).any(0))
    kept = [name for name, keep in zip(names, there, strict=True) if keep]
    each = {}
    for title, scores in {"linear AUC": probe.linear, "k-NN AUC": probe.knn}.items():
        ranked = delong.delong(truth[:, there], scores[:, there], patients)
        facts[f"macro {title}"] = delong.macro_of(ranked, kept).as_dict()
        each[title] = delong.estimates_of(ranked)
    return [
        {
            "finding": name,
            "n": linear.n,
            "positive": linear.positives,
            "linear AUC": linear.as_dict(),
            "k-NN AUC": knn.as_dict(),
        }
        for name, linear, knn in zip(kept, each["linear AUC"], each["k-NN AUC"], strict=True)
    ]
