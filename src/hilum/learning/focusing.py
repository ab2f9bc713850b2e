"""Recipes whose model sees films around their lungs: the segmenter they name is held to, and films are cut by it."""

from __future__ import annotations

import logging

from hilum.bundles import focus
from hilum.datasets.pixel_store import PixelStore
from hilum.errors import HilumError, RecipeError
from hilum.images.preparation import Preparation
from hilum.learning.recipe import Recipe

logger = logging.getLogger(__name__)


def pinned(recipe: Recipe) -> Recipe:
    """The recipe with the digest of the segmenter that its preparation names; where it names none, the recipe itself.

    RecipeError where the segmenter is not there, does not outline lungs, or is not the one that the recipe holds to.
    """
    steps = recipe.preparation
    if steps.by_lungs is None:
        return recipe
    return recipe.model_copy(update={"preparation": pinned_preparation(steps)})


def pinned_preparation(steps: Preparation) -> Preparation:
    """The same of a preparation that goes by the lungs."""
    assert steps.by_lungs is not None
    try:
        return steps.with_segmenter(digest=focus.pinned(steps.by_lungs).digest)
    except HilumError as error:
        step = "focus" if steps.focus is not None else "masking"
        raise RecipeError(
            f"preparation.{step}.segmenter: '{error.path or steps.by_lungs.segmenter}': {error.fault}",
            mend=error.mend,
        ) from error


def finder(steps: Preparation) -> focus.Finder | None:
    """What says which part of a film is prepared; None: the whole of every film."""
    return None if steps.by_lungs is None else focus.Finder(steps)


def tell_whole(store: PixelStore) -> None:
    """Log how many films were taken whole because no lungs were found on them."""
    if store.windows is None:
        return
    whole = store.windows.filter(~store.windows["lungs_found"])
    if whole.height:
        logger.warning(
            "no lungs were found on %d of %d films, such as %s, which are seen whole",
            whole.height,
            store.windows.height,
            whole["image_id"][0],
        )
