"""A Run: a folder that holds a recipe, its history, checkpoints, validation results, plots, and the bundle it ends in."""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from hilum import __version__
from hilum.bundles import Bundle, save, verify
from hilum.bundles.bundle import as_written, patient_hash
from hilum.bundles.info import Architecture, Code, Cut, Info, Label, Provenance, Scaling
from hilum.datasets.preparing import IGNORE
from hilum.errors import BundleError, RecipeError
from hilum.evaluation.calibration import Calibration, fit_platt, fit_softmax_temperature, fit_temperature
from hilum.evaluation.detection_range import best_f1
from hilum.evaluation.overlap import overlap_scores
from hilum.evaluation.thresholds import choose_thresholds
from hilum.findings import UnknownFindingError, find
from hilum.learning import material, weights, writing
from hilum.learning.anchors import fit_anchors
from hilum.learning.detections import detect_store, measure_detector
from hilum.learning.history import History
from hilum.learning.phases import checked_device, run_phase
from hilum.learning.recipe import Recipe
from hilum.learning.results import measure_classifier, measure_segmenter, predict_store
from hilum.models import Classifier, Model, Segmenter, build
from hilum.models.contract import Detector

logger = logging.getLogger(__name__)


def train(recipe: Recipe, folder: str | Path, tensorboard: bool = False, device: str = "auto") -> Path:
    """Carry out a recipe in `folder` and return the bundle's path, `folder/bundle`.

    `folder/manifest.parquet` keeps all films with their part, for `hilum evaluate ... --split test`. `device`: `cpu`,
    `cuda`, or `auto` for what there is.

    A run that was killed goes on when it is called again with the same recipe and folder, and ends where it would have
    ended; one that has ended is left as it is. RecipeError where the folder holds the run of another recipe, or of other
    films. WriteError where the disk is full: what was written whole stays, and the run can go on from it.
    """
    folder, device = Path(folder), checked_device(device)
    _claim(folder, recipe)
    done = finished(recipe, folder)
    if done is not None:
        logger.info("%s: this run has ended", folder)
        return done
    stuff = material.gather(recipe)
    _hold_to_split(folder, stuff)
    with writing.named(folder / "manifest.parquet"):
        stuff.manifest.save(folder / "manifest.parquet")  # for `hilum evaluate ... --split test`
    _note_loss(folder, recipe, stuff)
    torch.manual_seed(recipe.seed)
    model = build_model(fitted(recipe, stuff))
    history = History(folder, tensorboard)
    for number, phase in enumerate(recipe.phases):
        logger.info("phase %d of %d: %s", number + 1, len(recipe.phases), phase.name)
        run_phase(model, recipe, number, stuff, folder / "phases", history, device)
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


def fitted(recipe: Recipe, stuff: material.Material) -> Recipe:
    """The recipe with what a model takes from training films: a detector's anchors, where the recipe gives none."""
    options = recipe.model.options
    if recipe.task != "detect" or "anchors" in options:
        return recipe
    boxes = np.asarray(stuff.train.targets)
    held = boxes[~np.isnan(boxes[..., 0])]
    anchors = fit_anchors(
        held[:, 3:] - held[:, 1:3], reach=getattr(recipe.loss, "reach", 4.0), seed=recipe.seed
    )
    choice = recipe.model.model_copy(update={"options": {**options, "anchors": anchors}})
    return recipe.model_copy(update={"model": choice})


def build_model(recipe: Recipe) -> Model:
    """The recipe's model with its first weights, held to the preparation."""
    choice, steps = recipe.model, recipe.preparation
    outputs = len(recipe.data.labels) + len(recipe.data.auxiliary) or 1
    pretrained: str | tuple[str | None, ...] | None
    if isinstance(choice.pretrained, tuple):  # one a backbone
        pretrained = tuple(_start(recipe, each) for each in choice.pretrained)
    else:
        pretrained = _start(recipe, choice.pretrained)
    model = build(
        choice.name, outputs=outputs, pretrained=pretrained, channels=steps.channels, **choice.options
    )
    if model.mean != steps.mean or model.std != steps.std:
        logger.info(
            "the preparation's mean and std are not those that the backbone was made for: %s, %s",
            model.mean,
            model.std,
        )
    kinds = {"segment": Segmenter, "detect": Detector}
    if not isinstance(model, kinds.get(recipe.task, Classifier)):
        raise RecipeError(f"model.name: '{choice.name}' is not made for task '{recipe.task}'")
    if recipe.data.auxiliary and not (isinstance(model, Classifier) and model.linear_head()):
        raise RecipeError("data.auxiliary: the model's head is not one linear layer, which alone can be cut")
    return model


def _start(recipe: Recipe, given: str | None) -> str | None:
    """Where weights to start from lie; a path is taken under the data root."""
    if given is None or given == "imagenet":
        return given
    return str(material.expand_under(recipe.data.root, given))


def conclude(recipe: Recipe, model: Model, stuff: material.Material, folder: Path) -> Bundle:
    """Calibration and thresholds chosen on validation films, what was measured there, and the bundle."""
    if recipe.data.auxiliary:
        model = without_auxiliary(model, recipe)
    bundle = Bundle(_info(recipe, stuff), model, _hashes(stuff), recipe.portable().as_yaml().encode())
    # What is chosen here must hold for the weights in the file, which are of 16 bit.
    bundle.model = as_written(bundle)
    rows = stuff.validation.rows
    if recipe.task == "detect":
        return _conclude_detector(bundle, recipe, stuff, folder)
    logits = predict_store(bundle, stuff.store.images, rows)
    if recipe.task == "segment":
        masks = np.asarray(stuff.store.masks)[rows]
        scores = [
            overlap_scores(mask == 1, logit.max(0) > 0, ignore=mask == IGNORE)
            for mask, logit in zip(masks, logits, strict=True)
        ]
        result = measure_segmenter(
            scores, stuff.validation.manifest, folder / "validation", unit="prepared pixels"
        )
    else:
        truth = np.asarray(stuff.validation.truth)
        bundle.info = _chosen(bundle.info, recipe, truth, logits)
        result = measure_classifier(bundle, logits, truth, stuff.validation.manifest, folder / "validation")
    bundle.info = bundle.info.model_copy(
        update={"metrics": {f"validation (chose {_choices(recipe)})": result}}
    )
    return bundle


def _conclude_detector(bundle: Bundle, recipe: Recipe, stuff: material.Material, folder: Path) -> Bundle:
    """The score from which on each class's boxes count, and what validation films measured."""
    part = stuff.validation
    boxes = detect_store(bundle, stuff.store.images, part.rows, np.asarray(part.targets))
    labels = []
    for label, cut in zip(bundle.info.labels, best_f1(boxes), strict=True):
        value = None if np.isnan(cut.value) else Cut(value=cut.value, rule="f1 of boxes, IoU above 0.4")
        labels.append(label.model_copy(update={"threshold": value}))
    result = measure_detector(
        boxes, bundle.labels, part.manifest, folder / "validation", unit="prepared pixels"
    )
    name = f"validation (chose {_choices(recipe)})"
    bundle.info = bundle.info.model_copy(update={"labels": tuple(labels), "metrics": {name: result}})
    return bundle


def _choices(recipe: Recipe) -> str:
    """What validation films decided, in words."""
    calibrated = recipe.task in material.LABELLED and recipe.choices.calibration != "none"
    cuts = recipe.task in ("multilabel", "detect")
    *others, last = ["epoch", *["calibration"] * calibrated, *["thresholds"] * cuts]
    return f"the {', '.join(others)} and {last}" if others else f"the {last}"


def without_auxiliary(model: Model, recipe: Recipe) -> Model:
    """The model without the outputs that were learnt beside, which a bundle does not carry."""
    linear = model.linear_head() if isinstance(model, Classifier) else None
    assert linear is not None  # `build_model` saw to it
    keep = len(recipe.data.labels)
    linear.weight = torch.nn.Parameter(linear.weight.detach()[:keep].clone())
    linear.bias = torch.nn.Parameter(linear.bias.detach()[:keep].clone())
    linear.out_features = keep
    return model


def _chosen(info: Info, recipe: Recipe, truth: NDArray[Any], logits: NDArray[np.float32]) -> Info:
    """The info with calibration fitted and thresholds chosen on these (validation) films."""
    calibration = _calibration(recipe, truth, logits)
    scaling = Scaling(kind=calibration.kind, slope=calibration.slope, intercept=calibration.intercept)
    info = info.model_copy(update={"calibration": scaling})
    if recipe.task == "multiclass":
        return info
    cuts = choose_thresholds(truth, calibration.apply(logits), recipe.choices.threshold)
    labels = []
    for label, cut in zip(info.labels, cuts, strict=True):
        value = (
            None
            if np.isnan(cut.value)
            else Cut(value=min(1.0, cut.value), rule=cut.rule, note=cut.note or None)
        )
        labels.append(label.model_copy(update={"threshold": value}))
    return info.model_copy(update={"labels": tuple(labels)})


def _calibration(recipe: Recipe, truth: NDArray[Any], logits: NDArray[np.float32]) -> Calibration:
    multiclass = recipe.task == "multiclass"
    if recipe.choices.calibration == "none":
        return Calibration.none_softmax() if multiclass else Calibration.none(logits.shape[1])
    if multiclass:
        return fit_softmax_temperature(truth, logits)
    return (fit_platt if recipe.choices.calibration == "platt" else fit_temperature)(truth, logits)


def _info(recipe: Recipe, stuff: material.Material) -> Info:
    names = recipe.data.labels or ("Lung",)
    says = recipe.bundle
    parts = {"training": stuff.train.manifest, "validation": stuff.validation.manifest}
    start = recipe.model.pretrained
    starts = start if isinstance(start, tuple) else (start,)
    return Info(
        name=recipe.name,
        version=says.version,
        title=says.title,
        task=recipe.task,
        model=Architecture(
            name=recipe.model.name,
            options={**fitted(recipe, stuff).model.options, "channels": recipe.preparation.channels},
        ),
        preparation=recipe.preparation,
        labels=tuple(_label(name) for name in names),
        group=recipe.name if recipe.task == "multiclass" else None,
        applies=says.applies,
        limits=(*_leak(stuff), *says.limits) if recipe.data.split.leaky else says.limits,
        provenance=Provenance(
            data=tuple(sorted(set(stuff.manifest.table["source"].drop_nulls()))),
            films={part: len(films) for part, films in parts.items()},
            patients={part: material.patients_in(films) for part, films in parts.items()},
            split=recipe.data.split.words,
            split_digest=stuff.split.digest,
            recipe_digest=recipe.digest,
            hilum=__version__,
            created=datetime.now(UTC).date().isoformat(),
            licence=says.licence,
            start=", ".join(Path(each).name for each in starts if each) or None,
        ),
    )


def _leak(stuff: material.Material) -> tuple[str, ...]:
    return (
        f"LEAKY ON PURPOSE: films of one patient lie on both sides ({stuff.split.choices['patients_on_two_sides']}"
        " patients). Every figure measured on this split is too good; it shows what leakage does, and nothing else.",
    )


def _label(name: str) -> Label:
    try:
        finding = find(name)
    except UnknownFindingError:  # a user's own label has no code
        return Label(name=name)
    code = None
    if finding.code is not None:
        code = Code(
            scheme=finding.code_scheme or "", value=finding.code, meaning=finding.code_meaning or finding.name
        )
    return Label(name=name, code=code, outside_lungs=finding.outside_lungs)


def _hashes(stuff: material.Material) -> NDArray[np.uint32]:
    """Patients that this bundle has learnt from or was chosen on, those of films left out by a condition not among them."""
    keys = {*material.patient_keys(stuff.train.manifest), *material.patient_keys(stuff.validation.manifest)}
    return np.unique(np.array([patient_hash(key) for key in keys], np.uint32))


def _hold_to_split(folder: Path, stuff: material.Material) -> None:
    """Write down who is on which side, or refuse to go on with other films or another split than the run began with."""
    note = folder / "split.json"
    parts = {"train": stuff.train.manifest.digest, "validation": stuff.validation.manifest.digest}
    known = {"digest": stuff.split.digest, "counts": stuff.split.counts, "films": parts}
    before = json.loads(note.read_text()) if note.is_file() else {}
    if any(before.get(name, value) != value for name, value in known.items()):
        raise _other_films(folder)
    writing.write_whole(note, json.dumps({**known, **dict(stuff.split.choices)}, indent=2))


def _other_films(folder: Path) -> RecipeError:
    return RecipeError(
        "the films, their labels or their split are not those that this run began with",
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
