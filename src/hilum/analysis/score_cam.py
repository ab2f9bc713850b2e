"""Score-CAM (Wang 2020): how well a model does when it sees only what one feature lights up.

No gradient is asked, so it works for any model, through any runtime, and whatever lies between features and logits. It costs
a pass of the network a feature, shared by all findings.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from hilum.analysis.heatmaps import class_activation

BATCH = 16


@torch.no_grad()
def score_cam(
    images: Tensor,
    features: Tensor,
    logits: Callable[[Tensor], Tensor],
    channels: int | None = None,
    batch: int = BATCH,
) -> Tensor:
    """One prepared film (1, channels, h, w) and its features (1, features, h', w') to evidence, (labels, h', w').

    Each feature, enlarged to the film (bilinear) and brought to [0, 1], masks the film; of the logits of the masked films
    the softmax over features gives their weights for each label (algorithm 1 of Wang 2020; the baseline that its equation 5
    takes off is one number a label, which the softmax does not see). Negative evidence is left in.

    `logits`: images (n, ...) to logits (n, labels), called with at most `batch` images. `channels`: only this many features,
    those with the greatest standard deviation over the map (a feature that is the same all over masks nothing); None takes
    all.
    """
    if channels is not None and channels < features.shape[1]:
        spread = features[0].flatten(1).std(1)
        features = features[:, spread.topk(channels).indices.sort().values]
    scores = torch.cat([logits(images * masks) for masks in _masks(features, images, batch)])
    weights = scores.softmax(0).T.to(features.dtype)
    return class_activation(features, weights)[0]


def _masks(features: Tensor, images: Tensor, batch: int) -> list[Tensor] | map[Tensor]:
    """The features as masks (n, 1, h, w) on the film's grid, 0 to 1, in batches."""

    def mask(part: Tensor) -> Tensor:
        large = F.interpolate(part[:, None], images.shape[-2:], mode="bilinear", align_corners=False)
        low, high = large.amin((2, 3), keepdim=True), large.amax((2, 3), keepdim=True)
        return (large - low) / (high - low + 1e-8)

    return map(mask, features[0].split(batch))
