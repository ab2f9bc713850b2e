"""What a run ends in: calibration and thresholds chosen on validation films, what was measured there, and the bundle."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from hilum import __version__
from hilum.bundles import Bundle
from hilum.bundles.bundle import as_written, patient_hash
from hilum.bundles.info import Architecture, Code, Cut, Info, Label, Provenance, Scaling
from hilum.datasets.preparing import IGNORE
from hilum.evaluation.calibration import Calibration, fit_platt, fit_softmax_temperature, fit_temperature
from hilum.evaluation.detection_range import best_f1
from hilum.evaluation.overlap import overlap_scores
from hilum.evaluation.thresholds import choose_thresholds
from hilum.findings import UnknownFindingError, find
from hilum.learning import material
from hilum.learning.building import fitted
from hilum.learning.concluding_generator import as_generator, conclude_generator
from hilum.learning.detections import detect_store, measure_detector
from hilum.learning.embeddings import measure_encoder
from hilum.learning.pretexts.options import PretextLoss
from hilum.learning.recipe import Recipe
from hilum.learning.results import measure_classifier, measure_segmenter, predict_store
from hilum.models import Classifier, Encoder, Model


def conclude(recipe: Recipe, model: Model, stuff: material.Material, folder: Path) -> Bundle:
    """Calibration and thresholds chosen on validation films, what was measured there, and the bundle."""
    if recipe.data.auxiliary:
        model = without_auxiliary(model, recipe)
    bundle = Bundle(_info(recipe, stuff), model, _hashes(stuff), recipe.portable().as_yaml().encode())
    # What is chosen here must hold for the weights in the file, which are of 16 bit.
    bundle.model = as_written(bundle)
    rows = stuff.validation.rows
    if recipe.task == "generate":
        return conclude_generator(as_generator(bundle, recipe.data.labels, stuff), stuff, folder, recipe.seed)
    if recipe.task == "detect":
        return _conclude_detector(bundle, recipe, stuff, folder)
    if isinstance(bundle.model, Encoder):
        result = measure_encoder(bundle.model, recipe, stuff, folder / "validation")
        bundle.info = bundle.info.model_copy(update={"metrics": {"validation (chose the epoch)": result}})
        return bundle
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
    result = measure_detector(boxes, bundle.labels, part.manifest, folder / "validation", unit=_unit(recipe))
    name = f"validation (chose {_choices(recipe)})"
    bundle.info = bundle.info.model_copy(update={"labels": tuple(labels), "metrics": {name: result}})
    return bundle


def _unit(recipe: Recipe) -> str:
    if recipe.preparation.focus is None:
        return "prepared pixels"
    return "prepared pixels of the square around the lungs, boxes outside it not counted"


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
    names = () if recipe.task == "pretrain" else recipe.data.labels or ("Lung",)
    says = recipe.bundle
    parts = {"training": stuff.train.manifest, "validation": stuff.validation.manifest}
    start = recipe.model.pretrained
    starts = start if isinstance(start, tuple) else (start,)
    return Info(
        name=recipe.name,
        version=says.version,
        title=says.title,
        task="encode" if recipe.task == "pretrain" else recipe.task,
        model=Architecture(
            name=recipe.model.name,
            options={**fitted(recipe, stuff).model.options, "channels": recipe.preparation.channels},
        ),
        preparation=recipe.portable().preparation,  # a segmenter by no absolute path
        labels=tuple(_label(name) for name in names),
        group=recipe.name if recipe.task == "multiclass" else None,
        applies=says.applies,
        limits=(*(_leak(stuff) if recipe.data.split.leaky else ()), *_pretexts(recipe, stuff), *says.limits),
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


def _pretexts(recipe: Recipe, stuff: material.Material) -> tuple[str, ...]:
    """What an encoder's card begins with."""
    if not isinstance(recipe.loss, PretextLoss):
        return ()
    chose = (
        "a linear probe for labels of validation films"
        if recipe.data.labels
        else "the same on validation films"
    )
    return (
        "It finds nothing by itself: it gives embeddings, from which classifiers start.",
        f"Learnt from {len(stuff.train.manifest)} films, without any of their labels, by the pretexts {recipe.loss.words};"
        f" the epoch was chosen by {chose}.",
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
