"""What a registered model is: its parameters by part, its size, its input, and whose code and weights it is made of."""

from __future__ import annotations

import inspect
from dataclasses import asdict, dataclass
from typing import Any

import timm
from torch import nn

from hilum.errors import RecipeError
from hilum.models.contract import (
    Classifier,
    Detector,
    Encoder,
    Generative,
    Model,
    Segmenter,
    parameter_counts,
)
from hilum.models.registry import build, builder

TIMM_CODE = "Apache-2.0 (timm)"
KINDS = {
    "classifier": Classifier,
    "segmenter": Segmenter,
    "detector": Detector,
    "generator": Generative,
    "encoder": Encoder,
}


@dataclass(frozen=True)
class Backbone:
    """A timm model that an architecture is made of. `weights`: the licence that timm states for its pretrained weights."""

    name: str
    code: str
    weights: str | None


@dataclass(frozen=True)
class Description:
    """`parts`: parameters by part; all can be trained. `statistics`: batch norm's running means and variances, which other
    frameworks count as non-trainable parameters. `megabytes`: of a bundle's weights file (16-bit floats, statistics at 32).
    `code`: the licence of the architecture's own code.
    """

    name: str
    about: str
    options: dict[str, Any]
    kind: str
    parts: dict[str, int]
    parameters: int
    statistics: int
    megabytes: float
    input_size: tuple[int, ...]
    channels: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    head: str
    code: str
    backbones: tuple[Backbone, ...]

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def about(name: str) -> str:
    """The first paragraph of the architecture's docstring, on one line."""
    text = inspect.getdoc(builder(name)) or ""
    return " ".join(text.split("\n\n")[0].split())


def options(name: str) -> dict[str, Any]:
    """The options of an architecture and their defaults; None for `outputs`, which a recipe's labels decide."""
    parameters = inspect.signature(builder(name)).parameters.values()
    return {p.name: None if p.default is inspect.Parameter.empty else p.default for p in parameters}


def describe(name: str, /, **given: Any) -> Description:
    """The architecture `name` built with these options and random weights; nothing is downloaded.

    Raises RecipeError for an unknown name, an option that does not fit, or `pretrained`.
    """
    if given.get("pretrained") is not None:
        raise RecipeError(
            "a model is shown without weights, so that nothing is downloaded",
            mend="Leave `pretrained` out: its size does not depend on it",
        )
    model = build(name, **given)
    counts = parameter_counts(model)
    total = counts["trainable"] + counts["frozen"]
    statistics = sum(
        2 * m.num_features
        for m in model.modules()
        if isinstance(m, nn.modules.batchnorm._BatchNorm) and m.running_mean is not None
    )
    return Description(
        name=name,
        about=about(name),
        options={**options(name), **given},
        kind=next(name for name, kind in KINDS.items() if isinstance(model, kind)),
        parts=_parts(model),
        parameters=total,
        statistics=statistics,
        megabytes=(2 * total + 4 * statistics) / 1e6,
        input_size=tuple(model.input_size),
        channels=model.channels,
        mean=model.mean,
        std=model.std,
        head=_head(model),
        code=model.code,
        backbones=tuple(_backbone(backbone) for backbone in model.backbones),
    )


def _parts(model: Model) -> dict[str, int]:
    """Parameters of the encoder, of what joins or decodes its maps, and of the head; of a GAN, of its two networks."""
    if isinstance(model, Generative):
        networks = {"generator": model.generator, "discriminator": model.discriminator}
        return {part: sum(p.numel() for p in network.parameters()) for part, network in networks.items()}
    own = model if isinstance(model, Classifier | Segmenter | Detector | Encoder) else None
    encoder = {id(p) for p in own.encoder_parameters()} if own is not None else set()
    head = {id(p) for p in model.head.parameters()} if isinstance(model, Classifier) else set()
    if isinstance(model, Detector):
        head = {id(p) for p in model.parameters()} - encoder
    between = "fusion" if isinstance(model, Classifier) else "decoder"
    parts = {"encoder": 0, between: 0, "head": 0}
    for p in model.parameters():
        parts["encoder" if id(p) in encoder else "head" if id(p) in head else between] += p.numel()
    return {part: count for part, count in parts.items() if count}


def _head(model: Model) -> str:
    if not isinstance(model, Classifier):
        return "none"
    dropout = max((m.p for m in model.head.modules() if isinstance(m, nn.Dropout)), default=0.0)
    kind = "one linear layer" if model.linear_head() is not None else "hidden layer"
    return f"{'members side by side' if hasattr(model, 'members') else kind}, dropout {dropout:g}"


def _backbone(name: str) -> Backbone:
    config = timm.get_pretrained_cfg(name)
    weights = (config.license or "not stated") if config is not None and config.has_weights else None
    return Backbone(name, TIMM_CODE, weights)
