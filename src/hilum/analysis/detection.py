"""Several detectors on one film: each in its own input size, boxes back in the film's pixels, fused class by class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hilum.analysis.normality import Filter
from hilum.analysis.report import BoxResult
from hilum.boxes import METHODS, fuse, group_numbers, iou
from hilum.boxes.fuse import Method
from hilum.boxes.fusion import ConfType, Fused
from hilum.bundles import Bundle
from hilum.bundles.detecting import detect_film
from hilum.errors import BoxError, BundleError
from hilum.findings import has_side
from hilum.images.crop import Window
from hilum.images.radiograph import Radiograph
from hilum.models.contract import Detector
from hilum.models.viewed import PLAIN, View, Viewed

CONF_TYPES: tuple[ConfType, ...] = ("box_and_model_avg", "absent_model_aware_avg", "max")
"""Rules for a `wbf` box's score that never exceed the highest score that went in: a report's scores end at 1."""


@dataclass(frozen=True)
class Detection:
    """How boxes are made of a film: the views each detector sees, how detectors are fused, and the filter behind them.

    `method`, `iou_threshold`, `skip_below` and `conf_type`: of `hilum.boxes.fuse`, whose defaults these are. `weights`: one
    a detector, in their order; None: equal. With one detector nothing is fused.
    """

    method: Method = "wbf"
    iou_threshold: float = 0.55
    weights: tuple[float, ...] | None = None
    skip_below: float = 0.0
    conf_type: ConfType = "box_and_model_avg"
    views: tuple[View, ...] = PLAIN
    filter: Filter | None = None

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise BoxError(f"no method '{self.method}'", mend=f"There are: {', '.join(METHODS)}.")
        if self.conf_type not in CONF_TYPES:
            raise BoxError(
                f"no conf_type '{self.conf_type}' for reports", mend=f"There are: {', '.join(CONF_TYPES)}."
            )
        if not 0 <= self.iou_threshold < 1:
            raise BoxError(f"an IoU threshold of {self.iou_threshold:g}", mend="Give 0 to less than 1.")


@dataclass(frozen=True)
class Detected:
    """boxes: every box of the film after fusion, the best first. called: those of them that are reported. own: what each
    detector calls by itself, where there are several, one detector after the other.
    """

    boxes: tuple[BoxResult, ...]
    called: tuple[BoxResult, ...]
    own: tuple[BoxResult, ...] = ()


def detect_together(
    bundles: Sequence[Bundle],
    film: Radiograph,
    how: Detection | None = None,
    share: float = 1.0,
    windows: Mapping[str, Window | None] | None = None,
) -> Detected:
    """Boxes of one or more detectors on a film, in its pixels.

    Classes are matched by name. A class that several bundles know is fused over those alone, as boxes of `fusion of A, B`;
    a class that one of them knows keeps that bundle's boxes. A box is called where a box that went into it, or gave way to
    it, reaches its own bundle's threshold of the class; soft-NMS asks after the called boxes have lowered each other's
    scores. None is where there is no threshold.
    `share`: what all scores are multiplied by in the end, before that is decided (`normality.share`); at 0 none is left.
    `windows`: what each bundle sees of the film, by its name, where that is known. Views are the bundles' own: `with_views`.
    """
    how = how or Detection()
    if how.weights is not None and len(how.weights) != len(bundles):
        raise BoxError(
            f"{len(how.weights)} weights for {len(bundles)} detectors", mend="Give one a detector."
        )
    rows = _Rows.of(bundles, film, windows or {})
    own = tuple(rows.result(i) for i in rows.order() if rows.scores[i] >= rows.cut[i]) if bundles[1:] else ()
    if share <= 0:
        return Detected((), (), own)
    found: list[tuple[BoxResult, bool]] = []
    for members, kinds in _shared(bundles):
        here = np.flatnonzero(np.isin(rows.name, kinds) & (rows.scores >= how.skip_below))
        found += rows.alone(here, share) if len(members) == 1 else rows.fused(here, members, how, share)
    found.sort(key=lambda each: -each[0].score)
    return Detected(tuple(box for box, _ in found), tuple(box for box, called in found if called), own)


def with_views(bundle: Bundle, views: Sequence[View]) -> Bundle:
    """The detector as one that sees every film in these views. BundleError for classes with a side
    where one is mirrored, and for a bundle that runs in another form than torch."""
    if tuple(views) == PLAIN:
        return bundle
    sided = [name for name in bundle.labels if has_side(name)]
    if sided and any(view.flipped for view in views):
        mend = "Leave the mirrored view out."
        raise BundleError(
            f"a mirrored view would mistake its class '{sided[0]}'", path=bundle.info.name, mend=mend
        )
    if not isinstance(bundle.model, Detector):
        raise BundleError("it gives no boxes", path=bundle.info.name, mend="Give a bundle that detects.")
    if bundle.runtime.name != "torch":
        raise BundleError(
            f"its form {bundle.runtime.name} takes films of one size, and no other views",
            path=bundle.info.name,
            mend="Run it in torch, or leave the views out.",
        )
    return Bundle(bundle.info, Viewed(bundle.model, views), bundle.patients, bundle.recipe, bundle.exported)


def fusion_name(bundles: Sequence[Bundle]) -> str:
    """What fused boxes are under in a report; no bundle can be called so."""
    return f"fusion of {', '.join(bundle.info.name for bundle in bundles)}"


def _shared(bundles: Sequence[Bundle]) -> list[tuple[tuple[int, ...], list[str]]]:
    """The classes by the numbers of the bundles that know them."""
    known: dict[tuple[int, ...], list[str]] = {}
    for name in dict.fromkeys(name for bundle in bundles for name in bundle.labels):
        members = tuple(i for i, bundle in enumerate(bundles) if name in bundle.labels)
        known.setdefault(members, []).append(name)
    return list(known.items())


@dataclass(frozen=True, eq=False)
class _Rows:
    """Boxes of all bundles: corners (n, 4), scores, number of the bundle, name of the class, threshold (NaN: none), (n,)."""

    bundles: Sequence[Bundle]
    boxes: NDArray[np.float64]
    scores: NDArray[np.float64]
    bundle: NDArray[np.int64]
    name: NDArray[Any]
    cut: NDArray[np.float64]

    @classmethod
    def of(cls, bundles: Sequence[Bundle], film: Radiograph, windows: Mapping[str, Window | None]) -> _Rows:
        found = [
            detect_film(bundle, film, number, windows.get(bundle.info.name))
            for number, bundle in enumerate(bundles)
        ]
        cuts, names = [], []
        for bundle, each in zip(bundles, found, strict=True):
            labels = bundle.info.labels
            own = np.array([label.threshold.value if label.threshold else np.nan for label in labels])
            cuts.append(own[each.kind])
            names.append(np.array(bundle.labels)[each.kind])
        return cls(
            bundles,
            np.concatenate([each.boxes for each in found]),
            np.concatenate([each.scores for each in found]),
            np.concatenate([each.film for each in found]),
            np.concatenate(names),
            np.concatenate(cuts),
        )

    def order(self) -> NDArray[np.int64]:
        """Bundle after bundle, the best first."""
        return np.lexsort((-self.scores, self.bundle))

    def result(self, row: int, share: float = 1.0) -> BoxResult:
        return _result(
            self.name[row],
            share * self.scores[row],
            self.boxes[row],
            self.bundles[self.bundle[row]].info.name,
        )

    def alone(self, rows: NDArray[np.int64], share: float) -> list[tuple[BoxResult, bool]]:
        return [(self.result(i, share), bool(share * self.scores[i] >= self.cut[i])) for i in rows]

    def fused(
        self, rows: NDArray[np.int64], members: tuple[int, ...], how: Detection, share: float
    ) -> list[tuple[BoxResult, bool]]:
        number = np.searchsorted(members, self.bundle[rows])
        given = None if how.weights is None else np.array([how.weights[i] for i in members], np.float64)
        averaged = how.method in ("wbf", "nmw")
        if given is None and averaged:
            given = np.ones(len(members))  # a detector without any box is one too
        made = self._made(rows, number, given, how)
        best = rows[made.row]
        counts = self.scores[rows] * (1.0 if given is None else given[number])
        called = np.zeros(len(best), np.bool_)
        # The box that counts most need not be one that its own bundle calls: weights and thresholds differ.
        for i in self._calling(rows, number, given, how, share):
            if made.into[i] >= 0:
                called[made.into[i]] = True
                continue
            # It gave way, to one of its class that counts as much or more; that which it overlaps most stands for it.
            ahead = np.flatnonzero((self.name[best] == self.name[rows[i]]) & (counts[made.row] >= counts[i]))
            if len(ahead):
                called[ahead[iou(self.boxes[[rows[i]]], made.boxes[ahead])[0].argmax()]] = True
        under = fusion_name([self.bundles[i] for i in members])
        return [
            (_result(self.name[row], share * score, box, under, int(seen), len(members)), bool(call))
            for row, score, box, seen, call in zip(
                best, made.scores, made.boxes, made.models_in, called, strict=True
            )
        ]

    def _made(
        self,
        rows: NDArray[np.int64],
        number: NDArray[np.int64],
        weights: NDArray[np.float64] | None,
        how: Detection,
    ) -> Fused:
        return fuse(
            self.boxes[rows],
            self.scores[rows],
            number,
            group_numbers(np.zeros(len(rows), np.int64), self.name[rows]),
            method=how.method,
            iou_threshold=how.iou_threshold,
            weights=weights,
            conf_type=how.conf_type,
        )

    def _calling(
        self,
        rows: NDArray[np.int64],
        number: NDArray[np.int64],
        weights: NDArray[np.float64] | None,
        how: Detection,
        share: float,
    ) -> NDArray[np.int64]:
        """The places in `rows` of boxes that reach their own bundle's threshold.

        With soft-NMS they still must when they have lowered each other's scores; a box that is not called lowers none here,
        for it would take a called one off and not be called itself.
        """
        calls = np.flatnonzero(share * self.scores[rows] >= self.cut[rows])
        if not how.method.startswith("soft-nms"):
            return calls
        made = self._made(rows[calls], number[calls], weights, how)
        left = calls[made.row]
        weight = 1.0 if weights is None else (weights / weights.sum())[number[left]]
        return np.asarray(left[share * made.scores / weight >= self.cut[rows[left]]])


def _result(
    name: Any, score: float, box: NDArray[np.float64], bundle: str, seen_by: int = 1, known_by: int = 1
) -> BoxResult:
    x1, y1, x2, y2 = (float(edge) for edge in box)
    return BoxResult(str(name), float(score), (x1, y1, x2, y2), bundle, seen_by, known_by)
