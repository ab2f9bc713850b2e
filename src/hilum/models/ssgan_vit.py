"""A self-supervised backbone, a GAN's discriminator and a transformer under one head: the joined model of `suh-ssganvit`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from hilum.errors import RecipeError
from hilum.models.backbones import IMAGENET, Backbone, patches
from hilum.models.contract import Classifier
from hilum.models.gan import Classes, Discriminator
from hilum.models.pretrained import load_pretrained
from hilum.models.registry import register
from hilum.models.two_backbones import Pretrained, on_one_grid, renormalised

BLOCKS = ("backbone", "discriminator", "main")
"""The blocks of features, in the order in which they stand side by side."""


@register("ssgan_vit")
class SsganVit(Classifier):
    """A self-supervised backbone, the discriminator of a GAN and a main network, side by side under one linear head.

    `backbone`, `main`: timm models, None to do without. `discriminator`: with it or not. Where the main network is a
    vision transformer, the positions of the discriminator's map are projected to its width and join its patches as
    further tokens (Suh and Ponduru; how the features enter is our choice); a convolutional one takes no tokens.

    `outputs`: number of logits. `dropout`: before the linear layer. `pretrained`: None, `imagenet` for backbone and main, or
    one entry a block (None, `imagenet` or a .safetensors path; of the discriminator None or a GAN's weights), in the order
    of `BLOCKS`. `size`: input height and width; None takes the main network's. `film`: pixels a side that the
    discriminator was made for, `film_width` its channels, `findings` its label outputs (None: as many as `outputs`),
    `classes` their kind.

    Head and tokens see the discriminator's map standardised over films (`Standardised`). The embedding is the averages of
    all maps side by side, exactly where one grid is a whole multiple of the other, else nearly. `without`: blocks whose
    features are zero, also as tokens: what is left says what they contribute.
    """

    def __init__(
        self,
        outputs: int,
        backbone: str | None = "mobilenetv2_100",
        main: str | None = "vit_base_patch16_224",
        discriminator: bool = True,
        dropout: float = 0.2,
        pretrained: Pretrained = None,
        channels: int = 3,
        size: tuple[int, int] | None = None,
        film: int = 64,
        film_width: int = 64,
        findings: int | None = None,
        classes: Classes = "sigmoid",
    ) -> None:
        super().__init__()
        starts = dict(zip(BLOCKS, _one_each(pretrained), strict=True))
        self.without: tuple[str, ...] = ()
        self.main = Backbone(main, None, starts["main"], channels, size) if main else None
        self.backbone = Backbone(backbone, None, starts["backbone"], channels, size) if backbone else None
        first = self.main or self.backbone
        self.mean, self.std = (first.mean, first.std) if first else ((0.5,) * channels, (0.5,) * channels)
        self.input_size = tuple(size or (first.input_size if first else (film, film)))
        self.backbones = tuple(name for name in (backbone, main) if name)
        self.channels, self.film = channels, film
        self.findings, self.film_width = outputs if findings is None else findings, film_width
        self.discriminator = _discriminator(
            discriminator, self.findings, film, film_width, classes, starts["discriminator"]
        )
        widths = {"backbone": getattr(self.backbone, "width", 0), "main": getattr(self.main, "width", 0)}
        if self.discriminator is not None:
            widths["discriminator"] = self.discriminator.width
        self.widths = {block: widths[block] for block in BLOCKS if widths.get(block)}
        if not self.widths:
            raise RecipeError(
                "model.options: there is no block left", mend="Give `main`, `backbone` or `discriminator`"
            )
        self.standard = self.tokens = None
        if self.discriminator is not None:
            places = _places(self.discriminator, film)
            self.standard = Standardised(self.discriminator.width * places)
            if self.main and isinstance(self.main.net, VisionTransformer):
                self.tokens = Tokens(self.discriminator.width, self.main.width, places)
        self.head = nn.Sequential(nn.Dropout(dropout), nn.Linear(sum(self.widths.values()), outputs))

    def feature_map(self, images: Tensor) -> Tensor:
        maps = self.maps(images)
        finest = max(maps.values(), key=lambda each: each.shape[-2] * each.shape[-1])
        return torch.cat([on_one_grid(each, finest)[0] for each in maps.values()], 1)

    def pool(self, features: Tensor) -> Tensor:
        return features.mean((2, 3))

    def maps(self, images: Tensor) -> dict[str, Tensor]:
        """Images (n, channels, h, w) to each block's map (n, its width, its h', its w'), those of `without` zero."""
        found: dict[str, Tensor] = {}
        if self.backbone is not None:
            found["backbone"] = self.backbone(renormalised(images, self, self.backbone))
        if self.discriminator is not None and self.standard is not None:
            found["discriminator"] = self.standard(self.discriminator.features(self.films(images)))
        found |= {block: found[block] * 0 for block in self.without if block in found}
        if self.main is not None and self.tokens is not None:
            found["main"] = _with_tokens(self.main.net, images, self.tokens(found["discriminator"]))
        elif self.main is not None:
            found["main"] = self.main(images)
        return {block: found[block] * 0 if block in self.without else found[block] for block in self.widths}

    def films(self, images: Tensor) -> Tensor:
        """Images (n, channels, h, w) as the discriminator takes them: grey (n, 1, film, film) in [-1, 1]."""
        mean, std = (images.new_tensor(values).view(1, -1, 1, 1) for values in (self.mean, self.std))
        grey = (images * std + mean).mean(1, keepdim=True)
        if grey.shape[-2:] != (self.film, self.film):
            down, across = (grey.new_tensor(_resampling(int(n), self.film)) for n in grey.shape[-2:])
            grey = down @ grey @ across.T
        return 2 * grey - 1

    def encoder_parameters(self) -> Iterator[nn.Parameter]:
        """The blocks' own: what turns the discriminator's map into tokens starts at random and learns with the head."""
        blocks = [block for block in (self.backbone, self.discriminator, self.main) if block is not None]
        return chain.from_iterable(block.parameters() for block in blocks)


class Standardised(nn.Module):
    """A map (n, features, h, w), each feature at each place less its mean over films and over its deviation.

    Spectral norm leaves a discriminator's features all but alike for all films, so that a linear layer over them learns
    nothing at a rate that suits the other blocks (measured: docs/decisions.md). Batch norm (Ioffe and Szegedy 2015) without
    weights of its own; `numbers`: features x h x w. Its epsilon is far below the squared deviations, 1e-8 to 1e-4, and its
    running statistics begin as the first batch's, for a start of 1 would rule such deviations for hundreds of steps. A
    batch of one film, which has no deviation, takes the running statistics.
    """

    MOMENTUM = 0.1

    def __init__(self, numbers: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(numbers, eps=1e-12, affine=False)

    def forward(self, features: Tensor) -> Tensor:
        flat, norm = features.flatten(1).float(), self.norm
        if self.training and len(flat) == 1:
            flat = nn.functional.batch_norm(flat, norm.running_mean, norm.running_var, eps=norm.eps)
        else:
            if self.training:
                norm.momentum = max(self.MOMENTUM, 1 / (int(norm.num_batches_tracked or 0) + 1))
            flat = norm(flat)
        return flat.unflatten(1, features.shape[1:])


class Tokens(nn.Module):
    """A map (n, features, h, w) to tokens (n, h w, width): projected, normalised, and each with a place that is learnt."""

    def __init__(self, features: int, width: int, count: int) -> None:
        super().__init__()
        self.project = nn.Linear(features, width)
        self.norm = nn.LayerNorm(width)
        self.place = nn.Parameter(torch.zeros(1, count, width))
        nn.init.trunc_normal_(self.place, std=0.02)

    def forward(self, features: Tensor) -> Tensor:
        found: Tensor = self.norm(self.project(features.flatten(2).transpose(1, 2))) + self.place
        return found


@lru_cache
def _resampling(before: int, after: int) -> NDArray[np.float32]:
    """The matrix (after, before) of torch's antialiased bilinear resampling of a line: ONNX knows products, and not that."""
    scale = before / after
    middles = scale * (np.arange(after) + 0.5)
    apart = np.abs(np.arange(before) + 0.5 - middles[:, None]) / max(scale, 1)
    weights = np.clip(1 - apart, 0, None)
    return (weights / weights.sum(1, keepdims=True)).astype(np.float32)


def _with_tokens(net: Any, images: Tensor, further: Tensor) -> Tensor:
    """The last map of a timm vision transformer whose patches attended to `further` tokens too, which then are left out."""
    tokens = net.norm_pre(net.patch_drop(net._pos_embed(net.patch_embed(images))))
    own = tokens.shape[1]
    tokens = net.norm(net.blocks(torch.cat([tokens, further], 1)))
    return patches(net, tokens[:, :own], images)


@torch.no_grad()
def _places(discriminator: Discriminator, film: int) -> int:
    """Positions of the discriminator's map; in eval mode, in which no spectral norm moves."""
    found = discriminator.eval().features(torch.zeros(1, 1, film, film))[0, 0].numel()
    discriminator.train()
    return found


def _discriminator(
    wanted: bool, findings: int, film: int, width: int, classes: Classes, start: str | Path | None
) -> Discriminator | None:
    if not wanted:
        return None
    made = Discriminator(findings, channels=1, size=film, width=width, classes=classes)
    if start is not None:
        load_pretrained(made, start)
    return made


def _one_each(pretrained: Pretrained) -> Sequence[str | Path | None]:
    if pretrained is None:
        return (None, None, None)
    if pretrained == IMAGENET:
        return (IMAGENET, None, IMAGENET)
    if isinstance(pretrained, str | Path) or len(pretrained) != len(BLOCKS):
        raise RecipeError(
            "a model of three blocks starts from three sets of weights",
            mend=f"Give `pretrained` as a list of three: {', '.join(BLOCKS)}",
        )
    if pretrained[1] == IMAGENET:
        raise RecipeError(
            "there are no ImageNet weights of a discriminator", mend="Give a GAN's weights, or null"
        )
    return pretrained
