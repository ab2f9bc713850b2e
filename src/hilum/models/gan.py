"""A generator of chest films and the discriminator that it learns against (minimal; replaced by the gan branch)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm


class Discriminator(nn.Module):
    """Convolutions of stride 2 with spectral norm, then a real/synthetic and a label output."""

    def __init__(
        self, outputs: int, channels: int = 1, size: int = 64, width: int = 64, classes: str = "sigmoid"
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        before, now, side = channels, width, size
        while side > 4:
            layers += [spectral_norm(nn.Conv2d(before, now, 4, 2, 1)), nn.LeakyReLU(0.2)]
            before, now, side = now, min(8 * width, 2 * now), side // 2
        self.body = nn.Sequential(*layers)
        self.features_width = before
        self.realness = spectral_norm(nn.Linear(before, 1))
        self.labels = spectral_norm(nn.Linear(before, outputs))

    def features(self, images: Tensor) -> Tensor:
        found: Tensor = self.body(images)
        return found

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        pooled = self.features(images).mean((2, 3))
        return self.realness(pooled)[:, 0], self.labels(pooled)


class Generator(nn.Module):
    """Noise and labels to a film."""

    def __init__(
        self, outputs: int, channels: int = 1, size: int = 64, latent: int = 100, width: int = 64
    ) -> None:
        super().__init__()
        self.latent = latent
        self.first = nn.Linear(latent + outputs, width * 16)
        layers: list[nn.Module] = []
        side = 4
        while side < size:
            last = side * 2 >= size
            layers += [nn.ConvTranspose2d(width, channels if last else width, 4, 2, 1)]
            layers += [nn.Tanh()] if last else [nn.BatchNorm2d(width), nn.ReLU()]
            side *= 2
        self.body = nn.Sequential(*layers)
        self.width = width

    def forward(self, noise: Tensor, labels: Tensor) -> Tensor:
        first = self.first(torch.cat([noise, labels], 1)).reshape(len(noise), self.width, 4, 4)
        made: Tensor = self.body(first)
        return made
