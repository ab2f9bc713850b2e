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

from hilum.analysis.detection import Detected, Detection
from hilum.analysis.detectors import Detectors, told_apart
from hilum.analysis.entries import bundle_used, findings_of
from hilum.analysis.explain import check_method, explained
from hilum.analysis.heatmaps import DEFAULT, Map, lung_shares
from hilum.analysis.notices import mismatches, skipped, straying, unfocused
from hilum.analysis.report import DetectionResult, FindingResult, LungsResult, Report
from hilum.analysis.uncertainty import film_seed, uncertainty
from hilum.bundles import Bundle, builtin_names, load
from hilum.bundles.encoding import refuse_encoder
from hilum.bundles.focus import Known, is_segmenter, segmenter, window_of
from hilum.bundles.generating import refuse_generator
from hilum.bundles.lungs import check_segmenter, outline
from hilum.bundles.runtimes import TUNED
from hilum.errors import BundleError
from hilum.images.crop import Window
from hilum.images.quality import assess
from hilum.images.radiograph import Notice, Radiograph
from hilum.images.read import read
from hilum.models import Classifier

LUNGS = "lungs"  # the built-in bundle that outlines them

ENOUGH = 2  # times a model's input: half of that moves probabilities twice as far (docs/speed.md)

Films = str | Path | Radiograph


class Analyzer:
    """Analyses films with a set of bundles, loaded once.

    Parameters
    ----------
    bundles: names of built-in bundles, paths, or loaded bundles, which run on every film, with the built-in lungs where none
        of them segments; None takes all built-in ones, each on the films that its card says it applies to. Detectors of one
        name, such as those of several folds, are numbered from the second on.
    samples: Monte Carlo dropout samples a film; below 2 there is no uncertainty.
    seed: of the samples; a film's numbers depend on it, the film and the bundle only.
    with_heatmaps: whether to compute heatmaps.
    runtime: what runs the bundles that are loaded here, one of `runtimes.CHOICES`: what each was tuned to on this machine,
        torch where it was not; or one for all of them, which all but torch need in that form (`export`). Lungs that nobody
        named run in torch, and a loaded bundle in what it was loaded for.
    heatmap_method: one of `explain.METHODS`.
    detection: how boxes are made, see `Detection`. Where several bundles detect, their boxes are fused, and each one's own
    are kept beside.
    whole: decode every film whole. Otherwise films given by path are decoded at the resolution that is needed, twice what
        the largest input of a bundle has (`needed`; docs/speed.md says what that changes); a film that is already decoded
        is taken as it is.

    Raises BundleError where a bundle cannot be loaded or used, MissingExtraError where the runtime is not installed,
    HilumError where a bundle that classifies has no heatmaps by this method. Not to be shared between threads.
    """

    def __init__(
        self,
        bundles: Sequence[str | Path | Bundle] | None = None,
        samples: int = 30,
        seed: int = 0,
        with_heatmaps: bool = True,
        runtime: str = TUNED,
        heatmap_method: str = DEFAULT,
        detection: Detection | None = None,
        whole: bool = False,
    ) -> None:
        self.asked_for = bundles is not None
        chosen = builtin_names() if bundles is None else bundles
        loaded = told_apart([b if isinstance(b, Bundle) else load(b, runtime) for b in chosen])
        if loaded and _wants_lungs(loaded):
            loaded.append(load(LUNGS))
        for bundle in loaded:
            refuse_generator(bundle.info)
        _check(loaded)
        for bundle in loaded:
            bundle.eval()
            bundle.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # twice as fast on a CPU
        self.segmenters = [b for b in loaded if b.info.task == "segment"]
        self.finders = [b for b in loaded if b.info.task != "segment"]
        self.detectors = Detectors(self.finders, detection or Detection(), runtime)
        self.least = None if whole else needed(loaded)
        self.samples, self.seed = samples, seed
        self.with_heatmaps, self.heatmap_method = with_heatmaps, heatmap_method
        for bundle in self.finders:
            step = bundle.info.preparation.by_lungs
            if step is not None and not any(is_segmenter(own, step) for own in self.segmenters):
                segmenter(step)  # refused now, not at the first film
        for bundle in self.finders if with_heatmaps else ():
            if bundle.info.task != "detect":
                check_method(bundle, heatmap_method)

    @torch.inference_mode()
    def analyze(self, film: Films) -> Report:
        """The report of one film. Raises HilumError where it cannot be read; a film that can be read but is no analysable
        chest film gives a report that says why."""
        started = time.perf_counter()
        film = film if isinstance(film, Radiograph) else read(film, self.least)
        quality = assess(film)
        lungs: LungsResult | None = None
        known: Known | None = None
        used: list[Bundle] = []
        if quality.analysable and self.segmenters:
            used.append(self.segmenters[0])
            lungs = segment_lungs(self.segmenters[0], film)
            known = self.segmenters[0], lungs.mask
            quality = assess(film, lungs.right + 2 * lungs.left, quality)
        notices = [*film.notices, *quality.notices]
        findings: list[FindingResult] = []
        boxes = Detected((), ())
        detection: DetectionResult | None = None
        if quality.analysable:
            suited, left_out = self._suited(film)
            used += suited
            windows = {b.info.name: window_of(b, film, known) for b in suited}
            notices += left_out
            for each in used:
                notices += [
                    *mismatches(each.info, film, windows.get(each.info.name)),
                    *unfocused(each.info, windows.get(each.info.name)),
                ]
            for bundle in suited:
                window = windows[bundle.info.name]
                if bundle.info.task == "detect":
                    continue
                found = self._classify(bundle, film, lungs, window)
                notices += straying(found)
                findings += found
            if any(b.info.task == "detect" for b in suited):
                boxes, detection = self.detectors.find(film, suited, windows)
                used += [judge for judge in self.detectors.judges if judge.info.name not in _names(used)]
        return Report(
            film=film,
            analysable=quality.analysable,
            reason=quality.reason,
            warnings=tuple(dict.fromkeys(notices)),
            bundles=tuple(bundle_used(b) for b in used),
            findings=tuple(findings),
            boxes=boxes.called,
            own_boxes=boxes.own,
            all_boxes=boxes.boxes,
            detection=detection,
            lungs=lungs,
            heatmap_method=self.heatmap_method if any(f.heatmap is not None for f in findings) else None,
            seconds=time.perf_counter() - started,
            decoded=None if film.whole is None else (film.height, film.width),
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

    def _classify(
        self, bundle: Bundle, film: Radiograph, lungs: LungsResult | None, window: Window | None
    ) -> list[FindingResult]:
        model = bundle.model
        assert isinstance(model, Classifier)
        images = prepared(bundle, film, window)
        features, embedding = bundle.runtime.features(images)
        probabilities = bundle.probabilities(model.head(embedding))[0].double()
        if not torch.isfinite(probabilities).all():
            raise BundleError("it gave a probability that is not a number", path=bundle.info.name)
        seed = film_seed(self.seed, bundle.info.digest, film.digest or _pixel_digest(film))
        spread = uncertainty(bundle, embedding, self.samples, seed)
        maps: list[Map] = []
        if self.with_heatmaps:
            place = bundle.info.preparation.place((film.height, film.width), window)
            maps = explained(bundle, place, images, self.heatmap_method, (features, embedding))
        shares = lung_shares(maps, lungs.mask) if lungs is not None else []
        return findings_of(bundle.info, probabilities.numpy(), spread, maps, shares)


def analyze(film: Films, bundles: Sequence[str | Path | Bundle] | None = None) -> Report:
    """The report of one film, by the built-in bundles or by those given; see `Analyzer` for more films or more choices.

    Built-in bundles are loaded at the first call and kept.
    """
    return (_builtin() if bundles is None else Analyzer(bundles)).analyze(film)


@functools.cache
def _builtin() -> Analyzer:
    return Analyzer()


def needed(bundles: Sequence[Bundle]) -> int | None:
    """Pixels of a film's shorter side that are enough for all of these bundles; None where one wants the whole film.

    One does that cuts it by its lungs, or hides text and what lies outside the body, for these are found on the film's own
    pixels; and one that detects, whose boxes are held to the pixel.
    """
    steps = [bundle.info.preparation for bundle in bundles]
    finely = any(s.by_lungs is not None or s.masking is not None for s in steps)
    if finely or any(bundle.info.task == "detect" for bundle in bundles):
        return None
    return ENOUGH * max(max(s.size) for s in steps)


def prepared(bundle: Bundle, film: Radiograph, window: Window | None = None) -> Tensor:
    """The film as the bundle's model takes it, (1, channels, height, width), in the memory order that runs fastest.

    `window`: as `Bundle.prepare` has it.
    """
    return bundle.prepare(film, window).to(memory_format=torch.channels_last)


def segment_lungs(bundle: Bundle, film: Radiograph) -> LungsResult:
    """The lungs of a film by a segmentation bundle, whose labels (one, or a left and a right lung) are joined."""
    outlines = outline(bundle, film)
    found = outlines.on((film.height, film.width))
    return LungsResult(found.mask, found.left, found.right, found.area_share, bundle.info.name, outlines)


def _wants_lungs(bundles: Sequence[Bundle]) -> bool:
    """Without lungs there is no second look at whether a film is a chest, and no share of a heatmap inside them."""
    segments = any(b.info.task == "segment" for b in bundles)
    return not segments and LUNGS in builtin_names() and all(b.info.name != LUNGS for b in bundles)


def _names(bundles: Sequence[Bundle]) -> list[str]:
    return [bundle.info.name for bundle in bundles]


def _check(bundles: Sequence[Bundle]) -> None:
    names = _names(bundles)
    if not bundles:
        raise BundleError(
            "there is no bundle to analyse with", mend="Name one with --bundle, or train one: hilum train"
        )
    for bundle in bundles:
        refuse_encoder(bundle.info)
    if len(set(names)) < len(names):
        raise BundleError(f"two bundles have the same name ({', '.join(names)})", mend="Leave one out")
    segmenters = [b for b in bundles if b.info.task == "segment"]
    for bundle in segmenters:
        check_segmenter(bundle)
    if len(segmenters) > 1:
        raise BundleError("two bundles segment the lungs", mend="Name one of them only")


def _pixel_digest(film: Radiograph) -> str:
    return hashlib.sha256(np.ascontiguousarray(film.pixels).tobytes()).hexdigest()
