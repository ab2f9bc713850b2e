"""RT-DETR (Zhao et al. 2024), a detector without suppression of overlaps: `transformers`' network on a timm backbone.

Maps of strides 8, 16 and 32 pass through a hybrid encoder. The cells that score best become queries, and each layer of the
decoder moves their boxes on and scores them anew. Every thing is learnt by one query alone, so that no two find the same.

`transformers` gives the layers. Nothing of it is downloaded: its configuration is written here, and weights to start from
are a file for the backbone. Its first weights are not used either: they leave batch norm's scales near 0, which hardly lets
a signal through a network that is trained from its beginning.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from hilum.errors import MissingExtraError, RecipeError
from hilum.models.backbones import Pyramid
from hilum.models.contract import Denoised, Detector, Taught
from hilum.models.registry import register

STRIDES = (8, 16, 32)
PRIOR = 0.01
"""The probability that every class of every query begins with: things are rare."""


@register("rt_detr")
class RTDETR(Detector):
    """RT-DETR on a timm `backbone`: boxes by queries, none of which is suppressed.

    `outputs`: classes. `hidden`: width of encoder and decoder, a multiple of 4 and of `heads`; `feedforward`: width inside
    their layers (None: twice `hidden`); `layers`: of the decoder. `queries`: boxes a film at most. `denoising`: about how
    many true boxes with noise on them are learnt beside; 0: none. `backbone`: a convolutional timm model. `pretrained`:
    None, `imagenet` or a .safetensors path for the backbone, whose first convolution is summed for one channel. It needs the
    extra `detect`.
    """

    strides = STRIDES
    loss = "set"
    distinct = True
    code = "Apache-2.0 (Hilum; layers of transformers)"

    def __init__(
        self,
        outputs: int = 14,
        backbone: str = "mobilenetv2_100",
        hidden: int = 128,
        feedforward: int | None = None,
        heads: int = 8,
        layers: int = 3,
        queries: int = 100,
        denoising: int = 50,
        pretrained: str | Path | None = None,
        channels: int = 1,
        size: tuple[int, int] = (640, 640),
    ) -> None:
        super().__init__()
        if hidden < 4 or hidden % 4 or hidden % heads:
            raise RecipeError(f"`hidden` is {hidden}: it is no multiple of 4 and of `heads` ({heads})")
        if min(layers, queries, outputs) < 1 or denoising < 0:
            raise RecipeError("`layers`, `queries` and `outputs` are at least 1, and `denoising` at least 0")
        self.backbone = Pyramid(backbone, STRIDES, pretrained, channels)
        self.backbones = (backbone,)
        self.channels, self.input_size = channels, tuple(size)
        self.mean, self.std = self.backbone.mean, self.backbone.std
        self.queries = queries
        self.network = _network(
            num_labels=outputs,
            d_model=hidden,
            encoder_hidden_dim=hidden,
            decoder_in_channels=[hidden] * len(STRIDES),
            encoder_ffn_dim=feedforward or 2 * hidden,
            decoder_ffn_dim=feedforward or 2 * hidden,
            encoder_attention_heads=heads,
            decoder_attention_heads=heads,
            decoder_layers=layers,
            num_queries=queries,
            num_denoising=denoising,
        )
        self.network.model.backbone = _Handed(self.backbone)
        self.network.model.encoder_input_proj = nn.ModuleList(
            nn.Sequential(nn.Conv2d(width, hidden, 1, bias=False), nn.BatchNorm2d(hidden))
            for width in self.backbone.widths
        )
        _begin(self.network)

    @property
    def detect_layer(self) -> nn.Module:
        """All but the backbone."""
        return self.network

    def forward(self, images: Tensor) -> list[Tensor]:
        """Images (n, channels, h, w), sides divisible by 32, to what is said of the queries (n, queries, 4 + classes), first
        by the encoder, then by each layer of the decoder: x, y of the centre, width, height in input pixels, then logits.
        """
        return self._run(images, None)[0]

    def taught(self, images: Tensor, truth: Tensor) -> Taught:
        height, width = images.shape[-2:]
        rows = [torch.nonzero(truth[:, 0] == film)[:, 0] for film in range(len(images))]
        scale = truth.new_tensor((width, height) * 2)
        labels = [{"class_labels": truth[r, 1].long(), "boxes": truth[r, 2:] / scale} for r in rows]
        maps, noisy, how = self._run(images, labels)
        if not noisy:
            return Taught(maps, (height, width))
        query = how["dn_positive_idx"]  # a film each: its boxes in order, again for each group
        film = torch.cat([torch.full_like(q, number) for number, q in enumerate(query)])
        row = torch.cat([r.tile(how["dn_num_group"]) for r in rows])
        return Taught(
            maps, (height, width), Denoised(noisy, film, torch.cat(query), row, how["dn_num_group"])
        )

    def boxes(self, maps: list[Tensor]) -> tuple[Tensor, Tensor]:
        """By the last layer of the decoder."""
        centre, half, logits = maps[-1][..., :2], maps[-1][..., 2:4] / 2, maps[-1][..., 4:]
        return torch.cat((centre - half, centre + half), -1), logits.sigmoid()

    def encoder_parameters(self) -> Iterator[nn.Parameter]:
        return self.backbone.parameters()

    def _run(
        self, images: Tensor, labels: list[dict[str, Tensor]] | None
    ) -> tuple[list[Tensor], list[Tensor], dict[str, Any]]:
        """Maps, maps of true boxes with noise (empty where there are none), and what `transformers` says of the latter."""
        height, width = images.shape[-2:]
        cells = sum((height // stride) * (width // stride) for stride in STRIDES)
        if cells < self.queries:
            raise RecipeError(
                f"{self.queries} queries are more than the {cells} cells of an image of {height} x {width} pixels",
                mend="Give model.options.queries a smaller number, or films more pixels",
            )
        out = self.network.model(images, labels=labels)
        how = out.denoising_meta_values or {}
        noisy = how["dn_num_split"][0] if how else 0
        scale = images.new_tensor((width, height) * 2)
        boxes, logits = (
            out.intermediate_reference_points,
            out.intermediate_logits,
        )  # (n, layers, queries, ...)
        layers = torch.cat((boxes * scale, logits), -1).unbind(1)
        proposed = torch.cat((out.enc_topk_bboxes * scale, out.enc_topk_logits), -1)
        first = [each[:, :noisy] for each in layers] if noisy else []
        return [proposed, *(each[:, noisy:] for each in layers)], first, how


class _Handed(nn.Module):
    """The backbone as `transformers` asks for it; its weights are the detector's, and stand there once."""

    def __init__(self, backbone: Pyramid) -> None:
        super().__init__()
        self.held = (backbone,)  # within a tuple it is no part of this module

    def forward(self, images: Tensor, _: Tensor) -> list[tuple[Tensor, None]]:
        return [(each, None) for each in self.held[0](images)]


def _network(**options: Any) -> Any:
    """RT-DETR as `transformers` builds it, with the smallest backbone that it has, to be replaced."""
    try:
        from transformers import RTDetrConfig, RTDetrForObjectDetection, RTDetrResNetConfig
    except ImportError as error:
        raise MissingExtraError.named("detect", "the model 'rt_detr'") from error
    smallest: dict[str, Any] = {
        "embedding_size": 8,
        "hidden_sizes": [8] * 4,
        "depths": [1] * 4,
        "layer_type": "basic",
        "out_indices": [2, 3, 4],
    }
    config = RTDetrConfig(
        backbone_config=RTDetrResNetConfig(**smallest), freeze_backbone_batch_norms=False, **options
    )
    return RTDetrForObjectDetection(config)


@torch.no_grad()
def _begin(network: Any) -> None:
    """First weights as published: convolutions and norms as torch begins them, linear layers Xavier's, offsets of attention
    in a ring, boxes where their cells are, and classes rare.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.BatchNorm2d | nn.LayerNorm):
            module.reset_parameters()
        elif isinstance(module, nn.Linear):
            nn.init.xavier_uniform_(module.weight)
            nn.init.zeros_(module.bias)
    model = network.model
    rare = -math.log((1 - PRIOR) / PRIOR)
    for layer in (model.enc_score_head, *model.decoder.class_embed):
        nn.init.constant_(layer.bias, rare)
    for head in (model.enc_bbox_head, *model.decoder.bbox_embed):
        nn.init.zeros_(head.layers[-1].weight)
    for layer in model.decoder.layers:
        attention = layer.encoder_attn
        nn.init.zeros_(attention.attention_weights.weight)
        nn.init.zeros_(attention.sampling_offsets.weight)
        attention.sampling_offsets.bias.copy_(
            _ring(attention.n_heads, attention.n_levels, attention.n_points)
        )


def _ring(heads: int, levels: int, points: int) -> Tensor:
    """Where each head looks first: its own direction, a step further with every point (Deformable DETR, Zhu 2021)."""
    angles = torch.arange(heads) * (2 * math.pi / heads)
    direction = torch.stack((angles.cos(), angles.sin()), -1)
    direction = direction / direction.abs().amax(-1, keepdim=True)
    steps = torch.arange(1, points + 1)[:, None]
    return (direction[:, None, None] * steps).expand(heads, levels, points, 2).flatten()
