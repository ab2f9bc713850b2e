"""The lungs of a film by a bundle that segments them: one way for training, evaluation and analysis."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from hilum.bundles.bundle import Bundle
from hilum.errors import BundleError
from hilum.images.lung_masks import Lungs, find_lungs
from hilum.images.preparation import Preparation
from hilum.images.radiograph import Radiograph


@dataclass(frozen=True, eq=False)
class Outline:
    """What a segmenter said of a film, before it is laid on a grid of pixels.

    `probability`: float32 (h, w) on the grid of `preparation`; lungs are where it is at least `cut`.
    """

    probability: NDArray[np.float32]
    preparation: Preparation
    cut: float

    def on(self, size: tuple[int, int]) -> Lungs:
        """The lungs on the film's grid, of (height, width) `size`, or on that of a smaller decoding of it."""
        return find_lungs(self.probability, self.preparation.place(size), self.cut)


@torch.inference_mode()
def outline(bundle: Bundle, film: Radiograph) -> Outline:
    """The lungs of a film, whose labels (one, or a left and a right lung) are joined. `bundle`: see `check_segmenter`."""
    logits = bundle(bundle.prepare(film).to(memory_format=torch.channels_last))
    maps = bundle.probabilities(logits.movedim(1, -1))[0].amax(-1)
    threshold = bundle.info.labels[0].threshold
    return Outline(maps.numpy(), bundle.info.preparation, threshold.value if threshold else 0.5)


def outlined(bundle: Bundle, film: Radiograph) -> Lungs:
    """The same on the film's own grid."""
    return outline(bundle, film).on((film.height, film.width))


def check_segmenter(bundle: Bundle) -> None:
    """Raises BundleError where a bundle does not outline lungs and nothing else."""
    if bundle.info.task != "segment":
        raise BundleError(
            f"it does not outline lungs: its task is {bundle.info.task!r}",
            path=bundle.info.name,
            mend="Give a bundle that segments lungs, such as the built-in 'lungs'",
        )
    if not all("lung" in label.lower() for label in bundle.labels):
        raise BundleError(
            f"it segments {', '.join(bundle.labels)}; only lungs are used",
            path=bundle.info.name,
            mend="Leave it out, or give a bundle that segments lungs",
        )
