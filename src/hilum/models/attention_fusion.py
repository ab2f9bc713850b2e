"""Two backbones fused by self-attention over the positions of their joined map: the fusion arm of `roy-fusion`."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hilum.models.registry import register
from hilum.models.two_backbones import Pretrained, TwoBackbones, on_one_grid


@register("attention_fusion")
class AttentionFusion(TwoBackbones):
    """Two timm backbones, each to `width` channels, joined, self-attention over positions, average, dropout, dense.

    The defaults are the fusion of Roy, Hirpara and Bhanushali, with their 10,521,273 parameters at 14 outputs: DenseNet121
    before its final batch norm and EfficientNetB3 inside the first block of its sixth stage, after expansion, batch norm and
    activation. `first_tap`, `second_tap`: the module of each timm model whose output is taken, dotted; None is the last map.

    The paper does not give the size that both maps are brought to: here it is the finer of the two (14 x 14 of 224 x 224).
    """

    def __init__(
        self,
        outputs: int,
        first: str = "densenet121",
        second: str = "efficientnet_b3",
        first_tap: str | None = "features.denseblock4",
        second_tap: str | None = "blocks.5.0.bn1",
        width: int = 256,
        dropout: float = 0.5,
        pretrained: Pretrained = None,
        channels: int = 3,
        size: tuple[int, int] | None = (224, 224),
    ) -> None:
        super().__init__((first, second), (first_tap, second_tap), pretrained, channels, size)
        self.first_projection = nn.Conv2d(self.first.width, width, 1)
        self.second_projection = nn.Conv2d(self.second.width, width, 1)
        self.attention = SelfAttention(2 * width)
        self.head = nn.Sequential(nn.Dropout(dropout), nn.Linear(2 * width, outputs))

    def joined(self, images: Tensor) -> Tensor:
        """Images (n, channels, h, w) to both maps side by side, (n, 2 width, h', w'), before attention."""
        first, second = self.maps(images)
        pair = on_one_grid(self.first_projection(first), self.second_projection(second))
        return torch.cat(pair, 1)

    def feature_map(self, images: Tensor) -> Tensor:
        features: Tensor = self.attention(self.joined(images))
        return features

    def pool(self, features: Tensor) -> Tensor:
        return features.mean((2, 3))

    def attention_map(self, images: Tensor) -> Tensor:
        """Images to (n, positions, positions): how much each position (row) looks at each; a row sums to 1."""
        return self.attention.weights(self.joined(images))


class SelfAttention(nn.Module):
    """x + gamma * attention(x) over the positions of a map (n, width, h, w), gamma learnt from 0 (SAGAN, Zhang 2019, eq. 3).

    Scores are divided by the square root of the width (Vaswani 2017, eq. 1), which SAGAN does not do: its queries have an
    eighth of the width, ours have all 512, and undivided scores of that many terms make the softmax all but one-hot from the
    first step. Either form can learn the other, since the factor can move into the query's weights.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.query = nn.Conv2d(width, width, 1)
        self.key = nn.Conv2d(width, width, 1)
        self.value = nn.Conv2d(width, width, 1)
        self.gamma = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        query, key, value = (_as_rows(layer(x)) for layer in (self.query, self.key, self.value))
        attended = F.scaled_dot_product_attention(query, key, value)
        return x + self.gamma * attended.transpose(1, 2).reshape(x.shape)

    def weights(self, x: Tensor) -> Tensor:
        """The attention map (n, positions, positions), which `forward` never forms."""
        query, key = _as_rows(self.query(x)), _as_rows(self.key(x))
        return (query @ key.transpose(1, 2) / query.shape[-1] ** 0.5).softmax(-1)


def _as_rows(features: Tensor) -> Tensor:
    """(n, width, h, w) to (n, positions, width)."""
    return features.flatten(2).transpose(1, 2)
