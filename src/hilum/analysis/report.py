"""The Report: what an analysis found in one film, in the shape of the published JSON schema (`report.schema.json`)."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hilum import __version__
from hilum.bundles.card import RESEARCH_USE
from hilum.errors import ReadError
from hilum.images.radiograph import Notice, Radiograph
from hilum.images.read import read

if TYPE_CHECKING:  # what draws a report needs no torch
    from hilum.bundles.lungs import Outline

LOW_LUNG_SHARE = (
    0.25  # about what lungs take of a film, so what heat spread evenly would have; docs/decisions.md
)
NOTHING_FOUND = ("Normal", "No Finding")
ORGANS = ("right lung", "left lung", "lung")
"""Boxes of these, in any case of letters, say where something lies, and nothing of disease."""


@dataclass(frozen=True)
class FindingResult:
    """One output of one bundle for one film.

    `probability`: calibrated, 0 to 1, of the bundle without dropout (`uncertainty` says why). `std`, `interval` (95 %): from
    `method` (`none`, `mc_dropout`, `ensemble`, `mc_dropout+ensemble`); None where the method is `none`. `threshold`: None
    within a `group` of mutually exclusive classes, where `positive` marks the most probable one. `heatmap`: float32 (h, w),
    0 to 1, over the film's whole extent at a few hundred pixels (`heatmaps.heatmap_on_film` enlarges it), or None.
    `lung_share`: share of the heatmap's energy inside the lungs; None where there are no lungs or the heatmap is empty.
    """

    name: str
    code: dict[str, str] | None
    bundle: str
    group: str | None
    probability: float
    std: float | None
    interval: tuple[float, float] | None
    method: str
    threshold: float | None
    positive: bool
    outside_lungs: bool = False
    heatmap: NDArray[np.float32] | None = field(default=None, repr=False, compare=False)
    lung_share: float | None = None

    @property
    def empty(self) -> bool:
        """Has it a heatmap without heat: no place that speaks for the finding by itself?"""
        return self.heatmap is not None and not self.heatmap.any()

    @property
    def strays(self) -> bool:
        """Was it called positive on heat that lies outside the lungs, where the finding cannot be?"""
        return (
            self.positive
            and self.lung_share is not None
            and self.lung_share < LOW_LUNG_SHARE
            and not self.outside_lungs
            and self.name not in NOTHING_FOUND
        )


@dataclass(frozen=True)
class LungsResult:
    """Lung masks on the film's own grid, uint8 (height, width) 0 or 1, as the reader sees the film upright:
    `right` is the person's right lung (the film's left). `area_share`: lungs as a share of the film. `outline`: what they
    were laid on the film from."""

    mask: NDArray[np.uint8] = field(repr=False, compare=False)
    left: NDArray[np.uint8] = field(repr=False, compare=False)
    right: NDArray[np.uint8] = field(repr=False, compare=False)
    area_share: float
    bundle: str
    outline: Outline | None = field(default=None, repr=False, compare=False)

    def on(self, size: tuple[int, int]) -> LungsResult:
        """The same on a grid of (height, width); `area_share` stays what was reported."""
        assert self.outline is not None
        found = self.outline.on(size)
        return replace(self, mask=found.mask, left=found.left, right=found.right)


@dataclass(frozen=True)
class BoxResult:
    """A box (x1, y1, x2, y2) in the film's pixels with its score, 0 to 1. `bundle`: a detector's name, or `fusion of A, B`;
    then `seen_by` says how many detectors have a box in it, of the `known_by` that know its class."""

    name: str
    score: float
    box: tuple[float, float, float, float]
    bundle: str
    seen_by: int = 1
    known_by: int = 1


@dataclass(frozen=True)
class NormalResult:
    """What classifiers as a filter say: `probability` that the film is normal, the mean of `by` (a number a bundle). `how`:
    `hard` drops all boxes where it reaches `threshold`, `soft` multiplies their scores by one minus it."""

    probability: float
    by: dict[str, float]
    how: str
    threshold: float

    @property
    def dropped(self) -> bool:
        """Were all boxes of the film dropped?"""
        return self.how == "hard" and self.probability >= self.threshold


@dataclass(frozen=True)
class DetectionResult:
    """How the boxes of a film were made. `method` and `iou_threshold`: None with one detector, whose boxes are not fused.
    `weights`: one a detector. `views`: (scale, mirrored) of the film as each detector saw it."""

    bundles: tuple[str, ...]
    method: str | None
    iou_threshold: float | None
    weights: tuple[float, ...] | None
    views: tuple[tuple[float, bool], ...]
    normal: NormalResult | None = None


@dataclass(frozen=True)
class BundleUsed:
    """Which bundle gave results, what its card warns of, and what ran it."""

    name: str
    version: str
    digest: str
    title: str
    limits: tuple[str, ...]
    licence: str
    measured: dict[str, str] = field(default_factory=dict)
    runtime: str = "torch"


@dataclass(frozen=True)
class Report:
    """What was found in one film. `reason` says why a film was not analysable; then there are no findings. `heatmap_method`:
    one of `explain.METHODS`, None where there are no heatmaps. `boxes`: those that are called, fused where several bundles
    detect; `own_boxes`: what each of several detectors calls by itself; `all_boxes`: those below their threshold too, for
    tables, which no page shows. `film`: as it was analysed; `in_full` has the whole one. `decoded`: (height, width) at which
    it was decoded, where that is less than all of it."""

    film: Radiograph
    analysable: bool
    reason: str | None
    warnings: tuple[Notice, ...] = ()
    bundles: tuple[BundleUsed, ...] = ()
    findings: tuple[FindingResult, ...] = ()
    lungs: LungsResult | None = None
    boxes: tuple[BoxResult, ...] = ()
    seconds: float = 0.0
    heatmap_method: str | None = None
    detection: DetectionResult | None = None
    own_boxes: tuple[BoxResult, ...] = ()
    decoded: tuple[int, int] | None = None
    all_boxes: tuple[BoxResult, ...] = field(default=(), repr=False)

    def _repr_html_(self) -> str:
        """The report's page, in a notebook."""
        from hilum.analysis.render import notebook_html

        return notebook_html(self)

    def in_full(self) -> Report:
        """The same results with the whole film, for pictures: one that was decoded at less is read again from its file.

        Raises HilumError where that cannot be read whole, or is no longer what was analysed.
        """
        if self.film.whole is None:
            return self
        assert self.film.path is not None
        film = read(self.film.path)
        if film.digest != self.film.digest:
            raise ReadError("it was changed while it was analysed", path=film.path, mend="Analyse it again.")
        lungs = self.lungs.on(film.size) if self.lungs is not None else None
        return replace(self, film=film, lungs=lungs)

    def as_dict(self, files: dict[str, str] | None = None) -> dict[str, Any]:
        """The report as JSON-able data. `files`: names of pictures written beside it, by `heatmap:<bundle>:<finding>`,
        `lungs:mask`, `lungs:left`, `lungs:right`, `overlay`."""
        files = files or {}
        return {
            "source": _source(self.film)
            | {"decoded": None if self.decoded is None else list(self.decoded[::-1])},
            "analysable": self.analysable,
            "reason": self.reason,
            "warnings": [{"code": w.code, "text": w.text} for w in self.warnings],
            "version": __version__,
            "research_use": RESEARCH_USE,
            "seconds": round(self.seconds, 4),
            "bundles": [
                {"name": b.name, "version": b.version, "digest": b.digest, "title": b.title, "licence": b.licence,
                 "limits": list(b.limits), "runtime": b.runtime}
                for b in self.bundles
            ],
            "heatmap_method": self.heatmap_method,
            "findings": [_finding(f, files) for f in self.findings],
            "lungs": None
            if self.lungs is None
            else {
                "mask": files.get("lungs:mask"),
                "left": files.get("lungs:left"),
                "right": files.get("lungs:right"),
                "area_share": self.lungs.area_share,
                "bundle": self.lungs.bundle,
            },
            "boxes": [_box(b) for b in self.boxes],
            "own_boxes": [_box(b) for b in self.own_boxes],
            "detection": _detection(self.detection),
            "overlay": files.get("overlay"),
        }  # fmt: skip


def _source(film: Radiograph) -> dict[str, Any]:
    path: Path | None = film.path
    return {
        "path": str(path) if path is not None else None,
        "sha256": film.digest,
        "format": film.format,
        "width": film.size[1],
        "height": film.size[0],
        "bits": film.bits,
        "view": film.view,
        "sex": film.sex,
        "age": film.age,
        "spacing": list(film.spacing) if film.spacing else None,
        "headers": dict(film.headers),
    }


def _box(b: BoxResult) -> dict[str, Any]:
    return {
        "name": b.name,
        "score": b.score,
        "box": list(b.box),
        "bundle": b.bundle,
        "seen_by": b.seen_by,
        "known_by": b.known_by,
    }


def _detection(found: DetectionResult | None) -> dict[str, Any] | None:
    if found is None:
        return None
    normal = found.normal
    return {
        "bundles": list(found.bundles),
        "method": found.method,
        "iou_threshold": found.iou_threshold,
        "weights": list(found.weights) if found.weights else None,
        "views": [{"scale": scale, "flipped": flipped} for scale, flipped in found.views],
        "normal": None
        if normal is None
        else {
            "probability": normal.probability,
            "by": dict(normal.by),
            "how": normal.how,
            "threshold": normal.threshold,
            "dropped": normal.dropped,
        },
    }


def _finding(f: FindingResult, files: dict[str, str]) -> dict[str, Any]:
    return {
        "name": f.name,
        "code": f.code,
        "bundle": f.bundle,
        "group": f.group,
        "probability": f.probability,
        "std": f.std,
        "interval": list(f.interval) if f.interval else None,
        "method": f.method,
        "threshold": f.threshold,
        "positive": f.positive,
        "heatmap": files.get(f"heatmap:{f.bundle}:{f.name}"),
        "lung_share": f.lung_share,
    }
