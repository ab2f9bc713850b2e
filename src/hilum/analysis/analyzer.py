"""The Analyzer: bundles in, one Report a film out.

The order is fixed: read, quality gate, lungs, quality gate again (are these plausible lungs?), then each classification
bundle that applies: one encoder pass for probabilities, uncertainty and heatmaps together.
"""

from __future__ import annotations

import functools
import hashlib
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from hilum.analysis.explain import check_method, explained
from hilum.analysis.heatmaps import DEFAULT, Map, lung_shares
from hilum.analysis.lungs import find_lungs
from hilum.analysis.notices import mismatches, skipped, straying
from hilum.analysis.report import BoxResult, BundleUsed, FindingResult, LungsResult, Report
from hilum.analysis.uncertainty import Uncertain, film_seed, uncertainty
from hilum.bundles import Bundle, builtin_names, load
from hilum.bundles.card import interval
from hilum.bundles.detecting import detect_film
from hilum.bundles.info import Info
from hilum.errors import BundleError
from hilum.images.quality import assess
from hilum.images.radiograph import Notice, Radiograph
from hilum.images.read import read
from hilum.models import Classifier

LUNGS = "lungs"  # the built-in bundle that outlines them

HEADLINES = 2  # facts that a report cites of each evaluation: a macro AUC, a Dice

Films = str | Path | Radiograph


class Analyzer:
    """Analyses films with a set of bundles, loaded once.

    Parameters
    ----------
    bundles: names of built-in bundles, paths, or loaded bundles, which run on every film, with the built-in lungs where none
        of them segments; None takes all built-in ones, each on the films that its card says it applies to.
    samples: Monte Carlo dropout samples a film; below 2 there is no uncertainty.
    seed: of the samples; a film's numbers depend on it, the film and the bundle only.
    with_heatmaps: whether to compute heatmaps.
    runtime: what runs the bundles that are loaded here, one of `runtimes.NAMES`; all but torch need that form in the bundle
    (`export`). Lungs that nobody named run in torch, and a loaded bundle in what it was loaded for.
    heatmap_method: one of `explain.METHODS`.

    Raises BundleError where a bundle cannot be loaded or used, MissingExtraError where the runtime is not installed,
    HilumError where a bundle that classifies has no heatmaps by this method. Not to be shared between threads.
    """

    def __init__(
        self,
        bundles: Sequence[str | Path | Bundle] | None = None,
        samples: int = 30,
        seed: int = 0,
        with_heatmaps: bool = True,
        runtime: str = "torch",
        heatmap_method: str = DEFAULT,
    ) -> None:
        self.asked_for = bundles is not None
        chosen = builtin_names() if bundles is None else bundles
        loaded = [b if isinstance(b, Bundle) else load(b, runtime) for b in chosen]
        if loaded and _wants_lungs(loaded):
            loaded.append(load(LUNGS))
        _check(loaded)
        for bundle in loaded:
            bundle.eval()
            bundle.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # twice as fast on a CPU
        self.segmenters = [b for b in loaded if b.info.task == "segment"]
        self.finders = [b for b in loaded if b.info.task != "segment"]
        self.samples, self.seed = samples, seed
        self.with_heatmaps, self.heatmap_method = with_heatmaps, heatmap_method
        for bundle in self.finders if with_heatmaps else ():
            if bundle.info.task != "detect":
                check_method(bundle, heatmap_method)

    @torch.inference_mode()
    def analyze(self, film: Films) -> Report:
        """The report of one film. Raises HilumError where it cannot be read; a film that can be read but is no analysable
        chest film gives a report that says why."""
        started = time.perf_counter()
        film = film if isinstance(film, Radiograph) else read(film)
        quality = assess(film)
        lungs: LungsResult | None = None
        used: list[Bundle] = []
        if quality.analysable and self.segmenters:
            used.append(self.segmenters[0])
            lungs = segment_lungs(self.segmenters[0], film)
            quality = assess(film, lungs.right + 2 * lungs.left)
        notices = [*film.notices, *quality.notices]
        findings: list[FindingResult] = []
        boxes: list[BoxResult] = []
        if quality.analysable:
            suited, left_out = self._suited(film)
            used += suited
            notices += left_out + [n for b in used for n in mismatches(b.info, film)]
            for bundle in suited:
                if bundle.info.task == "detect":
                    boxes += detected(bundle, film)
                    continue
                found = self._classify(bundle, film, lungs)
                notices += straying(found)
                findings += found
        return Report(
            film=film,
            analysable=quality.analysable,
            reason=quality.reason,
            warnings=tuple(dict.fromkeys(notices)),
            bundles=tuple(_used(b) for b in used),
            findings=tuple(findings),
            boxes=tuple(boxes),
            lungs=lungs,
            heatmap_method=self.heatmap_method if any(f.heatmap is not None for f in findings) else None,
            seconds=time.perf_counter() - started,
        )

    def _suited(self, film: Radiograph) -> tuple[list[Bundle], list[Notice]]:
        """The bundles to run that find something, and a notice for each left out for want of an age."""
        if self.asked_for:
            return self.finders, []
        suited = [b for b in self.finders if b.info.applies.suits(film.age)]
        unknown = [
            skipped(b.info)
            for b in self.finders
            if b not in suited and b.info.applies.by_default and film.age is None
        ]
        return suited, unknown

    def _classify(self, bundle: Bundle, film: Radiograph, lungs: LungsResult | None) -> list[FindingResult]:
        model = bundle.model
        assert isinstance(model, Classifier)
        images = prepared(bundle, film)
        features, embedding = bundle.runtime.features(images)
        probabilities = bundle.probabilities(model.head(embedding))[0].double()
        if not torch.isfinite(probabilities).all():
            raise BundleError("it gave a probability that is not a number", path=bundle.info.name)
        seed = film_seed(self.seed, bundle.info.digest, film.digest or _pixel_digest(film))
        spread = uncertainty(bundle, embedding, self.samples, seed)
        maps: list[Map] = []
        if self.with_heatmaps:
            maps = explained(bundle, film, images, self.heatmap_method, (features, embedding))
        shares = lung_shares(maps, lungs.mask) if lungs is not None else []
        return _results(bundle.info, probabilities.numpy(), spread, maps, shares)


def analyze(film: Films, bundles: Sequence[str | Path | Bundle] | None = None) -> Report:
    """The report of one film, by the built-in bundles or by those given; see `Analyzer` for more films or more choices.

    Built-in bundles are loaded at the first call and kept.
    """
    return (_builtin() if bundles is None else Analyzer(bundles)).analyze(film)


@functools.cache
def _builtin() -> Analyzer:
    return Analyzer()


def detected(bundle: Bundle, film: Radiograph) -> list[BoxResult]:
    """A detector's boxes on a film that reach their class's threshold, the best first; none of a class without one."""
    found = detect_film(bundle, film)
    cuts = [label.threshold.value if label.threshold else float("nan") for label in bundle.info.labels]
    return [
        BoxResult(bundle.labels[kind], float(score), (box[0], box[1], box[2], box[3]), bundle.info.name)
        for box, score, kind in zip(found.boxes.tolist(), found.scores, found.kind, strict=True)
        if score >= cuts[kind]
    ]


def prepared(bundle: Bundle, film: Radiograph) -> Tensor:
    """The film as the bundle's model takes it, (1, channels, height, width), in the memory order that runs fastest."""
    return bundle.prepare(film).to(memory_format=torch.channels_last)


@torch.inference_mode()
def segment_lungs(bundle: Bundle, film: Radiograph) -> LungsResult:
    """The lungs of a film by a segmentation bundle, whose labels (one, or a left and a right lung) are joined."""
    logits = bundle(prepared(bundle, film))
    maps = bundle.probabilities(logits.movedim(1, -1))[0].amax(-1)
    threshold = bundle.info.labels[0].threshold
    placement = bundle.info.preparation.place((film.height, film.width))
    return find_lungs(maps.numpy(), placement, threshold.value if threshold else 0.5, bundle.info.name)


def _results(
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


def _used(bundle: Bundle) -> BundleUsed:
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


def _wants_lungs(bundles: Sequence[Bundle]) -> bool:
    """Without lungs there is no second look at whether a film is a chest, and no share of a heatmap inside them."""
    segments = any(b.info.task == "segment" for b in bundles)
    return not segments and LUNGS in builtin_names() and all(b.info.name != LUNGS for b in bundles)


def _check(bundles: Sequence[Bundle]) -> None:
    names = [b.info.name for b in bundles]
    if not bundles:
        raise BundleError(
            "there is no bundle to analyse with", mend="Name one with --bundle, or train one: hilum train"
        )
    if len(set(names)) < len(names):
        raise BundleError(f"two bundles have the same name ({', '.join(names)})", mend="Leave one out")
    segmenters = [b for b in bundles if b.info.task == "segment"]
    for bundle in segmenters:
        if not all("lung" in label.lower() for label in bundle.labels):
            raise BundleError(
                f"it segments {', '.join(bundle.labels)}; analysis uses lungs only",
                path=bundle.info.name,
                mend="Leave it out",
            )
    if len(segmenters) > 1:
        raise BundleError("two bundles segment the lungs", mend="Name one of them only")


def _pixel_digest(film: Radiograph) -> str:
    return hashlib.sha256(np.ascontiguousarray(film.pixels).tobytes()).hexdigest()
