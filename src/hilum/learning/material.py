"""From a recipe's data section to what the trainer is handed: training and validation films only, prepared, with targets."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from hilum.datasets import pixel_store, registry, split
from hilum.datasets.manifest import LABEL, SOFT, Manifest, concat
from hilum.datasets.readers import with_truth
from hilum.datasets.synthetic import kept_for_training
from hilum.errors import RecipeError
from hilum.images.preparation import Preparation
from hilum.learning import focusing, writing
from hilum.learning.recipe import Recipe
from hilum.learning.recipe_data import Data, SourceData
from hilum.learning.recipe_files import expand
from hilum.learning.refusals import (
    LEARNT,
    refuse_boxless,
    refuse_empty,
    refuse_one_sided,
    refuse_unlearnable,
    refuse_unprobed,
    tell_absent,
)
from hilum.learning.shares import sampled, with_labels
from hilum.learning.targets import Targets, auxiliary, boxes_of, softened, taught, truth_of

FIXED = "fixed_part"
"""Column of films whose part the recipe gives, whatever the split."""

LABELLED = ("multilabel", "multiclass")
"""Tasks that learn labels of whole films."""

CONDITIONED = (*LABELLED, "generate")
"""Tasks that are given labels of whole films."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Part:
    """One side of the split.

    Attributes
    ----------
    rows: where its films lie in the store.
    targets: what the loss is held to, (n, labels + auxiliary), classes (n,) or boxes (n, k, 5); None for masks, which lie
        in the store.
    truth: the labels themselves, without teacher and auxiliary, (n, labels) or (n,).
    """

    manifest: Manifest
    rows: NDArray[np.int64]
    targets: Targets | None
    truth: Targets | None

    def only(self, condition: str | None) -> Part:
        """The films that meet a condition in SQL."""
        if condition is None:
            return self
        kept = set(where(self.manifest, condition, "where").image_ids)
        chosen = np.array([image_id in kept for image_id in self.manifest.image_ids])
        manifest = self.manifest.filter(pl.Series(chosen))
        pick = [None if values is None else values[chosen] for values in (self.targets, self.truth)]
        return Part(manifest, self.rows[chosen], *pick)


@dataclass(frozen=True)
class Material:
    """What a run learns from. It holds no test film."""

    store: pixel_store.PixelStore
    train: Part
    validation: Part
    split: split.Split
    manifest: Manifest


def manifest_of(data: Data) -> Manifest:
    """All films that a recipe names, before they are parted."""
    root = expand(data.root)
    if data.manifest is not None:
        manifest = Manifest.load(expand(data.manifest))
    else:
        manifest = concat([_load(given, root) for given in data.sources])
    if data.readers is not None:
        manifest = with_truth(manifest, data.readers)
    manifest = where(manifest, data.keep, "keep")
    return sampled(manifest, patient_keys(manifest), data.fraction)


def parted(data: Data, manifest: Manifest) -> split.Split:
    """The split that a recipe asks for: by patient, refused where it would leak, unless to leak is what it asks for."""
    manifest = kept_for_training(manifest, FIXED)
    fixed = manifest.filter(pl.col(FIXED).is_not_null()) if FIXED in manifest.table.columns else None
    if fixed is None or not len(fixed):
        return _parted(data, manifest)
    inner = _parted(data, manifest.filter(pl.col(FIXED).is_null()))
    parts = {**inner.parts, **dict(zip(fixed.image_ids, fixed.table[FIXED], strict=True))}
    whole = split.Split(parts, {**inner.choices, "fixed": sorted(set(fixed.table["source"]))})
    if not data.split.leaky:
        whole.assert_disjoint(manifest)
    return whole


def _parted(data: Data, manifest: Manifest) -> split.Split:
    wish = data.split
    if wish.kind == "official":
        given = split.official(manifest, wish.without_patient)
        if "validation" in given.counts or not wish.validation:
            return given
        shares = {"train": 1 - wish.validation, "validation": wish.validation}
        return split.holdout(
            manifest.with_split(given), shares, wish.seed, part="train", without_patient=wish.without_patient
        )
    if wish.kind == "kfold":
        _refuse_few(patients_in(manifest), wish.folds)
        return split.fold(
            manifest, wish.folds, wish.fold, wish.validation, wish.seed, without_patient=wish.without_patient
        )
    shares = {"train": 1 - wish.validation - wish.test, "validation": wish.validation, "test": wish.test}
    shares = {part: share for part, share in shares.items() if share > 0}
    if wish.leaky:
        leaky = split.leaky_holdout(manifest, shares, wish.seed)
        both = split.patients_on_two_sides(manifest, leaky)
        logger.warning(
            "data.split.kind is leaky_holdout: films of %d patients lie on both sides. What this run measures is too"
            " good to be true, and shows only what leakage does.",
            both,
        )
        return split.Split(leaky.parts, {**leaky.choices, "patients_on_two_sides": both})
    return split.holdout(manifest, shares, wish.seed, without_patient=wish.without_patient)


def _refuse_few(patients: int, folds: int) -> None:
    if patients < folds:
        raise RecipeError(
            f"data.split.folds: {patients} patients cannot fill {folds} folds",
            mend="Ask for fewer folds, or look at data.keep",
        )


def gather(recipe: Recipe) -> Material:
    """Manifest, split and pixel store of a recipe; builds the store where it is not there yet.

    The store holds the films of training and validation alone, so that no test film is opened; with `kfold` it holds
    all films, each of which some fold trains on, and the runs of all folds share it.
    """
    recipe = focusing.pinned(recipe)
    data = recipe.data
    whole = manifest_of(data)
    parts = parted(data, whole)
    manifest = whole.with_split(parts)
    seen = manifest.filter(pl.col("split").is_in(LEARNT))
    seen = where(seen, data.learn_from, "learn_from")
    refuse_empty(seen)
    if recipe.task in (*CONDITIONED, "pretrain"):  # a label that is not there is said before a film is read
        truth_of(seen, recipe.task, data.labels)
        for name in data.auxiliary:
            auxiliary(seen, name)
    stored = (
        where(whole.with_split({}), data.learn_from, "learn_from") if data.split.kind == "kfold" else seen
    )
    store = _store(stored, recipe.preparation, data, masks=recipe.task == "segment")
    seen = store.readable(seen)
    refuse_empty(seen)
    seen = with_labels(seen, patient_keys(seen), data.labelled, recipe.seed)
    sides = [_part(recipe, seen.filter(split=side), store, side) for side in LEARNT]
    for side, part in zip(LEARNT, sides, strict=True):
        logger.info("%s: %d films of %d patients", side, len(part.manifest), patients_in(part.manifest))
    if recipe.task == "detect":
        refuse_boxless(recipe, *(np.asarray(side.targets) for side in sides))
    if recipe.task in CONDITIONED:
        refuse_unlearnable(recipe, sides[0].truth)
    if recipe.task in LABELLED:
        refuse_one_sided(recipe, sides[1].truth)
        tell_absent(recipe, "validation", sides[1].manifest)
        tell_absent(recipe, "test", manifest.filter(split="test"))
    if recipe.task == "pretrain" and data.labels:
        for side, part in zip(LEARNT, sides, strict=True):
            refuse_unprobed(side, part.truth)
            tell_absent(recipe, side, part.manifest)
    return Material(store, sides[0], sides[1], parts, manifest)


def expand_under(root: str, path: str) -> Path:
    """A path, taken under the data root where it is relative."""
    return expand(root) / expand(path)


def patients_in(manifest: Manifest) -> int:
    """Patients, films of unknown patient counting as one each."""
    column = manifest.table["patient"]
    return int(column.drop_nulls().n_unique() + column.null_count())


def patient_keys(manifest: Manifest) -> list[str]:
    """What a bundle remembers each patient by; a film of unknown patient by its own name."""
    pairs = zip(manifest.table["patient"], manifest.image_ids, strict=True)
    return [patient if patient is not None else f"film:{image_id}" for patient, image_id in pairs]


def _load(given: SourceData, root: Path) -> Manifest:
    # A teacher's table lies under the data root too.
    options = {key: str(root / value) if key == "teacher" else value for key, value in given.options.items()}
    manifest = where(registry.load(given.source, root / given.root, **options), given.where, "sources.where")
    table = manifest.table
    if given.labels is not None:
        others = [name for name in manifest.findings if name not in given.labels]
        table = table.drop([kind + name for kind in (LABEL, SOFT) for name in others], strict=False)
    return replace(manifest, table=table.with_columns(pl.lit(given.part, pl.String).alias(FIXED)))


def where(manifest: Manifest, condition: str | None, field: str) -> Manifest:
    if condition is None:
        return manifest
    try:
        # In brackets: polars reads a leading `view` as the beginning of a statement.
        return manifest.filter(pl.sql_expr(f"({condition})"))
    except pl.exceptions.PolarsError as error:
        raise RecipeError(
            f"data.{field}: {error}", mend="Write a condition such as: view = 'PA' AND age >= 18"
        ) from error


def _store(manifest: Manifest, preparation: Preparation, data: Data, masks: bool) -> pixel_store.PixelStore:
    """One folder for each pair of films and preparation, so that recipes share what they can."""
    kind = "masks" if masks else "films"
    folder = expand(data.store) / f"{kind}-{manifest.digest[:10]}-{preparation.stored_digest[:10]}"
    with writing.named(folder), only_one(folder):
        pixel_store.verify(folder)
        windows = focusing.finder(preparation)
        workers = data.workers or None
        store = pixel_store.build(
            manifest, preparation, folder, masks=masks, workers=workers, windows=windows
        )
    focusing.tell_whole(store)
    return store


@contextmanager
def only_one(folder: Path) -> Iterator[None]:
    """Of several processes that want to build the same store one does, while the others wait and then open it.

    The lock is the operating system's, so that a killed process leaves none behind; Windows has another kind and goes
    without.
    """
    try:
        import fcntl
    except ModuleNotFoundError:
        yield
        return
    folder.parent.mkdir(parents=True, exist_ok=True)
    with (folder.parent / f".{folder.name}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _part(recipe: Recipe, manifest: Manifest, store: pixel_store.PixelStore, side: str) -> Part:
    rows = store.rows(manifest.image_ids)
    if recipe.task == "segment":
        return Part(manifest, rows, None, None)
    data = recipe.data
    if recipe.task == "detect":
        return Part(
            manifest, rows, boxes_of(manifest, data.labels, recipe.preparation, store.window_of), None
        )
    truth = truth_of(manifest, recipe.task, data.labels)
    if recipe.task in ("multiclass", "pretrain"):
        return Part(manifest, rows, truth, truth)
    targets = np.asarray(truth, np.float32)
    if side == "train":
        targets = taught(manifest, data, targets) if data.teacher else targets
        targets = softened(manifest, data.labels, targets)
    beside = [auxiliary(manifest, name) for name in data.auxiliary]
    return Part(manifest, rows, np.column_stack([targets, *beside]).astype(np.float32), truth)
