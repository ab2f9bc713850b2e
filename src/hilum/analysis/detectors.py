"""The detectors of an analysis, loaded once, with the classifiers of the filter behind them."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch

from hilum.analysis.detection import Detected, Detection, detect_together, with_views
from hilum.analysis.normality import Normal, check_filter, normal, share
from hilum.analysis.report import DetectionResult, NormalResult
from hilum.bundles import Bundle, load
from hilum.errors import BundleError
from hilum.images.crop import Window
from hilum.images.radiograph import Radiograph


class Detectors:
    """Those of `bundles` that detect, in the views of `how`; `judges` are its filter's bundles, loaded for `runtime`.

    Raises BundleError where weights and detectors differ in number, or a bundle cannot be used so.
    """

    def __init__(self, bundles: Sequence[Bundle], how: Detection, runtime: str = "torch") -> None:
        self.how = how
        self.by_name = {b.info.name: with_views(b, how.views) for b in bundles if b.info.task == "detect"}
        if how.weights is not None and len(how.weights) != len(self.by_name):
            raise BundleError(
                f"{len(how.weights)} weights for {len(self.by_name)} bundles that detect",
                mend="Give one each.",
            )
        self.judges: list[Bundle] = []
        if how.filter is not None:
            self.judges = [b if isinstance(b, Bundle) else load(b, runtime) for b in how.filter.bundles]
            check_filter(self.judges, how.filter)
        for judge in self.judges:
            judge.eval()
            judge.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def find(
        self, film: Radiograph, suited: Sequence[Bundle], windows: Mapping[str, Window | None]
    ) -> tuple[Detected, DetectionResult]:
        """The boxes of those of `suited` that detect, and how they were made. `windows`: see `detect_together`."""
        names = [b.info.name for b in suited if b.info.name in self.by_name]
        how = self.how
        if how.weights is not None:  # not every built-in bundle suits every film
            weight = dict(zip(self.by_name, how.weights, strict=True))
            how = replace(how, weights=tuple(weight[name] for name in names))
        judged = normal(self.judges, film, how.filter) if how.filter is not None else None
        kept = share(judged, how.filter) if judged is not None and how.filter is not None else 1.0
        found = detect_together([self.by_name[name] for name in names], film, how, kept, windows)
        return found, _told(names, how, judged)


def told_apart(bundles: Sequence[Bundle]) -> list[Bundle]:
    """The bundles, detectors of one name but other content numbered from the second on: those of several folds are so."""
    met: dict[str, list[str]] = {}
    out = []
    for bundle in bundles:
        info = bundle.info
        digests = met.setdefault(info.name, [])
        if info.task == "detect" and digests and info.digest not in digests:
            bundle = copy.copy(bundle)
            bundle.info = info.model_copy(update={"name": f"{info.name}-{len(digests) + 1}"})
        digests.append(info.digest)
        out.append(bundle)
    return out


def _told(names: Sequence[str], how: Detection, judged: Normal | None) -> DetectionResult:
    several = len(names) > 1
    filtered = None
    if judged is not None and how.filter is not None:
        filtered = NormalResult(judged.probability, dict(judged.by), how.filter.how, how.filter.threshold)
    return DetectionResult(
        tuple(names),
        how.method if several else None,
        how.iou_threshold if several else None,
        how.weights if several else None,
        tuple((view.scale, view.flipped) for view in how.views),
        filtered,
    )
