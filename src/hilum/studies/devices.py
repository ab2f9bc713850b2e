"""The arms on a small device: of each arm's first run its size, one core's time a film, and what other forms lose."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hilum.bundles import load, verify
from hilum.bundles.bundle import WEIGHTS
from hilum.bundles.export import export
from hilum.bundles.info import Form
from hilum.bundles.speed import latencies, one_film, size_on_disk
from hilum.datasets.manifest import Manifest
from hilum.errors import BundleError, HilumError
from hilum.evaluation.delong import compare_macro_auc
from hilum.evaluation.mcnemar import mcnemar
from hilum.learning.writing import write_whole
from hilum.studies.jobs import Job
from hilum.studies.machine import processor
from hilum.studies.results import HELD_OUT, PREDICTIONS, ArmResult, aligned, cuts_of, measure_bundle, read
from hilum.studies.study import Study, Variant
from hilum.studies.tables import Table

logger = logging.getLogger(__name__)

FORMS: tuple[Form, ...] = ("onnx", "int8")
RUNTIMES = ("torch", *FORMS)
NOTES = (
    "Each arm's first run. ONNX is float32; INT8 took its ranges from training films. Time is that of one film at the"
    " model's size on one core, the median of rounds in which all arms and forms took turns. What is lost is torch's figure"
    " minus the form's, on the films that the run held out: negative where the form did better. Accuracy is the share of"
    " calls that are right: of films where classes exclude each other, else of findings on films, at the bundle's"
    " thresholds.",
)


def small_devices(
    study: Study, variant: Variant, results: Sequence[ArmResult], place: Path
) -> tuple[Table | None, tuple[str, ...]]:
    """The table, None where no arm can be exported, and the faults of arms that cannot. `place`: where times are kept."""
    places, lost, faults = {}, {}, []
    for result in results:
        job = result.jobs[0]
        try:
            found = _exported(job)
            lost[result.arm] = {form: _lost(study, job, found, form) for form in RUNTIMES}
            places[result.arm] = found
        except HilumError as error:
            faults.append(f"{result.arm}: {error}")
    times = _latencies(places, place / "latencies.json")
    rows = [
        {
            "arm": variant.arms[arm].title,
            "form": form,
            "MB": f"{size_on_disk(found, form) / 1e6:.1f}",
            "ms a film, one core": f"{times[arm, form]:.1f}",
            **lost[arm][form],
        }
        for arm, found in places.items()
        for form in RUNTIMES
    ]
    return (Table("On a small device", rows, NOTES) if rows else None), tuple(faults)


def _exported(job: Job) -> Path:
    """The run's bundle with every form beside its weights; what was made before of these weights is kept."""
    place, source = job.folder / "small", job.folder / "bundle"
    try:
        made = verify(place) if place.is_dir() else None
    except BundleError as error:
        logger.warning("%s It is made anew.", error)
        shutil.rmtree(place)
        made = None
    if made and set(FORMS) <= set(made.exports) and made.files[WEIGHTS] == verify(source).files[WEIGHTS]:
        return place
    films = Manifest.load(job.folder / "manifest.parquet").filter(split="train").paths()
    for form in FORMS:
        source = export(source, form, place, films)
    return place


def _lost(study: Study, job: Job, place: Path, form: str) -> dict[str, Any]:
    if form == "torch":
        return {"macro AUC lost": None, "accuracy lost": None}
    cuts = cuts_of(job)
    measured = measure_bundle(study, job, place, f"test-{form}", runtime=form)
    base, other = aligned([read(job.folder / HELD_OUT / PREDICTIONS, cuts), read(measured, cuts)])
    auc = compare_macro_auc(base.truth, base.probability, other.probability, base.patients).difference
    known = ~np.isnan(base.errors)
    patients = np.repeat(base.patients, known.sum(1))
    one, two = (p.errors[known] == 0 for p in (base, other))
    accuracy = mcnemar(one, two, patients).difference.as_dict() if known.any() else None
    return {"macro AUC lost": auc.as_dict(), "accuracy lost": accuracy}


def _latencies(places: dict[str, Path], kept: Path) -> dict[tuple[str, str], float]:
    """Median milliseconds by arm and form; those of the same bundles on the same processor are taken from `kept`."""
    keys = [(arm, form) for arm in places for form in RUNTIMES]
    if not keys:
        return {}
    of = {"processor": processor(), "bundles": {arm: verify(place).digest for arm, place in places.items()}}
    try:
        before = json.loads(kept.read_text())
    except (FileNotFoundError, ValueError):
        before = {}
    if before.get("of") != of:
        before = {"of": of, "milliseconds": _measured(places, keys)}
        write_whole(kept, json.dumps(before, indent=1) + "\n")
    return {(arm, form): before["milliseconds"][f"{arm} {form}"] for arm, form in keys}


def _measured(places: dict[str, Path], keys: Sequence[tuple[str, str]]) -> dict[str, float]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return latencies(
            {f"{arm} {form}": one_film(load(places[arm], form, threads=1)) for arm, form in keys}
        )
    finally:
        torch.set_num_threads(threads)
