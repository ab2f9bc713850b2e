"""The arms on a small device: of each arm's first run its size, one core's time a film, and what other forms lose."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from hilum.bundles import load, verify
from hilum.bundles.bundle import WEIGHTS
from hilum.bundles.export import export
from hilum.bundles.info import Form
from hilum.bundles.speed import latencies, one_film, size_on_disk
from hilum.datasets.manifest import Manifest
from hilum.errors import HilumError
from hilum.evaluation.delong import compare_macro_auc
from hilum.evaluation.mcnemar import mcnemar
from hilum.studies.jobs import Job
from hilum.studies.results import HELD_OUT, ArmResult, measure_bundle, read
from hilum.studies.study import Study, Variant
from hilum.studies.tables import Table

FORMS: tuple[Form, ...] = ("onnx", "int8")
RUNTIMES = ("torch", *FORMS)
NOTES = (
    "Each arm's first run. ONNX is float32; INT8 took its ranges from training films. Time is that of one film at the"
    " model's size on one core, the median of rounds in which all arms and forms took turns. What is lost is torch's figure"
    " minus the form's, on the films that the run held out: negative where the form did better.",
)


def small_devices(
    study: Study, variant: Variant, results: Sequence[ArmResult]
) -> tuple[Table | None, tuple[str, ...]]:
    """The table, None where no arm can be exported, and the faults of arms that cannot."""
    places, faults = {}, []
    for result in results:
        try:
            places[result.arm] = _exported(result.jobs[0])
        except HilumError as error:
            faults.append(f"{result.arm}, for small devices: {error}")
    times = _latencies(places)
    rows = [
        {
            "arm": variant.arms[result.arm].title,
            "form": form,
            "MB": f"{size_on_disk(places[result.arm], form) / 1e6:.1f}",
            "ms a film, one core": f"{times[result.arm, form]:.1f}",
            **_lost(study, result.jobs[0], places[result.arm], form),
        }
        for result in results
        if result.arm in places
        for form in RUNTIMES
    ]
    return (Table("On a small device", rows, NOTES) if rows else None), tuple(faults)


def _exported(job: Job) -> Path:
    """The run's bundle with every form beside its weights; what was made before of these weights is kept."""
    place, source = job.folder / "small", job.folder / "bundle"
    if place.is_dir():
        made = verify(place)
        if set(FORMS) <= set(made.exports) and made.files[WEIGHTS] == verify(source).files[WEIGHTS]:
            return place
    films = Manifest.load(job.folder / "manifest.parquet").filter(split="train").paths()
    for form in FORMS:
        source = export(source, form, place, films)
    return place


def _lost(study: Study, job: Job, place: Path, form: str) -> dict[str, Any]:
    if form == "torch":
        return {"macro AUC lost": None, **({"accuracy lost": None} if study.metric == "accuracy" else {})}
    base = read(job.folder / HELD_OUT / "predictions.parquet")
    other = read(measure_bundle(study, job, place, f"test-{form}", runtime=form))
    auc = compare_macro_auc(base.truth, base.probability, other.probability, base.patients).difference
    cells: dict[str, Any] = {"macro AUC lost": auc.as_dict()}
    if study.metric == "accuracy":
        cells["accuracy lost"] = mcnemar(base.right, other.right, base.patients).difference.as_dict()
    return cells


def _latencies(places: dict[str, Path]) -> dict[tuple[str, str], float]:
    """Median milliseconds by arm and form."""
    keys = [(arm, form) for arm in places for form in RUNTIMES]
    if not keys:
        return {}
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        found = latencies(
            {f"{arm} {form}": one_film(load(places[arm], form, threads=1)) for arm, form in keys}
        )
    finally:
        torch.set_num_threads(threads)
    return {(arm, form): found[f"{arm} {form}"] for arm, form in keys}
