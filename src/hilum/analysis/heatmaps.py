"""Where a finding was seen: class activation maps, for the price of one product.

For a head that is linear in the pooled features the map of class c is the features weighted by row c of the head (Zhou 2016,
equation 2); its mean plus the bias is the logit, exactly. For any other head the weights are the gradient of the logit by
the pooled features, which is Grad-CAM (Selvaraju 2017): pooling is an average, so no gradient goes through the encoder. The
members of an ensemble give the mean of their maps. `Classifier.class_weights` says the weights in each case.

A rare finding is called at a low threshold, often on films of which every place speaks against it, only less than on
others: its map is empty. `above_threshold` moves the map to where its mean is the logit less the threshold's logit. A place
is then hot where a film that were like this place all over would be called, and the map of a finding that is called has one.

Grad-CAM++ (Chattopadhay 2018) turns the same weights into others: behind an average its gradients are the same in every
cell, and its sums over cells come out in closed form (`plus_plus`). So either method gives every finding's map from one
forward pass and no pass back through the encoder.

Maps are kept on the film's extent at a few hundred pixels: they hold 7 to 20 true points a side, and fourteen maps at a
film's 3,000 pixels would take 400 MB. `heatmap_on_film` gives one at full resolution.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, get_args

import cv2
import numpy as np
from numpy.typing import NDArray

from hilum.errors import HilumError
from hilum.images.placement import Placement

if TYPE_CHECKING:  # what draws a report needs no torch
    from torch import Tensor

LONGEST = 384  # pixels of a kept map's longer side

Map = NDArray[np.float32]
Method = Literal["cam", "cam_above_threshold", "grad_cam_plus_plus"]
"""`cam`: what a place adds to the logit, which is Grad-CAM where the head is not linear. `cam_above_threshold`: what it adds
to the logit's height above the point at which the finding is called. `grad_cam_plus_plus`: less for a feature that is seen
all over the map, nothing for one that speaks against the finding."""


DEFAULT: Method = "cam"


def class_activation(features: Tensor, weights: Tensor) -> Tensor:
    """Features (n, features, h, w) and weights (labels, features) to maps (n, labels, h, w), in units of the logit."""
    import torch

    return torch.einsum("nfhw,lf->nlhw", features, weights)


def plus_plus(features: Tensor, weights: Tensor) -> Tensor:
    """The weights of Grad-CAM++ (labels, features), of one film's features (1, features, h, w) and `class_weights`.

    Of the score Y = exp(logit), with g the gradient of the logit by a cell, Chattopadhay 2018 weights a feature A by

        sum over cells of  g^2 / (2 g^2 + g^3 sum(A))  *  relu(exp(logit) g)      (equations 7 and 19)

    Behind an average over Z cells g is weight / Z in each of them, and the sum is exp(logit) relu(weight) /
    (2 + weight mean(A)); the factor exp(logit), one for a whole map, is left out. The paper's features come out of a ReLU;
    of others a mean below 0 counts as 0, so that no weight grows without bound.
    """
    mean = features[0].mean((1, 2)).clamp_min(0)
    positive = weights.clamp_min(0)
    return positive / (2 + positive * mean)


def above_threshold(maps: Tensor, margins: Tensor) -> Tensor:
    """Maps (labels, h, w) of one film, moved so that the mean of each is its margin (labels,), `Bundle.margins`."""
    return maps - maps.mean((1, 2), keepdim=True) + margins[:, None, None]


def heatmaps(
    features: Tensor,
    weights: Tensor,
    placement: Placement,
    method: Method = "cam",
    margins: Tensor | None = None,
) -> list[Map]:
    """One film's features (1, features, h, w) and `class_weights` (labels, features) to a heatmap a label.

    Each is float32 on the film's extent, 0 to 1. `margins`: (labels,), see `above_threshold`, which alone wants them.

    Evidence against a finding (negative) is cut; the strongest point of each map is 1 before it is enlarged, and a map
    without evidence is 0 throughout. Raises HilumError where there is no such method, or a value is not finite.
    """
    if method not in get_args(Method):
        raise HilumError(f"no heatmaps by {method!r}", mend=f"Choose of {', '.join(get_args(Method))}.")
    return on_film(evidence(features, weights, method, margins), placement)


def evidence(features: Tensor, weights: Tensor, method: str, margins: Tensor | None = None) -> Tensor:
    """The same before it is cut, scaled and laid on the film: (labels, h, w)."""
    if method == "grad_cam_plus_plus":
        weights = plus_plus(features, weights)
    maps = class_activation(features, weights)[0]
    if method != "cam_above_threshold":
        return maps
    if margins is None:
        raise HilumError(
            "heatmaps above the threshold want margins", mend="Give `Bundle.margins` of the logits."
        )
    return above_threshold(maps, margins)


def on_film(found: Tensor, placement: Placement) -> list[Map]:
    """Evidence (labels, h, w) over the prepared image, at any resolution, to a heatmap a label on the film's extent.

    Cut below 0 and scaled as `heatmaps` says. Raises HilumError where a value is not finite.
    """
    found = found.clamp_min(0)  # keeps NaN
    peaks = found.amax((1, 2), keepdim=True)
    if not peaks.isfinite().all():
        raise HilumError(
            "a heatmap holds values that are not finite",
            mend="The model's weights or features are broken: train or get it again.",
        )
    scaled = found / peaks.where(peaks > 0, 1.0)
    grid = placement.reduced(LONGEST)
    return [_lay(values, grid) for values in scaled.detach().float().cpu().numpy()]


def heatmap_on_film(heatmap: Map, size: tuple[int, int]) -> Map:
    """A heatmap at full resolution: float32 (height, width) = `size` of the film, 0 to 1."""
    return np.asarray(cv2.resize(heatmap, size[::-1], interpolation=cv2.INTER_LINEAR), np.float32)


def lung_shares(maps: Sequence[Map], lungs: NDArray[np.uint8]) -> list[float | None]:
    """Of each heatmap (all of one shape) the share of its energy (its sum) inside the lungs, 0 to 1.

    None where a map has no energy, or there are no lungs: neither is a share of 0. `lungs`: 0 or 1 on the film's extent, at
    any resolution.
    """
    if not maps or not lungs.any():
        return [None] * len(maps)
    height, width = maps[0].shape
    share = (
        cv2.resize(lungs * np.uint8(255), (width, height), interpolation=cv2.INTER_AREA).astype(np.float64)
        / 255
    )
    totals = [float(heatmap.sum(dtype=np.float64)) for heatmap in maps]
    return [float((m * share).sum()) / t if t > 0 else None for m, t in zip(maps, totals, strict=True)]


def _lay(values: Map, placement: Placement) -> Map:
    """A map on the prepared grid, laid on the film. What the preparation cut away holds no evidence: 0."""
    out = placement.map_to_source(values)
    height, width = placement.source
    x = (np.arange(width) + 0.5) * placement.scale_x + placement.left
    y = (np.arange(height) + 0.5) * placement.scale_y + placement.top
    out[(y < 0) | (y > placement.prepared[0])] = 0
    out[:, (x < 0) | (x > placement.prepared[1])] = 0
    return out
