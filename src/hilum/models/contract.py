"""What every model promises, so that training, uncertainty and heatmaps work with any of them.

A classifier is two parts. `encode` is deterministic in eval mode; `head` holds every dropout layer. So T Monte Carlo
samples cost one pass of the encoder and T of the small head, and a class activation map needs no backward pass where the
head is linear.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from hilum.boxes.select import OVERLAP


class Model(nn.Module, ABC):
    """Images in, logits out.

    Attributes
    ----------
    channels: input channels, 1 or 3. input_size: the (height, width) the model was designed for.
    mean, std: per channel, on the [0, 1] scale, what the weights expect. backbones: the timm models that it is made of.
    code: the licence of the architecture's own code, and whose it is.
    """

    channels: int
    input_size: tuple[int, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    backbones: tuple[str, ...] = ()
    code: str = "Apache-2.0 (Hilum)"

    @abstractmethod
    def forward(self, images: Tensor) -> Tensor | list[Tensor]:
        """Images (n, channels, h, w), normalised, to logits; of a detector a map of them a scale.

        An encoder gives embeddings.
        """


class _Embeds(Model):
    """A model that makes an embedding of a film by way of a spatial map."""

    @abstractmethod
    def feature_map(self, images: Tensor) -> Tensor:
        """Images (n, channels, h, w) to the last spatial map (n, features, h', w')."""

    @abstractmethod
    def pool(self, features: Tensor) -> Tensor:
        """A spatial map (n, features, h', w') to an embedding (n, features)."""

    def encode(self, images: Tensor) -> Tensor:
        """Images to embeddings (n, features); deterministic in eval mode."""
        return self.pool(self.feature_map(images))


class Encoder(_Embeds):
    """A model whose forward gives embeddings (n, features): it finds nothing, and classifiers start from it."""

    features: int

    def forward(self, images: Tensor) -> Tensor:
        return self.encode(images)

    def encoder_parameters(self) -> Iterator[nn.Parameter]:
        """Every parameter."""
        return self.parameters()


class Classifier(_Embeds):
    """A model whose forward is `head(encode(images))`."""

    head: nn.Module

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.encode(images))

    def linear_head(self) -> nn.Linear | None:
        """The head's only layer with weights where that is one linear layer, else None."""
        return only_linear(self.head)

    def class_weights(self, embedding: Tensor) -> Tensor:
        """How much each logit of one film rises with each feature of its embedding (1, features): (labels, features).

        The map of features weighted by them is the class activation map (Zhou 2016, equation 2) of a linear head, and
        Grad-CAM (Selvaraju 2017, equations 1 and 2) of any other, whose gradient goes through the head alone.
        """
        return head_weights(self.head, embedding)

    def member_logits(self, embedding: Tensor) -> Tensor:
        """Embeddings (n, features) to the logits of each member of an ensemble, (members, n, labels); a model is one."""
        logits: Tensor = self.head(embedding)
        return logits[None]

    def encoder_parameters(self) -> Iterator[nn.Parameter]:
        """The parameters that may start from pretrained weights: here every one outside the head."""
        head = {id(p) for p in self.head.parameters()}
        return (p for p in self.parameters() if id(p) not in head)


def only_linear(head: nn.Module) -> nn.Linear | None:
    """The only layer of `head` with weights where that is one linear layer, else None."""
    weighted = [m for m in head.modules() if not list(m.children()) and list(m.parameters())]
    only = weighted[0] if len(weighted) == 1 else None
    return only if isinstance(only, nn.Linear) else None


def head_weights(head: nn.Module, embedding: Tensor) -> Tensor:
    """(labels, features): the gradient of each logit of `head` by one embedding (1, features). Works in inference mode."""
    linear = only_linear(head)
    if linear is not None:
        return linear.weight
    with torch.inference_mode(False), torch.enable_grad():
        outputs = head(embedding.clone()).shape[-1]
        row_a_label = embedding.clone().expand(outputs, -1).contiguous().requires_grad_()
        (gradient,) = torch.autograd.grad(head(row_a_label).diagonal().sum(), row_a_label)
    return gradient


class Segmenter(Model):
    """Logits (n, classes, h, w) on the input's own grid."""

    @abstractmethod
    def encoder_parameters(self) -> Iterator[nn.Parameter]:
        """The parameters of the (possibly pretrained) encoder."""


@dataclass(frozen=True)
class Denoised:
    """What a detector says of true boxes that were given to it with noise on them, to be put right.

    `maps`: each (n, k, 4 + classes) as its forward gives. `film`, `query`, `row` (m,): which of the k are to find which row
    of the truth; the others are to find nothing. `groups`: how many times each true box was given.
    """

    maps: list[Tensor]
    film: Tensor
    query: Tensor
    row: Tensor
    groups: int


@dataclass(frozen=True)
class Taught:
    """What a detector's loss is taken of: the maps of its forward, (height, width) of the images, and noisy boxes if any."""

    maps: list[Tensor]
    size: tuple[int, int]
    denoised: Denoised | None = None


class Detector(Model):
    """Boxes with a score a class.

    Attributes
    ----------
    strides: input sides must be divisible by each. loss: the kind of a recipe's loss that it learns by. distinct: each
        thing is found once, and boxes that overlap are no second finds of it.
    """

    strides: tuple[int, ...]
    loss: str
    distinct: bool = False

    @property
    def overlap(self) -> float:
        """The IoU above which `hilum.boxes.select` takes two of its boxes of a class for one."""
        return 1.0 if self.distinct else OVERLAP

    @abstractmethod
    def forward(self, images: Tensor) -> list[Tensor]:
        """Images (n, channels, h, w), normalised, to maps, such as one a scale."""

    @abstractmethod
    def boxes(self, maps: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Maps to boxes (n, k, 4), x1, y1, x2, y2 in input pixels, and scores (n, k, classes), 0 to 1."""

    def detect(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Images (n, channels, h, w) to boxes (n, k, 4), x1, y1, x2, y2 in input pixels, and scores (n, k, classes), 0 to 1.

        Candidates of one thing overlap where the detector suppresses none: see `hilum.boxes`.
        """
        return self.boxes(self.forward(images))

    def taught(self, images: Tensor, truth: Tensor) -> Taught:
        """A training batch. `truth` (m, 6): image number, class, then centre x, y, width and height in input pixels."""
        height, width = images.shape[-2:]
        return Taught(self.forward(images), (height, width))

    @abstractmethod
    def encoder_parameters(self) -> Iterator[nn.Parameter]:
        """The parameters that may start from pretrained weights."""


class Generative(Model):
    """A generator of films and the discriminator that it learns from; `forward` gives the discriminator's finding logits.

    Attributes
    ----------
    latent: numbers of noise a film. generator: `(noise (n, latent), labels (n, outputs) of 0 and 1)` to films
    (n, channels, h, w) in [-1, 1]. discriminator: films to realness (n,) and a logit a finding (n, outputs).
    """

    latent: int
    generator: nn.Module
    discriminator: nn.Module


def parameter_counts(model: nn.Module) -> dict[str, int]:
    """`trainable` and `frozen` parameters, and `buffers` (batch-norm statistics; integer counters left out)."""
    parameters = list(model.parameters())
    return {
        "trainable": sum(p.numel() for p in parameters if p.requires_grad),
        "frozen": sum(p.numel() for p in parameters if not p.requires_grad),
        "buffers": sum(b.numel() for b in model.buffers() if torch.is_floating_point(b)),
    }
