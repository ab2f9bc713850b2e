"""What each block of features of a joined model contributes: validation AUC with the block's features set to zero."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hilum.bundles import Bundle, load
from hilum.evaluation.delong import macro_auc
from hilum.evaluation.verdict import Verdict, compare_macro_aucs
from hilum.learning.material import Material, gather, patient_keys
from hilum.learning.results import predict_store
from hilum.models.ssgan_vit import SsganVit
from hilum.studies.comparisons import Compared
from hilum.studies.jobs import Job
from hilum.studies.results import ArmResult
from hilum.studies.study import Variant
from hilum.studies.tables import Table

logger = logging.getLogger(__name__)

WHOLE = "all blocks"
SAME = 1e-6
"""Logits that differ by no more are the same."""


def table(variant: Variant, results: Sequence[ArmResult]) -> tuple[Table, Compared] | None:
    """Rows of each fold of each arm with several blocks, and the comparisons in words; None where no arm has any."""
    rows: list[dict[str, Any]] = []
    verdicts: list[Verdict] = []
    for result in results:
        for job in result.jobs:
            title = f"{variant.arms[result.arm].title}, fold {job.number}"
            found, said = _of_run(title, job)
            rows += found
            verdicts += said
    if not rows:
        return None
    notes = (
        "Validation films, which chose each model's epoch: AUCs are too good, their differences tell what a model uses. A"
        " block's features are set to zero in the trained model, the discriminator's as tokens too; nothing is trained"
        " again, so another model without the block might do as well.",
    )
    over = Compared("Blocks of features: validation macro AUC", tuple(verdicts), notes)
    return Table("Blocks of features set to zero", rows, notes), over


def _of_run(title: str, job: Job) -> tuple[list[dict[str, Any]], tuple[Verdict, ...]]:
    bundle = load(job.folder / "bundle")
    model = bundle.model
    if not isinstance(model, SsganVit) or len(model.widths) < 2:
        return [], ()
    logger.info("%s: each block of features set to zero", title)
    stuff = gather(job.recipe)
    logits = {WHOLE: _logits(bundle, stuff, ())}
    logits |= {f"without {block}": _logits(bundle, stuff, (block,)) for block in model.widths}
    truth = np.asarray(stuff.validation.truth, np.float64)
    if job.recipe.task == "multiclass":
        truth = np.where(truth[:, None] >= 0, np.eye(len(bundle.labels))[truth.astype(np.int64)], np.nan)
    patients = np.array(patient_keys(stuff.validation.manifest))
    moved = {name: float(np.abs(each - logits[WHOLE]).max()) for name, each in logits.items()}
    changed = {name: each for name, each in logits.items() if name == WHOLE or moved[name] > SAME}
    said = compare_macro_aucs(truth, changed, WHOLE, patients) if len(changed) > 1 else ()
    by_name = {verdict.second: verdict for verdict in said}
    rows = []
    for name, each in logits.items():
        row: dict[str, Any] = {
            "model": title,
            "features": name,
            "macro AUC": macro_auc(truth, each, patients, names=bundle.labels).as_dict(),
            "all blocks less this": None,
            "what that says": None,
        }
        if name in by_name:
            row["all blocks less this"] = by_name[name].difference.as_dict()
            row["what that says"] = words(by_name[name])
        elif name != WHOLE:
            row["what that says"] = "not contributing: no logit changes"
        rows.append(row)
    return rows, tuple(replace(v, first=f"{title}: {v.first}") for v in said)


def words(verdict: Verdict) -> str:
    """Of all blocks against all but one."""
    if not verdict.shown:
        return "not shown to contribute"
    return "contributes" if verdict.difference.value > 0 else "harms"


def _logits(bundle: Bundle, stuff: Material, without: tuple[str, ...]) -> NDArray[np.float32]:
    model = bundle.model
    assert isinstance(model, SsganVit)
    model.without = without
    try:
        return predict_store(bundle, stuff.store.images, stuff.validation.rows)
    finally:
        model.without = ()
