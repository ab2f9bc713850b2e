"""A bundle that detects, on prepared films and on films as they are."""

from __future__ import annotations

import torch

from hilum.boxes import Selected, clip, select
from hilum.bundles.bundle import Bundle
from hilum.errors import BundleError
from hilum.images.radiograph import Radiograph
from hilum.models.contract import Detector


def detect(bundle: Bundle, prepared: torch.Tensor, first: int = 0) -> Selected:
    """Boxes on prepared images (n, channels, h, w), in their pixels, films numbered from `first`; every score above 0.001.

    BundleError where the bundle does not detect.
    """
    if not isinstance(bundle.model, Detector):
        raise BundleError("it gives no boxes", path=bundle.info.name, mend="Give a bundle that detects.")
    with torch.inference_mode():
        boxes, scores = bundle.model.detect(prepared.contiguous(memory_format=torch.channels_last))
    found = select(boxes.float().numpy(), scores.float().numpy())
    return Selected(found.boxes, found.scores, found.film + first, found.kind)


def detect_film(bundle: Bundle, film: Radiograph, number: int = 0) -> Selected:
    """Boxes on a film, in its own pixels and within it; `number`: what the film is called in the result."""
    found = detect(bundle, bundle.prepare(film), number)
    place = bundle.info.preparation.place((film.height, film.width))
    inside = clip(place.boxes_to_source(found.boxes), film.width, film.height)
    kept = (inside[:, 2:] > inside[:, :2]).all(1)
    return Selected(inside[kept], found.scores[kept], found.film[kept], found.kind[kept])
