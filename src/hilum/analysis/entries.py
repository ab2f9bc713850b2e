"""What a report says of one bundle: its findings, and the bundle as it is cited."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hilum.analysis.heatmaps import Map
from hilum.analysis.report import BundleUsed, FindingResult
from hilum.analysis.uncertainty import Uncertain
from hilum.bundles import Bundle
from hilum.bundles.card import interval
from hilum.bundles.info import Info

HEADLINES = 2  # facts that a report cites of each evaluation: a macro AUC, a Dice


def findings_of(
    info: Info,
    probabilities: np.ndarray,
    spread: Uncertain,
    maps: Sequence[Map],
    shares: Sequence[float | None],
) -> list[FindingResult]:
    """The findings of one bundle; `maps` and `shares` are empty where there are none."""
    best = int(probabilities.argmax())
    results = []
    for i, label in enumerate(info.labels):
        threshold = label.threshold.value if label.threshold and info.group is None else None
        above = threshold is not None and bool(probabilities[i] >= threshold)
        results.append(
            FindingResult(
                name=label.name,
                code=label.code.model_dump() if label.code else None,
                bundle=info.name,
                group=info.group,
                probability=float(probabilities[i]),
                std=float(spread.std[i]) if spread.std is not None else None,
                interval=(float(spread.interval[i, 0]), float(spread.interval[i, 1]))
                if spread.interval is not None
                else None,
                method=spread.method,
                threshold=threshold,
                positive=above if info.group is None else i == best,
                outside_lungs=label.outside_lungs,
                heatmap=maps[i] if maps else None,
                lung_share=shares[i] if shares else None,
            )
        )
    return results


def bundle_used(bundle: Bundle) -> BundleUsed:
    """The bundle as the report cites it: `measured` holds the first facts of each evaluation, ready to print."""
    info = bundle.info
    measured = {
        f"{fact}, {name}" if len(info.metrics) > 1 else fact: interval(value)
        if isinstance(value, dict)
        else str(value)
        for name, result in info.metrics.items()
        for fact, value in list(result.get("facts", {}).items())[:HEADLINES]
    }
    return BundleUsed(
        info.name,
        info.version,
        info.digest,
        info.title,
        info.limits,
        info.provenance.licence,
        measured,
        bundle.runtime.name,
    )
