"""What bundles make of films when parts of them are covered, and where their heat lies: one pass over the films.

Each film is read once and its lungs are found once, whatever the number of bundles. What comes out are arrays and scores, a
row a film, which `hilum.evaluation.covers`, `probe` and `saliency` turn into numbers with intervals.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from torch import Tensor

from hilum.analysis.analyzer import segment_lungs
from hilum.analysis.explain import evidence
from hilum.analysis.heatmaps import DEFAULT, Map, Method, on_film
from hilum.bundles import Bundle
from hilum.bundles.encoding import refuse_encoder
from hilum.bundles.focus import window_of
from hilum.bundles.generating import refuse_generator
from hilum.datasets.manifest import Manifest
from hilum.datasets.preparing import IGNORE, canonical_mask, read_mask
from hilum.errors import BundleError, HilumError, ManifestError, ReadError, named_fault
from hilum.evaluation.saliency import Score, energy, pointing
from hilum.images.covers import COVERS, cover, hidden
from hilum.images.markers import letters
from hilum.images.placement import Placement
from hilum.images.quality import NO_LUNGS
from hilum.images.radiograph import Radiograph
from hilum.images.read import read
from hilum.models import Classifier
from hilum.progress import tracked

logger = logging.getLogger(__name__)

NONE = "none"
"""The name under which logits of the whole film stand."""
SEEN = (NONE, *COVERS)
BATCH = 30  # images a forward pass: a multiple of what one film gives
LONGEST = 192  # pixels of the longer side on which heat is scored: maps hold 7 to 20 true points a side
NEAR = 15 * LONGEST / 512  # the pointing game's 15 pixels, of a film with 512


@dataclass(frozen=True, eq=False)
class Examination:
    """One bundle on n films; every row is a film of `films`, in its order.

    Attributes
    ----------
    name, labels: of the bundle.
    films: those that could be read and whose lungs were found. failures: the others, each with why.
    logits: for each of `SEEN` (n, labels). probabilities: the same, calibrated, float64.
    embedding: (n, features) of the whole film.
    energy, pointing: a tuple of one `Score` a label for each film: heat of the whole film's map inside the lungs.
    lung_area: (n,) share of the film that the lungs cover: what an even map would score.
    letters: (n,) how many letters were found on the film, outside the chest.
    letter_area: (n,) share of the film that their boxes cover.
    """

    name: str
    labels: tuple[str, ...]
    films: Manifest
    failures: tuple[str, ...]
    logits: dict[str, NDArray[np.float32]]
    probabilities: dict[str, NDArray[np.float64]]
    embedding: NDArray[np.float32]
    energy: tuple[tuple[Score, ...], ...]
    pointing: tuple[tuple[Score, ...], ...]
    lung_area: NDArray[np.float64]
    letters: NDArray[np.int64]
    letter_area: NDArray[np.float64]


def examine(
    bundles: Sequence[Bundle],
    films: Manifest,
    segmenter: Bundle,
    *,
    method: Method = DEFAULT,
    human_masks: bool = False,
) -> list[Examination]:
    """Each classification bundle on the same films, whole and under every cover of `images.covers`.

    Parameters
    ----------
    segmenter: a bundle that outlines the lungs.
    method: of the heatmaps, see `analysis.heatmaps`.
    human_masks: take the manifest's own mask of a film where it has one, which must then be of its lungs.

    Films that cannot be read, or on which no lungs are found, are left out and named. Raises BundleError where a bundle does
    not classify or the segmenter does not segment, ReadError where no film is left.
    """
    check(bundles, segmenter)
    works = [_Work(bundle, method) for bundle in bundles]
    common: list[tuple[float, int, float]] = []
    failures: list[str] = []
    good: list[bool] = []
    with torch.inference_mode():
        for row, path in enumerate(tracked(films.paths(), "covering and reading")):
            try:
                film = read(path)
                lungs, ignore = _lungs(film, films, row, segmenter, human_masks)
                views = [film.pixels, *(cover(film.pixels, hidden(what, lungs | ignore)) for what in COVERS)]
            except HilumError as error:
                failures.append(named_fault(films.image_ids[row], error))
                good.append(False)
                continue
            good.append(True)
            common.append((float(lungs.mean()), *_letters(film.pixels, lungs)))
            for work in works:
                work.add(views, lungs, ignore)
        if not common:
            raise ReadError(f"none of the {len(films)} films could be examined; the first: {failures[0]}")
        for work in works:
            work.finish()
    kept = films.filter(pl.Series(good, dtype=pl.Boolean))
    return [work.result(kept, tuple(failures), common) for work in works]


def embed(bundle: Bundle, films: Manifest) -> tuple[Manifest, NDArray[np.float32]]:
    """The films that can be read, and their embeddings (n, features)."""
    found: list[NDArray[np.float32]] = []
    waiting: list[Tensor] = []
    good: list[bool] = []

    def infer() -> None:
        images = torch.cat(waiting).contiguous(memory_format=torch.channels_last)
        found.append(bundle.runtime.features(images)[1].float().numpy())
        waiting.clear()

    with torch.inference_mode():
        for image_id, path in zip(films.image_ids, tracked(films.paths(), "embedding"), strict=True):
            try:
                waiting.append(bundle.prepare(read(path)))
                good.append(True)
            except HilumError as error:
                logger.warning("left out: %s", named_fault(image_id, error))
                good.append(False)
            if len(waiting) == BATCH:
                infer()
        if waiting:
            infer()
    kept = films.filter(pl.Series(good, dtype=pl.Boolean))
    return kept, np.concatenate(found) if found else np.zeros((0, 0), np.float32)


def check(bundles: Sequence[Bundle], segmenter: Bundle) -> None:
    """Raises BundleError where a bundle does not classify, or the segmenter does not segment."""
    for bundle in bundles:
        refuse_generator(bundle.info, "Give a bundle that classifies")
        refuse_encoder(bundle.info)
        if bundle.info.task == "segment" or not isinstance(bundle.model, Classifier):
            raise BundleError(
                "it segments: there are no findings to ask shortcuts of",
                path=bundle.info.name,
                mend="Give a bundle that classifies. Masks are measured by: hilum evaluate",
            )
    if segmenter.info.task != "segment":
        raise BundleError(
            "it does not outline lungs", path=segmenter.info.name, mend="Give a segmentation bundle."
        )


@dataclass(eq=False)
class _Work:
    """One bundle's share of the pass: images wait for a full batch."""

    bundle: Bundle
    method: Method
    waiting: list[Tensor] = field(default_factory=list)
    places: list[tuple[Placement, NDArray[np.bool_], NDArray[np.bool_]]] = field(default_factory=list)
    logits: list[NDArray[np.float32]] = field(default_factory=list)
    embedding: list[NDArray[np.float32]] = field(default_factory=list)
    energy: list[tuple[Score, ...]] = field(default_factory=list)
    pointing: list[tuple[Score, ...]] = field(default_factory=list)

    def add(self, views: Sequence[Map], lungs: NDArray[np.bool_], ignore: NDArray[np.bool_]) -> None:
        window = window_of(self.bundle, Radiograph(views[0]))  # of the whole film: no cover moves it
        self.waiting += [self.bundle.prepare(Radiograph(view), window) for view in views]
        self.places.append((self.bundle.info.preparation.place(lungs.shape, window), lungs, ignore))
        if len(self.waiting) >= BATCH:
            self.finish()

    def finish(self) -> None:
        if not self.waiting:
            return
        model = self.bundle.model
        assert isinstance(model, Classifier)
        images = torch.cat(self.waiting).contiguous(memory_format=torch.channels_last)
        features, embedding = self.bundle.runtime.features(images)
        logits = model.head(embedding).float().numpy().reshape(len(self.places), len(SEEN), -1)
        self.logits.append(logits)
        for number, (place, lungs, ignore) in enumerate(self.places):
            row = slice(number * len(SEEN), number * len(SEEN) + 1)
            self.embedding.append(embedding[row].float().numpy())
            maps = on_film(evidence(self.bundle, features[row], embedding[row], self.method), place)
            self._score(maps, lungs, ignore)
        self.waiting.clear()
        self.places.clear()

    def _score(self, maps: Sequence[Map], lungs: NDArray[np.bool_], ignore: NDArray[np.bool_]) -> None:
        share = min(1.0, LONGEST / max(maps[0].shape))
        size = max(1, round(maps[0].shape[1] * share)), max(1, round(maps[0].shape[0] * share))
        small = [cv2.resize(heat, size, interpolation=cv2.INTER_AREA) for heat in maps]
        inside, away = (
            cv2.resize(mask.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST) > 0
            for mask in (lungs, ignore)
        )
        self.energy.append(tuple(energy(heat, inside, away) for heat in small))
        self.pointing.append(tuple(pointing(heat, inside, away, tolerance=NEAR) for heat in small))

    def result(
        self, films: Manifest, failures: tuple[str, ...], common: Sequence[tuple[float, int, float]]
    ) -> Examination:
        stacked = np.concatenate(self.logits)
        logits = {what: stacked[:, i] for i, what in enumerate(SEEN)}
        area, count, covered = (np.array(column) for column in zip(*common, strict=True))
        return Examination(
            name=self.bundle.info.name,
            labels=tuple(self.bundle.labels),
            films=films,
            failures=failures,
            logits=logits,
            probabilities={
                what: self.bundle.probabilities(torch.from_numpy(values)).double().numpy()
                for what, values in logits.items()
            },
            embedding=np.concatenate(self.embedding),
            energy=tuple(self.energy),
            pointing=tuple(self.pointing),
            lung_area=area,
            letters=count.astype(np.int64),
            letter_area=covered,
        )


def _lungs(
    film: Radiograph, films: Manifest, row: int, segmenter: Bundle, human_masks: bool
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """The lungs (h, w), and where it is not known whether there is lung."""
    size, table = (film.height, film.width), films.table
    given = table["mask"][row] if human_masks and "mask" in table.columns else None
    if given is None:
        found = segment_lungs(segmenter, film)
        if found.area_share < NO_LUNGS:
            raise ReadError("no lungs were found on this film")
        return found.mask > 0, np.zeros(size, bool)
    value, ignore = (table[c][row] if c in table.columns else None for c in ("mask_value", "mask_ignore"))
    mask = canonical_mask(read_mask(films.absolute(given), size), value, ignore)
    if (mask == IGNORE).all():
        raise ManifestError("every pixel of its mask is ignored")
    if not (mask == 1).any():
        raise ManifestError("its mask is empty")
    return mask == 1, mask == IGNORE


def _letters(pixels: NDArray[np.float32], lungs: NDArray[np.bool_]) -> tuple[int, float]:
    boxes = letters(pixels, lungs)
    area = float(((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])).sum())
    return len(boxes), area / pixels.size
