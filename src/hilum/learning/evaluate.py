"""The one door to test data, and to anyone's own films: measure a bundle on films it has not seen."""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.stats import poisson

from hilum.bundles import Bundle, load, save
from hilum.bundles.card import measured
from hilum.bundles.encoding import refuse_encoder
from hilum.bundles.files import locate
from hilum.datasets.manifest import Manifest
from hilum.datasets.split import Split
from hilum.datasets.synthetic import refuse_synthetic
from hilum.errors import ManifestError, SplitError
from hilum.learning.detections import measure_detector
from hilum.learning.generation import measure_generator, read_prepared
from hilum.learning.material import patient_keys, where
from hilum.learning.predicting import boxes_of, logits_of, overlaps_of
from hilum.learning.recipe_data import LEAKY
from hilum.learning.results import measure_classifier, measure_segmenter
from hilum.learning.targets import truth_of
from hilum.learning.writing import named, write_whole

logger = logging.getLogger(__name__)

DONE = "evaluation.json"
LEAKY_NOTE = (
    "LEAKY: films of one patient lie on both sides of this split, on purpose. These figures are too good, and show what"
    " leakage does."
)


def evaluate(
    bundle: str | Path | Bundle,
    manifest: Manifest | str | Path,
    out: str | Path,
    split: str | None = None,
    where_sql: str | None = None,
    name: str | None = None,
    record: bool = False,
    features: str | Path | Bundle = "findings",
) -> dict[str, Any]:
    """Measure `bundle` on the films of `manifest` and write metrics, plots, predictions and `evaluation.json` to `out`.

    `evaluation.json` is written last: where it is, the rest is whole. WriteError names a file that cannot be written.

    Only labels that the manifest knows are measured; films whose labels are all unknown are left out. Films that cannot
    be read are left out and named in the result. `features`: the bundle by whose features a generator's films are compared
    with real ones (`learning.generation`). `record`: keep the result in the bundle (given by its path) and its card.

    Raises SplitError where films belong to patients that the bundle was trained or chosen on. Of a bundle whose split
    leaks on purpose (`leaky_holdout`) the test part of its own run's manifest is measured, and the result says LEAKY.
    """
    loaded = bundle if isinstance(bundle, Bundle) else load(bundle)
    refuse_encoder(loaded.info)
    films = everything = manifest if isinstance(manifest, Manifest) else Manifest.load(manifest)
    leaky = split == "test" and _is_leaky_split_of(loaded, films)
    films = films if split is None else films.filter(split=split)
    films = where(films, where_sql, "where")
    if not len(films):
        raise ManifestError("no film is left to evaluate on", mend="Change --split or --where")
    refuse_synthetic(films)
    films = films if leaky else strangers(loaded, films)
    out = Path(out)
    with named(out):
        out.mkdir(parents=True, exist_ok=True)
        (out / DONE).unlink(missing_ok=True)
    whole: list[str] = []  # films that a bundle which goes by the lungs saw whole, for want of lungs
    if loaded.info.task == "segment":
        films, scores, failures = overlaps_of(loaded, films)
        result = measure_segmenter(scores, films, out, unit="pixels of the film")
    elif loaded.info.task == "detect":
        films, boxes, failures, whole = boxes_of(loaded, films)
        result = measure_detector(boxes, loaded.labels, films, out, unit="pixels of the film")
    elif loaded.info.task == "generate":
        films, real, failures = read_prepared(loaded, films)
        result = measure_generator(
            loaded, films, real, known_labels(loaded, films), everything, out, features
        )
    else:
        films = labelled(loaded, films)
        films, logits, failures, whole = logits_of(loaded, films)
        result = measure_classifier(loaded, logits, np.asarray(known_labels(loaded, films)), films, out)
    title = name or (Path(manifest).stem if not isinstance(manifest, Manifest) else "evaluation")
    result = _described(result, films, failures, split, where_sql)
    if loaded.info.preparation.by_lungs is not None:
        square = (
            "the square around the lungs"
            if loaded.info.preparation.focus is not None
            else "films hidden far from the lungs"
        )
        seen = f"The model saw {square}; films without any found, which it saw whole: {len(whole)}."
        result = {**result, "note": f"{result['note']} {seen}", "seen_whole": whole}
    if leaky:
        logger.warning("%s", LEAKY_NOTE)
        result["note"] = f"{LEAKY_NOTE} {result['note']}"
    content = {"name": title, "bundle": loaded.info.digest, "manifest": films.digest, **result}
    write_whole(out / "evaluation.md", f"# {loaded.info.title}: {title}\n\n{measured(result)}\n")
    write_whole(out / DONE, json.dumps(content, indent=1, allow_nan=False) + "\n")
    if record:
        _record(loaded, bundle, title, result)
    return result


def _is_leaky_split_of(bundle: Bundle, films: Manifest) -> bool:
    """These films and their parts are the very ones of the bundle's run, whose split leaks on purpose."""
    made = bundle.info.provenance
    if not made.split.startswith(LEAKY):
        return False
    table = films.table.filter(pl.col("split").is_not_null())
    return Split(dict(table.select("image_id", "split").iter_rows())).digest == made.split_digest


def strangers(bundle: Bundle, films: Manifest) -> Manifest:
    """The films, all of them of patients that the bundle was neither trained nor chosen on; else SplitError.

    A bundle knows its patients by 32-bit hashes. Matches no more than chance explains, which only sets of very many
    patients have, are left out instead.
    """
    keys = patient_keys(films)
    known = set(bundle.trained_on(sorted(set(keys))))
    taken = pl.Series([key in known for key in keys], dtype=pl.Boolean)
    by_chance = len(set(keys)) * len(bundle.patients) / 2**32
    if len(known) > poisson.ppf(0.999, by_chance):
        raise SplitError(
            f"{taken.sum()} of these {len(films)} films belong to patients that '{bundle.info.name}' was trained or"
            f" chosen on, such as {min(known)}",
            mend="Evaluate on other patients, such as --split test",
        )
    if known:
        logger.warning("%d films that may be of patients in training are left out", taken.sum())
    return films.filter(~taken)


def _described(
    result: dict[str, Any], films: Manifest, failures: list[str], split: str | None, condition: str | None
) -> dict[str, Any]:
    said = [f"Evaluated on {datetime.now(UTC).date().isoformat()}, manifest SHA-256 `{films.digest[:16]}`"]
    said += [f"part: {split}"] if split else []
    said += [f"where: {condition}"] if condition else []
    said += [f"{len(failures)} films could not be read: {'; '.join(failures[:3])}"] if failures else []
    return {**result, "note": f"{result['note']} {', '.join(said)}.", "unreadable": failures}


def known_labels(bundle: Bundle, films: Manifest) -> NDArray[Any]:
    """Labels in the bundle's order; a label that the films do not have is unknown."""
    if bundle.info.task == "multiclass":
        return np.asarray(truth_of(films, "multiclass", tuple(bundle.labels)))
    names, values = films.labels()
    out = np.full((len(films), len(bundle.labels)), np.nan, np.float32)
    for column, label in enumerate(bundle.labels):
        if label in names:
            out[:, column] = values[:, names.index(label)]
    return out


def labelled(bundle: Bundle, films: Manifest) -> Manifest:
    truth = known_labels(bundle, films)
    known = truth >= 0 if truth.ndim == 1 else ~np.isnan(truth).all(1)
    if not known.any():
        raise ManifestError(
            "none of these films has a label that the bundle gives",
            mend=f"It gives: {', '.join(bundle.labels)}",
        )
    if not known.all():
        logger.warning(
            "%d of %d films have no label that the bundle gives and are left out", (~known).sum(), len(films)
        )
    return films.filter(pl.Series(known))


def _record(loaded: Bundle, given: str | Path | Bundle, title: str, result: dict[str, Any]) -> None:
    if isinstance(given, Bundle):
        raise ManifestError("a bundle in memory has no place to record in", mend="Give the bundle's path")
    loaded.info = loaded.info.model_copy(update={"metrics": {**loaded.info.metrics, title: result}})
    logger.info("recorded %r in %s", title, save(loaded, locate(given)))
