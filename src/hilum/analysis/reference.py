"""What a bundle's scores and its films' grey values are like on films that are known, as an analysis gives them."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from hilum.analysis.analyzer import Analyzer
from hilum.bundles import Bundle
from hilum.bundles.reference import Distribution, Reference
from hilum.errors import BundleError, HilumError, ManifestError
from hilum.images.grey_facts import grey_facts
from hilum.progress import tracked

logger = logging.getLogger(__name__)

FEWEST = 50  # films; of fewer, deciles say nothing


def reference_of(bundle: Bundle, films: Sequence[Path], note: str, samples: int = 30) -> Reference:
    """The distributions on `films`, each analysed as a clinic's worker does it, with `samples` of Monte Carlo dropout.

    Films that cannot be read or analysed are named in the log and left out. Raises BundleError for a bundle without
    probabilities, ManifestError where fewer than 50 films are left.
    """
    if bundle.info.task not in ("multilabel", "multiclass"):
        raise BundleError(f"a bundle that does {bundle.info.task} gives no probabilities to compare")
    analyzer = Analyzer([bundle], samples, with_heatmaps=False)
    scores: dict[str, list[float]] = {name: [] for name in bundle.labels}
    pixels: dict[str, list[float]] = {}
    for path in tracked(films, "analysed"):
        try:
            report = analyzer.analyze(path)
        except HilumError as error:
            logger.warning("left out: %s", error)
            continue
        if not report.findings:
            logger.warning("left out: %s: %s", path, report.reason)
            continue
        for finding in report.findings:
            scores[finding.name].append(finding.probability)
        for name, value in grey_facts(report.film).items():
            pixels.setdefault(name, []).append(value)
    count = len(scores[bundle.labels[0]])
    if count < FEWEST:
        raise ManifestError(f"only {count} films could be analysed", mend=f"Give {FEWEST} or more.")
    parts = ({name: Distribution.of(values) for name, values in part.items()} for part in (scores, pixels))
    of_scores, of_pixels = parts
    return Reference(note=note, films=count, scores=of_scores, pixels=of_pixels)
