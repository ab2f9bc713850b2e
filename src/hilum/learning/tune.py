"""The fastest runtime of a bundle on this machine that changes no number of a report by more than a tolerance.

Each form that can be made is made, run beside torch on the same films, and recorded in the bundle, chosen or not: how long
a film takes, the largest change of a reported number, and AUC, Dice and calibration error where the films' truth is known.
INT8 takes its ranges from other films than those it is measured on, and test films take no part: what chooses must not
judge.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hilum.bundles import Bundle, load, save, verify
from hilum.bundles.bundle import patient_hash
from hilum.bundles.export import export
from hilum.bundles.files import builtin_folder, locate
from hilum.bundles.info import WEIGHTS, Form, Info, Ran, Tuning
from hilum.bundles.machine import TORCH, machine, versions
from hilum.bundles.runtimes import FORMS, ON_GPU
from hilum.bundles.speed import latencies, one_film
from hilum.datasets.manifest import Manifest
from hilum.datasets.preparing import IGNORE, canonical_mask, read_mask
from hilum.errors import BundleError, HilumError, ManifestError, named_fault
from hilum.evaluation.overlap import dice
from hilum.evaluation.ranking import auc
from hilum.evaluation.reliability import expected_calibration_error
from hilum.images.read import read
from hilum.learning.evaluate import known_labels
from hilum.learning.material import patient_keys

logger = logging.getLogger(__name__)

TOLERANCE = 0.01  # of a reported number
MOST = 200  # films to measure on
ROUNDS = 20  # of the clock

Films = Manifest | Sequence[Path]


@dataclass(frozen=True, eq=False)
class Measuring:
    """Films as the model takes them, each (1, channels, h, w), and what is known of them.

    `truth`: (n, labels) of 0, 1 and NaN, or None. `masks`: of each film (h, w) on the prepared grid, 1 lung, `IGNORE`
    unknown; or None.
    """

    inputs: list[Tensor]
    truth: NDArray[Any] | None = None
    masks: list[NDArray[np.uint8]] | None = None


def tune(
    bundle: str | Path,
    films: Films,
    out: str | Path | None = None,
    tolerance: float = TOLERANCE,
    most: int = MOST,
    rounds: int = ROUNDS,
) -> Info:
    """Choose what runs `bundle` on this machine and write it, with that form and all that was measured, to `out` (None:
    where it lies). What it returns is the written bundle's `bundle.json`; `load(..., "tuned")` and analysis go by it.

    `films`: a manifest, split (its training part gives INT8 its ranges, its validation part is measured) or not, or files.
    Those not split are halved, a manifest's by patient. `most`: films to measure on, evenly spread. `rounds`: of the clock.

    Raises BundleError where the bundle cannot be run or written, ManifestError where there are no films to measure on.
    """
    place = locate(bundle)
    target = Path(out) if out is not None else place
    if target.resolve().is_relative_to(builtin_folder().resolve()):
        raise BundleError(
            "a built-in bundle stays as it ships", path=target, mend="Name another place: --out DIR"
        )
    loaded = load(place)
    if loaded.info.task not in ("multilabel", "multiclass", "segment", "detect"):
        raise BundleError(f"there is nothing to tune: its task is {loaded.info.task!r}", path=place)
    ranges, rest = _parted(films)
    seen = _seen(loaded, rest, most)
    ran, forms = _run_all(loaded, place, ranges, seen, tolerance, rounds)
    chosen = min(
        (name for name, r in ran.items() if r.refused is None), key=lambda name: ran[name].milliseconds or 0
    )
    kept = forms[FORMS.get(chosen, chosen)]
    tuning = Tuning(
        chosen=chosen,
        weights=loaded.info.files[WEIGHTS],
        films=len(seen.inputs),
        threads=torch.get_num_threads(),
        tolerance=tolerance,
        versions=versions(),
        runtimes=ran,
    )
    info = kept.info.model_copy(update={"tuned": {**loaded.info.tuned, machine(): tuning}})
    save(Bundle(info, kept.model, kept.patients, kept.recipe, kept.exported), target)
    return verify(target)


def _run_all(
    loaded: Bundle, place: Path, ranges: Sequence[Path], seen: Measuring, tolerance: float, rounds: int
) -> tuple[dict[str, Ran], dict[str, Bundle]]:
    """What every runtime did, and the bundle with each form that could be made: torch's is the bundle, at `place`."""
    ran = {TORCH: Ran()}
    forms, places = {TORCH: loaded}, {TORCH: place}
    work: dict[str, Callable[[], object]] = {TORCH: one_film(loaded)}
    reference, masks = _numbers(loaded, seen.inputs)
    ran[TORCH] = _judged(loaded, reference, masks, reference, seen, tolerance)
    with tempfile.TemporaryDirectory() as folder:
        for name in (*get_args(Form), *ON_GPU):
            form: Any = FORMS.get(name, name)
            try:
                if form not in forms:
                    places[form] = Path(folder) / form
                    export(loaded, form, places[form], ranges)
                    forms[form] = load(places[form])
                running = load(places[form], name)
                numbers, masks = _numbers(running, seen.inputs)
                work[name] = one_film(running)
            except HilumError as error:
                ran[name] = Ran(refused=error.fault)
                continue
            ran[name] = _judged(running, numbers, masks, reference, seen, tolerance)
    taken = latencies(work, rounds)
    return {
        name: r.model_copy(update={"milliseconds": taken[name]}) if name in taken else r
        for name, r in ran.items()
    }, forms


@torch.inference_mode()
def _numbers(bundle: Bundle, inputs: Sequence[Tensor]) -> tuple[NDArray[np.float64], list[NDArray[np.bool_]]]:
    """What a report would say of each film (n, numbers), and a segmenter's masks on the prepared grid."""
    rows: list[NDArray[np.float64]] = []
    masks: list[NDArray[np.bool_]] = []
    for images in inputs:
        images = images.to(memory_format=torch.channels_last)
        if bundle.info.task == "detect":
            rows.append(bundle.runtime.boxes(images)[1][0].amax(0).double().numpy())
        elif bundle.info.task == "segment":
            maps = bundle.probabilities(bundle(images).movedim(1, -1))[0].amax(-1).numpy()
            threshold = bundle.info.labels[0].threshold
            masks.append(maps >= (threshold.value if threshold else 0.5))
            rows.append(np.array([masks[-1].mean()]))
        else:
            rows.append(bundle.probabilities(bundle(images))[0].double().numpy())
    return np.stack(rows), masks


def _judged(
    bundle: Bundle,
    numbers: NDArray[np.float64],
    masks: list[NDArray[np.bool_]],
    reference: NDArray[np.float64],
    seen: Measuring,
    tolerance: float,
) -> Ran:
    change = float(np.abs(numbers - reference).max())
    measured: dict[str, float | None] = {}
    if seen.truth is not None:
        measured["auc"] = _mean(auc(seen.truth, numbers))
        measured["calibration_error"] = _mean(expected_calibration_error(seen.truth, numbers))
    if seen.masks is not None:
        scores = [dice(t == 1, m, ignore=t == IGNORE) for t, m in zip(seen.masks, masks, strict=True)]
        measured["dice"] = _mean(np.array(scores))
    refused = None
    if not change <= tolerance:  # a number that is none refuses too
        refused = f"it changes a reported number by {change:.2g}, more than {tolerance:g}"
    return Ran(change=change, refused=refused, **measured)


def _parted(films: Films) -> tuple[list[Path], Films]:
    """Films to take ranges from, and others to measure on."""
    if not isinstance(films, Manifest):
        return list(films[::2]), list(films[1::2])
    if "split" in films.table.columns and films.table["split"].is_not_null().any():
        return films.filter(split="train").paths(), films.filter(split="validation")
    import polars as pl

    first = pl.Series([int(patient_hash(key)) % 2 == 0 for key in patient_keys(films)], dtype=pl.Boolean)
    return films.filter(first).paths(), films.filter(~first)


def _seen(bundle: Bundle, films: Films, most: int) -> Measuring:
    """At most `most` of the films that can be read, evenly spread."""
    spread = np.linspace(0, len(films) - 1, most) if len(films) else np.zeros(0)
    rows = np.unique(spread.round().astype(np.int64))
    paths = films.paths() if isinstance(films, Manifest) else films
    masked = isinstance(films, Manifest) and bundle.info.task == "segment" and "mask" in films.table.columns
    inputs, masks, good = [], [], []
    for row in rows:
        try:
            film = read(paths[row])
            inputs.append(bundle.prepare(film))
        except HilumError as error:
            logger.warning("left out: %s", named_fault(str(paths[row]), error))
            continue
        good.append(int(row))
        if masked:
            masks.append(_mask(bundle, films, int(row), film.size))  # type: ignore[arg-type]
    if not inputs:
        raise ManifestError(
            "there are no films to measure on",
            mend="Give films, or a manifest with a validation part: hilum data split",
        )
    truth = None
    if isinstance(films, Manifest) and bundle.info.task in ("multilabel", "multiclass"):
        truth = _columns(np.asarray(known_labels(bundle, films)), len(bundle.labels))[good]
        truth = None if np.isnan(truth).all() else truth
    return Measuring(inputs, truth, masks if masked else None)


def _columns(truth: NDArray[Any], labels: int) -> NDArray[Any]:
    """Class numbers (n,), -1 unknown, as columns of 0 and 1; columns as they are."""
    if truth.ndim == 2:
        return truth
    columns = (truth[:, None] == np.arange(labels)).astype(np.float64)
    columns[truth < 0] = np.nan
    return columns


def _mask(bundle: Bundle, films: Manifest, row: int, size: tuple[int, int]) -> NDArray[np.uint8]:
    """The film's own mask on the prepared grid; nothing is known of a film without one."""
    table = films.table
    if table["mask"][row] is None:
        return np.full(bundle.info.preparation.size, IGNORE, np.uint8)
    value, ignore = (table[c][row] if c in table.columns else None for c in ("mask_value", "mask_ignore"))
    whole = canonical_mask(read_mask(films.absolute(table["mask"][row]), size), value, ignore)
    return bundle.info.preparation.mask(whole)


def _mean(values: NDArray[np.floating]) -> float | None:
    """The mean of what is known; None where nothing is."""
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else None
