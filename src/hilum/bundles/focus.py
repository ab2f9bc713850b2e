"""Which part of a film a bundle sees: the whole of it, the square around the lungs that another bundle finds, or all
but what is hidden far from them.

The lungs are always found by the segmenter in torch and on the processor, so that training, evaluation and analysis cut the
same window to the pixel; another runtime of the same bundle moves edges of its masks.
"""

from __future__ import annotations

import functools
import os
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from hilum.bundles import files
from hilum.bundles.bundle import Bundle, load
from hilum.bundles.lungs import check_segmenter, outlined
from hilum.errors import BundleError
from hilum.images.crop import Window, lung_crop, lung_window
from hilum.images.mask_parts import without_specks
from hilum.images.masking import around_lungs, lettering
from hilum.images.preparation import Focus, NearLungs, Preparation
from hilum.images.radiograph import Radiograph

SHELF = "HILUM_BUNDLES"
"""The environment variable that names a folder in which segmenters are looked for too."""

ByLungs = Focus | NearLungs
"""A step of a preparation that wants lungs."""

Known = tuple[Bundle, NDArray[np.uint8]]
"""A segmenter, and the mask (height, width) that it gave of a film."""


@dataclass(frozen=True)
class Finder:
    """`finder(film)` is the window of a film. It can be handed to another process, which loads the segmenter itself.

    `steps`: a preparation that goes by the lungs (`Preparation.by_lungs`).
    Raises BundleError where the segmenter cannot be had, see `segmenter`.
    """

    steps: Preparation

    def __call__(self, film: Radiograph) -> Window:
        assert self.steps.by_lungs is not None
        return _window(self.steps, film, outlined(segmenter(self.steps.by_lungs), film).mask)


def _window(steps: Preparation, film: Radiograph, lungs: NDArray[np.uint8]) -> Window:
    """What a preparation that goes by the lungs sees of a film with these; the whole film where there are none."""
    size = film.height, film.width
    if steps.focus is not None:
        window = lung_window(lungs, steps.focus.margin)
    else:
        window = replace(Window.whole(size), found=lung_crop(lungs) is not None)
    masking = steps.masking
    if not isinstance(masking, NearLungs) or not window.found:
        return window
    clear = around_lungs(without_specks((lungs > 0).astype(np.uint8)), masking.margin)
    return replace(window, clear=clear & ~lettering(film.pixels, lungs) if masking.letters else clear)


def window_of(bundle: Bundle, film: Radiograph, known: Known | None = None) -> Window | None:
    """The part of a film that a bundle sees; None: the whole film, as of every bundle that does not go by the lungs.

    `known`: lungs that were found already. They are taken where they are those of the bundle's own segmenter; else that
    is loaded, once, and run. Where no lungs are found the window is the whole film and its `found` is False.

    Raises BundleError where the segmenter cannot be had, see `segmenter`.
    """
    steps = bundle.info.preparation
    if steps.by_lungs is None:
        return None
    if known is not None and is_segmenter(known[0], steps.by_lungs):
        return _window(steps, film, known[1])
    return Finder(steps)(film)


def is_segmenter(bundle: Bundle, step: ByLungs) -> bool:
    """Does this bundle, as it runs, give the very masks by which the step went in training?"""
    return bundle.runtime.name == "torch" and bundle.info.behaviour == step.digest


def pinned(step: ByLungs) -> ByLungs:
    """The step with its segmenter's digest. Raises BundleError where the segmenter cannot be had, see `segmenter`."""
    return step.model_copy(update={"digest": _loaded_as_now(step).info.behaviour})


@functools.lru_cache(maxsize=4)
def segmenter(step: ByLungs) -> Bundle:
    """The bundle by which a focus, or masking, finds lungs, loaded once.

    Raises BundleError where there is none of this name (see `SHELF`), where it does not outline lungs, or where it is not
    the one that the step was made with.
    """
    return _loaded_as_now(step)


def _loaded_as_now(step: ByLungs) -> Bundle:
    bundle = load(_place(step.segmenter))
    check_segmenter(bundle)
    if step.digest not in (None, bundle.info.behaviour):
        raise BundleError(
            f"its lungs are not those that the model was trained around: it gives other masks than the bundle"
            f" {step.segmenter!r} did then",
            path=step.segmenter,
            mend=f"Bring that bundle back, or put it under its name into a folder that {SHELF} names",
        )
    bundle.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return bundle


def _place(name: str) -> Path:
    """From the shelf first, so that a bundle of the same name elsewhere does not stand in for it."""
    shelf = os.environ.get(SHELF)
    given = Path(os.path.expandvars(name)).expanduser()
    if shelf and (Path(shelf) / given).exists():
        return Path(shelf) / given
    try:
        return files.locate(given)
    except BundleError as error:
        raise BundleError(
            "there is no such bundle, and the model sees films around the lungs that it finds",
            path=name,
            mend=f"{error.mend}. A folder of bundles may be named by the environment variable {SHELF}",
        ) from error
