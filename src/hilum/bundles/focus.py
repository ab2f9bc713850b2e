"""Which part of a film a bundle sees: the whole of it, or the square around the lungs that another bundle finds.

The lungs are always found by the segmenter in torch and on the processor, so that training, evaluation and analysis cut the
same window to the pixel; another runtime of the same bundle moves edges of its masks.
"""

from __future__ import annotations

import functools
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from hilum.bundles import files
from hilum.bundles.bundle import Bundle, load
from hilum.bundles.lungs import check_segmenter, outlined
from hilum.errors import BundleError
from hilum.images.crop import Window, lung_window
from hilum.images.preparation import Focus
from hilum.images.radiograph import Radiograph

SHELF = "HILUM_BUNDLES"
"""The environment variable that names a folder in which segmenters are looked for too."""

Known = tuple[Bundle, NDArray[np.uint8]]
"""A segmenter, and the mask (height, width) that it gave of a film."""


@dataclass(frozen=True)
class Finder:
    """`finder(film)` is the window of a film. It can be handed to another process, which loads the segmenter itself.

    Raises BundleError where the segmenter cannot be had, see `segmenter`.
    """

    focus: Focus

    def __call__(self, film: Radiograph) -> Window:
        return lung_window(outlined(segmenter(self.focus), film).mask, self.focus.margin)


def window_of(bundle: Bundle, film: Radiograph, known: Known | None = None) -> Window | None:
    """The part of a film that a bundle sees; None: the whole film, as of every bundle without a focus.

    `known`: lungs that were found already. They are taken where they are those of the bundle's own segmenter; else that
    is loaded, once, and run. Where no lungs are found the window is the whole film and its `found` is False.

    Raises BundleError where the segmenter cannot be had, see `segmenter`.
    """
    focus = bundle.info.preparation.focus
    if focus is None:
        return None
    if known is not None and is_segmenter(known[0], focus):
        return lung_window(known[1], focus.margin)
    return Finder(focus)(film)


def is_segmenter(bundle: Bundle, focus: Focus) -> bool:
    """Does this bundle, as it runs, give the very masks by which the focus was found in training?"""
    return bundle.runtime.name == "torch" and bundle.info.behaviour == focus.digest


def pinned(focus: Focus) -> Focus:
    """The focus with its segmenter's digest. Raises BundleError where the segmenter cannot be had, see `segmenter`."""
    return focus.model_copy(update={"digest": _loaded_as_now(focus).info.behaviour})


@functools.lru_cache(maxsize=4)
def segmenter(focus: Focus) -> Bundle:
    """The bundle by which a focus finds lungs, loaded once.

    Raises BundleError where there is none of this name (see `SHELF`), where it does not outline lungs, or where it is not
    the one that the focus was made with.
    """
    return _loaded_as_now(focus)


def _loaded_as_now(focus: Focus) -> Bundle:
    bundle = load(_place(focus.segmenter))
    check_segmenter(bundle)
    if focus.digest not in (None, bundle.info.behaviour):
        raise BundleError(
            f"its lungs are not those that the model was trained around: it gives other masks than the bundle"
            f" {focus.segmenter!r} did then",
            path=focus.segmenter,
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
