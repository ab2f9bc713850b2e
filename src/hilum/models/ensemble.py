"""An ensemble as one model: members of one architecture whose calibrated probabilities are averaged."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hilum.errors import RecipeError
from hilum.models.contract import Classifier, head_weights
from hilum.models.registry import build, register


@dataclass(frozen=True)
class Member:
    """The bundle that a member was, and its calibration: probability = sigmoid or softmax of slope * logit + intercept.

    `slope` and `intercept` hold one value, or one a label.
    """

    name: str = ""
    version: str = ""
    digest: str = ""
    slope: tuple[float, ...] = (1.0,)
    intercept: tuple[float, ...] = (0.0,)

    def as_option(self) -> dict[str, Any]:
        """As `bundle.json` holds it."""
        return asdict(self)


@register("ensemble")
class Ensemble(Classifier):
    """Models of one `architecture` and its `options` side by side (deep ensemble, Lakshminarayanan 2017).

    Its logits are those of the members' mean calibrated probability: sigmoid of them, or softmax where the classes are
    `exclusive`, gives that mean. `members`: one entry each, fields of `Member` or nothing. `hilum bundle ensemble` makes one
    of finished bundles. `pretrained`: where each member's backbone starts.

    Maps and embeddings of the members stand side by side.
    """

    head: MeanOfHeads

    def __init__(
        self,
        outputs: int,
        members: Sequence[Mapping[str, Any]] = ({}, {}, {}, {}, {}),
        architecture: str = "timm",
        options: Mapping[str, Any] | None = None,
        exclusive: bool = False,
        pretrained: str | Path | None = None,
        channels: int = 3,
    ) -> None:
        super().__init__()
        if not members:
            raise RecipeError("an ensemble has at least one member")
        start = {} if pretrained is None else {"pretrained": pretrained}
        models = [
            build(architecture, outputs=outputs, channels=channels, **start, **(options or {}))
            for _ in members
        ]
        first = models[0]
        if not isinstance(first, Classifier) or isinstance(first, Ensemble):
            raise RecipeError(f"an ensemble is of classifiers; {architecture!r} is none")
        self.channels, self.input_size = first.channels, first.input_size
        self.mean, self.std, self.backbones = first.mean, first.std, first.backbones
        self.head = MeanOfHeads(
            [m.get_submodule("head") for m in models], [Member(**m) for m in members], outputs, exclusive
        )
        for model in models:
            model.head = nn.Identity()  # it lives in the ensemble's head, once
        self.members = nn.ModuleList(models)

    def feature_map(self, images: Tensor) -> Tensor:
        return torch.cat([member.feature_map(images) for member in self._encoders()], 1)

    def pool(self, features: Tensor) -> Tensor:
        parts = features.chunk(len(self.members), 1)
        return torch.cat([m.pool(part) for m, part in zip(self._encoders(), parts, strict=True)], 1)

    def linear_head(self) -> None:
        """None: a mean of probabilities is not linear in the embedding."""
        return None

    def class_weights(self, embedding: Tensor) -> Tensor:
        """The members' own, each in units of its calibrated logit and divided by their number: a mean of their maps."""
        heads, parts = self.head.heads, embedding.chunk(len(self.members), 1)
        weights = [head_weights(head, part) for head, part in zip(heads, parts, strict=True)]
        scaled = [w * slope[:, None] for w, slope in zip(weights, self.head.slope, strict=True)]
        return torch.cat(scaled, 1) / len(scaled)

    def member_logits(self, embedding: Tensor) -> Tensor:
        return self.head.each(embedding)

    def encoder_parameters(self) -> Iterator[nn.Parameter]:
        return chain.from_iterable(member.encoder_parameters() for member in self._encoders())

    def load_member(self, place: int, weights: Mapping[str, Tensor]) -> None:
        """Take the state of a model of this ensemble's architecture as member `place`."""
        head = {k.removeprefix("head."): v for k, v in weights.items() if k.startswith("head.")}
        encoder: nn.Module = self.members[place]
        encoder.load_state_dict({k: v for k, v in weights.items() if not k.startswith("head.")})
        self.head.heads[place].load_state_dict(head)

    def _encoders(self) -> Iterator[Any]:
        return iter(self.members)


class MeanOfHeads(nn.Module):
    """The members' heads and calibrations: their embeddings side by side in, the logits of their mean probability out."""

    slope: Tensor
    intercept: Tensor

    def __init__(
        self, heads: Sequence[nn.Module], members: Sequence[Member], outputs: int, exclusive: bool
    ) -> None:
        super().__init__()
        self.heads = nn.ModuleList(heads)
        self.exclusive = exclusive
        # Of the options, which hold them whole; a bundle's weights would round them to 16 bits.
        for name in ("slope", "intercept"):
            rows = [torch.tensor(getattr(m, name), dtype=torch.float32).expand(outputs) for m in members]
            self.register_buffer(name, torch.stack(rows), persistent=False)

    def each(self, embedding: Tensor) -> Tensor:
        """Embeddings (n, members * features) to each member's calibrated logits (members, n, outputs)."""
        parts = embedding.chunk(len(self.heads), 1)
        logits = torch.stack([head(part) for head, part in zip(self.heads, parts, strict=True)])
        return logits * self.slope[:, None] + self.intercept[:, None]

    def forward(self, embedding: Tensor) -> Tensor:
        logits = self.each(embedding)
        if self.exclusive:
            return logits.log_softmax(-1).logsumexp(0) - math.log(len(logits))
        # log(mean p) - log(mean (1 - p)): the number of members cancels, and nothing is lost near 0 and 1.
        return F.logsigmoid(logits).logsumexp(0) - F.logsigmoid(-logits).logsumexp(0)
