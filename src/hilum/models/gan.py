"""The generator and the discriminator of `suh-ssganvit` (Suh and Ponduru): films from noise and findings.

What the paper says is kept: noise of 100 numbers, eight convolutional layers with batch norm and ReLU, Tanh out; a
convolutional discriminator with spectral normalisation, an output for real or synthetic and one for the findings. What it
leaves open follows Radford et al. 2016 (DCGAN: widths, strided convolutions, leaky ReLU) and Odena et al. 2017 (AC-GAN: the
findings are a condition of the generator and an output of the discriminator).
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from hilum.errors import RecipeError
from hilum.models.backbones import IMAGENET
from hilum.models.contract import Generative
from hilum.models.pretrained import load_pretrained
from hilum.models.registry import register

SIZES = (16, 32, 64, 128)
"""Pixels a side that films can have."""
CONVOLUTIONS = 8
LEAST = 4  # pixels a side of the first map of the generator and the last of the discriminator
SLOPE = 0.2  # of the leaky ReLU, as Radford et al. 2016

Classes = Literal["sigmoid", "softmax"]


class Generator(nn.Module):
    """Noise (n, latent) and findings (n, outputs) of 0 and 1 to films (n, channels, size, size) in [-1, 1].

    Eight convolutions: the first makes a map of 4 x 4 pixels, the last the film; of the six between as many as are needed
    double the map (nearest neighbour before the convolution, which leaves no chequerboard: Odena et al. 2016), and the
    others follow these on the same grid, from the smallest up. A map of r pixels a side has `width` * 32 / r channels, at
    most 8 * `width`.
    """

    def __init__(
        self, outputs: int, channels: int = 1, size: int = 64, latent: int = 100, width: int = 64
    ) -> None:
        super().__init__()
        _refuse_size(size)
        self.latent, self.outputs = latent, outputs
        doublings = (size // LEAST).bit_length() - 1
        further = CONVOLUTIONS - 2 - doublings
        wide = [_width(width, LEAST << stage) for stage in range(doublings + 1)]
        layers: list[nn.Module] = [
            nn.ConvTranspose2d(latent + outputs, wide[0], LEAST, bias=False),
            *_normed(wide[0]),
        ]
        for stage in range(doublings):
            layers += [nn.Upsample(scale_factor=2), *_convolved(wide[stage], wide[stage + 1])]
            for _ in range(further // doublings + (stage < further % doublings)):
                layers += _convolved(wide[stage + 1], wide[stage + 1])
        self.layers = nn.Sequential(*layers, nn.Conv2d(wide[-1], channels, 3, padding=1), nn.Tanh())

    def forward(self, noise: Tensor, labels: Tensor) -> Tensor:
        films: Tensor = self.layers(torch.cat([noise, labels.to(noise)], 1)[:, :, None, None])
        return films


class Discriminator(nn.Module):
    """Films (n, channels, size, size) in [-1, 1] to realness (n,) and a logit a finding (n, outputs).

    Strided convolutions with spectral normalisation (Miyato et al. 2018) halve the film down to 4 x 4 pixels. Both outputs
    are convolutions over these, averaged over all places where a film is larger than `size`. They are not
    normalised: through layers that each shrink a change, realness could else not have the slope of 1 that the gradient
    penalty asks for, nor the findings the logits that they need.

    Attributes
    ----------
    width: channels of the map that `features` gives; the argument of that name is the channels of the first layer.
    classes: how the finding logits are read: `sigmoid`, each by itself; `softmax`, shares of one whole.
    """

    def __init__(
        self, outputs: int, channels: int = 1, size: int = 64, width: int = 64, classes: Classes = "sigmoid"
    ) -> None:
        super().__init__()
        _refuse_size(size)
        if classes not in ("sigmoid", "softmax"):
            raise RecipeError(f"classes: '{classes}'", mend="Choose sigmoid or softmax")
        self.classes = classes
        halvings = (size // LEAST).bit_length() - 1
        wide = [channels, *(min(8, 1 << stage) * width for stage in range(halvings))]
        self.layers = nn.Sequential(
            *(
                layer
                for below, above in pairwise(wide)
                for layer in (
                    spectral_norm(nn.Conv2d(below, above, 4, stride=2, padding=1)),
                    nn.LeakyReLU(SLOPE),
                )
            )
        )
        self.width = wide[-1]
        self.realness = nn.Conv2d(self.width, 1, LEAST)
        self.findings = nn.Conv2d(self.width, outputs, LEAST)

    def features(self, images: Tensor) -> Tensor:
        """The last spatial map, (n, width, h', w'): 4 x 4 of a film of `size`."""
        features: Tensor = self.layers(images)
        return features

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        features = self.features(images)
        return self.realness(features).mean((1, 2, 3)), self.findings(features).mean((2, 3))


@register("gan")
class Gan(Generative):
    """A generator of films from noise and findings, and the discriminator that it learns from (`suh-ssganvit`).

    `outputs`: findings. `size`: pixels a side, 16, 32, 64 or 128. `latent`: numbers of noise. `width`: of both networks.
    `classes`: how the discriminator's finding logits are read, `sigmoid` (each finding by itself) or `softmax`.
    `pretrained`: None, or a .safetensors path of the same network. Called as a model it gives the discriminator's findings.
    """

    def __init__(
        self,
        outputs: int,
        size: int = 64,
        latent: int = 100,
        width: int = 64,
        classes: Classes = "sigmoid",
        pretrained: str | Path | None = None,
        channels: int = 1,
    ) -> None:
        super().__init__()
        self.channels, self.input_size, self.latent = channels, (size, size), latent
        self.mean = self.std = (0.5,) * channels
        self.generator = Generator(outputs, channels, size, latent, width)
        self.discriminator = Discriminator(outputs, channels, size, width, classes)
        if pretrained == IMAGENET:
            raise RecipeError("gan has no ImageNet weights", mend="Leave `pretrained` out")
        if pretrained is not None:
            load_pretrained(self, pretrained)

    def forward(self, images: Tensor) -> Tensor:
        findings: Tensor = self.discriminator(images)[1]
        return findings


def _refuse_size(size: int) -> None:
    if size not in SIZES:
        raise RecipeError(
            f"size: {size} is no size of a GAN's films", mend=f"Choose one of: {', '.join(map(str, SIZES))}"
        )


def _width(width: int, side: int) -> int:
    return max(1, min(8 * width, width * 32 // side))


def _convolved(inputs: int, outputs: int) -> tuple[nn.Module, ...]:
    return nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), *_normed(outputs)


def _normed(width: int) -> tuple[nn.Module, ...]:
    return nn.BatchNorm2d(width), nn.ReLU()
