"""A bundle that detects, on prepared films and on films as they are."""

from __future__ import annotations

import numpy as np
import torch

from hilum.boxes import Selected, clip, select
from hilum.bundles.bundle import Bundle
from hilum.bundles.focus import window_of
from hilum.errors import BundleError
from hilum.images.crop import Window
from hilum.images.radiograph import Radiograph
from hilum.models.contract import Detector


def detect(bundle: Bundle, prepared: torch.Tensor, first: int = 0) -> Selected:
    """Boxes on prepared images (n, channels, h, w), in their pixels, films numbered from `first`; every score above 0.001.

    BundleError where the bundle does not detect.
    """
    if not isinstance(bundle.model, Detector):
        raise BundleError("it gives no boxes", path=bundle.info.name, mend="Give a bundle that detects.")
    with torch.inference_mode():
        boxes, scores = bundle.runtime.boxes(prepared.contiguous(memory_format=torch.channels_last))
    found = select(boxes.float().numpy(), scores.float().numpy(), iou_threshold=bundle.model.overlap)
    return Selected(found.boxes, found.scores, found.film + first, found.kind)


def detect_film(bundle: Bundle, film: Radiograph, number: int = 0, window: Window | None = None) -> Selected:
    """Boxes on a film, in its own pixels and within what the model sees of it.

    `number`: what the film is called in the result. `window`: the part of the film that the model sees; None takes what
    `focus.window_of` says.
    """
    window = window_of(bundle, film) if window is None else window
    found = detect(bundle, bundle.prepare(film, window), number)
    place = bundle.info.preparation.place((film.height, film.width), window)
    seen = Window.whole((film.height, film.width)) if window is None else window
    corner = np.array([seen.left, seen.top] * 2)
    inside = clip(place.boxes_to_source(found.boxes) - corner, seen.width, seen.height) + corner
    kept = (inside[:, 2:] > inside[:, :2]).all(1)
    return Selected(inside[kept], found.scores[kept], found.film[kept], found.kind[kept])
