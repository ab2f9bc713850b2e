"""Insertion and deletion (RISE, Petsiuk 2018): does a model's answer hang on the pixels that a heatmap calls hot?

Deletion takes the hottest pixels away first: a good map makes the probability fall early, so a small area under the curve
is good. Insertion brings them back first onto a film without content: a large area is good. Both move between the film and
a `baseline` image of its shape, `blurred` or `mean_filled`; what is a fair absence of content is a choice, to be stated.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.ndimage import gaussian_filter

from hilum.errors import EvaluationError
from hilum.evaluation.arrays import Floats, Ints
from hilum.evaluation.saliency import Score, read_heat

Images = NDArray[np.float32]
Scorer = Callable[[Images], ArrayLike]
"""Images (n, ...) as the model takes them to the probability of one finding, (n,)."""


@dataclass(frozen=True)
class Curve:
    """The probability as pixels change, from none to all; without points, and a reason in `note`, where there is no order.

    Attributes
    ----------
    shares: (steps + 1,) share of the pixels changed, 0 to 1. probabilities: (steps + 1,) of the finding.
    """

    shares: Floats
    probabilities: Floats
    note: str = ""

    @property
    def area(self) -> Score:
        """Under the curve, by trapezoids: 0 to 1, the mean probability on the way."""
        if self.note:
            return Score.undefined(self.note)
        return Score(float(np.trapezoid(self.probabilities, self.shares)))


def deletion(
    image: ArrayLike,
    heatmap: ArrayLike,
    score: Scorer,
    baseline: ArrayLike,
    *,
    steps: int = 50,
    batch: int = 16,
    seed: int = 0,
) -> Curve:
    """From the film to the baseline, hottest pixels first.

    Parameters
    ----------
    image, baseline: (h, w) or (channels, h, w), as the model takes them.
    heatmap: (h, w) on the image's pixels.
    score: called with (n, ...) images, n at most `batch`.
    steps: blocks of pixels, equal to within one, at most one a pixel; the curve has one point more.
    seed: orders pixels of equal heat, which a sweep from the top would order by where they lie.

    Raises EvaluationError where shapes do not fit or a probability is not one. A heatmap without heat, or with values that
    are not finite, gives a curve without points.
    """
    return _curve(image, baseline, heatmap, score, steps, batch, seed)


def insertion(
    image: ArrayLike,
    heatmap: ArrayLike,
    score: Scorer,
    baseline: ArrayLike,
    *,
    steps: int = 50,
    batch: int = 16,
    seed: int = 0,
) -> Curve:
    """From the baseline to the film, hottest pixels first; parameters and errors as for `deletion`."""
    return _curve(baseline, image, heatmap, score, steps, batch, seed)


def blurred(image: ArrayLike, sigma: float) -> Images:
    """The image (..., h, w) without its detail: a Gaussian of `sigma` pixels over the last two axes, edges mirrored.

    Petsiuk 2018 takes 5 pixels at 224 x 224.
    """
    values = np.asarray(image, np.float32)
    return np.asarray(gaussian_filter(values, sigma, axes=(-2, -1)), np.float32)


def mean_filled(image: ArrayLike) -> Images:
    """The image (..., h, w) with every pixel at the mean of its channel."""
    values = np.asarray(image, np.float32)
    return np.broadcast_to(values.mean((-2, -1), keepdims=True), values.shape).copy()


def hottest_first(heatmap: Floats, seed: int = 0) -> Ints:
    """The place of each pixel (h, w), from 0 for the hottest; pixels of equal heat are shuffled."""
    shuffled = np.random.default_rng(seed).permutation(heatmap.size)
    order = np.lexsort((shuffled, -heatmap.ravel()))
    place = np.empty(heatmap.size, np.int64)
    place[order] = np.arange(heatmap.size)
    return place.reshape(heatmap.shape)


def _curve(
    start: ArrayLike, end: ArrayLike, heatmap: ArrayLike, score: Scorer, steps: int, batch: int, seed: int
) -> Curve:
    first, last = np.asarray(start, np.float32), np.asarray(end, np.float32)
    heat, note = read_heat(heatmap)
    if first.shape != last.shape or first.ndim not in (2, 3) or first.shape[-2:] != heat.shape:
        raise EvaluationError(
            f"images of {first.shape} and {last.shape} do not fit a heatmap of {heat.shape}",
            mend="Bring the heatmap to the pixels of the image, and make the baseline of the image.",
        )
    if steps < 1 or batch < 1:
        raise EvaluationError(f"{steps} steps in batches of {batch}", mend="Give 1 or more of each.")
    if note:
        return Curve(np.empty(0), np.empty(0), note)
    place = hottest_first(heat, seed)
    changed = np.unique(np.round(np.linspace(0, heat.size, steps + 1)).astype(np.int64))
    parts = [changed[i : i + batch] for i in range(0, len(changed), batch)]
    found = [_scores(score, np.stack([np.where(place < n, last, first) for n in part])) for part in parts]
    return Curve(changed / heat.size, np.concatenate(found))


def _scores(score: Scorer, images: Images) -> Floats:
    found = np.asarray(score(images), np.float64)
    if found.shape != (len(images),):
        raise EvaluationError(
            f"the scores of {len(images)} images are {found.shape}", mend="Give one probability an image."
        )
    if not ((found >= 0) & (found <= 1)).all():
        raise EvaluationError("a score is no probability", mend="Give numbers from 0 to 1.")
    return found
