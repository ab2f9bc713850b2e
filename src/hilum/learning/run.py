"""A Run: a folder that holds a recipe, its history, checkpoints, validation results, plots, and the bundle it ends in."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import torch

from hilum.bundles import save, verify
from hilum.errors import BundleError, RecipeError
from hilum.learning import distributing, focusing, group, material, weights, writing
from hilum.learning.building import build_model, fitted, refuse_misfit
from hilum.learning.concluding import conclude
from hilum.learning.history import History
from hilum.learning.phases import checked_device, run_phase
from hilum.learning.recipe import Recipe

logger = logging.getLogger(__name__)


def train(
    recipe: Recipe,
    folder: str | Path,
    tensorboard: bool = False,
    device: str = "auto",
    profile: bool = False,
) -> Path:
    """Carry out a recipe in `folder` and return the bundle's path, `folder/bundle`.

    `folder/manifest.parquet` keeps all films with their part, for `hilum evaluate ... --split test`. `device`: `cpu`,
    `cuda`, or `auto` for what there is. `profile`: `folder/profile.csv` says where the time of steps went.

    A run that was killed goes on when it is called again with the same recipe and folder, and ends where it would have
    ended; one that has ended is left as it is. Where this process is one of several (`learning.group`; `learning.together`
    starts them) they train one model, and the first of them writes the run. RecipeError where the folder holds the run of
    another recipe, or of other films. WriteError where the disk is full: what was written whole stays, and the run can go
    on from it.
    """
    folder, device = Path(folder), checked_device(device)
    refuse_misfit(recipe)
    distributing.refuse_apart(recipe)
    if group.is_first():
        _claim(folder, recipe)
    done = finished(recipe, folder)
    if done is not None:
        logger.info("%s: this run has ended", folder)
        return done
    recipe = focusing.pinned(recipe)
    stuff = material.gather(recipe)
    if group.is_first():
        _hold_to_split(folder, stuff, recipe)
        with writing.named(folder / "manifest.parquet"):
            stuff.manifest.save(folder / "manifest.parquet")  # for `hilum evaluate ... --split test`
        _note_loss(folder, recipe, stuff)
    torch.manual_seed(recipe.seed)
    model = build_model(fitted(recipe, stuff))
    history = History(folder, tensorboard)
    for number, phase in enumerate(recipe.phases):
        logger.info("phase %d of %d: %s", number + 1, len(recipe.phases), phase.name)
        run_phase(model, recipe, number, stuff, folder / "phases", history, device, profile)
    if not group.is_first():
        return folder / "bundle"
    with writing.named(folder / "curves.png"):
        history.draw()
    bundle = conclude(recipe, model.eval(), stuff, folder)
    with writing.named(folder / "bundle"):
        return save(bundle, folder / "bundle")


def finished(recipe: Recipe, folder: str | Path) -> Path | None:
    """The bundle of a run of this recipe that has ended, as it lies there, with what `evaluate` recorded in it; else None.

    A bundle is written whole or not at all, so that where there is one the run has ended. RecipeError where films or
    their split have changed since.
    """
    folder = Path(folder)
    bundle = folder / "bundle"
    if not bundle.exists():
        return None
    try:
        info = verify(bundle)
    except BundleError as error:
        logger.warning("%s It is made anew from the run's weights.", error)
        return None
    if info.provenance.recipe_digest != recipe.digest:
        return None
    now = material.parted(recipe.data, material.manifest_of(recipe.data)).digest
    if info.provenance.split_digest != now:
        raise _other_films(folder)
    return bundle


def _hold_to_split(folder: Path, stuff: material.Material, recipe: Recipe) -> None:
    """Write down who is on which side, or refuse to go on with other films, another split or other lungs to go by than
    the run began with.
    """
    note = folder / "split.json"
    parts = {"train": stuff.train.manifest.digest, "validation": stuff.validation.manifest.digest}
    known: dict[str, Any] = {"digest": stuff.split.digest, "counts": stuff.split.counts, "films": parts}
    if recipe.preparation.by_lungs is not None:
        known["segmenter"] = recipe.preparation.by_lungs.digest
    before = json.loads(note.read_text()) if note.is_file() else {}
    if any(before.get(name, value) != value for name, value in known.items()):
        raise _other_films(folder)
    writing.write_whole(note, json.dumps({**known, **dict(stuff.split.choices)}, indent=2))


def _other_films(folder: Path) -> RecipeError:
    return RecipeError(
        "the films, their labels, their split or the lungs they are cut or masked by are not those that this run began with",
        path=folder,
        mend="Choose another folder with --out, or bring the data back",
    )


def _note_loss(folder: Path, recipe: Recipe, stuff: material.Material) -> None:
    """`loss.json`: the loss with the weights that it has."""
    outputs = len(recipe.data.labels) + len(recipe.data.auxiliary)
    loss = weights.resolved(recipe.loss, stuff.train, outputs)
    names = [*recipe.data.labels, *recipe.data.auxiliary]
    writing.write_whole(folder / "loss.json", json.dumps({"outputs": names, **loss.model_dump()}, indent=2))


def _claim(folder: Path, recipe: Recipe) -> None:
    """Write the recipe into a new run's folder, or refuse the folder of another run."""
    folder.mkdir(parents=True, exist_ok=True)
    note = folder / "recipe.json"
    written = json.dumps({"digest": recipe.digest, "recipe": recipe.model_dump(mode="json")}, indent=2)
    if note.is_file() and json.loads(note.read_text())["digest"] != recipe.digest:
        raise RecipeError(
            "this folder holds a run of another recipe", path=folder, mend="Choose another folder with --out"
        )
    writing.write_whole(note, written)
    writing.write_whole(folder / "recipe.yaml", recipe.as_yaml())
