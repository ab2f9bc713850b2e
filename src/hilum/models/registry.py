"""Find an architecture by name. A new one is one new file in this folder, decorated with `@register`."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from typing import Any

from hilum.errors import RecipeError
from hilum.models.contract import Model

_builders: dict[str, Callable[..., Model]] = {}
_SUPPORT = {
    "registry",
    "contract",
    "torchvision_operators",
    "pretrained",
    "backbones",
    "one_backbone",
    "two_backbones",
    "heads",
    "describe",
}


def register(name: str) -> Callable[[Callable[..., Model]], Callable[..., Model]]:
    """Decorate a class or function that builds a model: its keyword arguments are the recipe's `model` options.

    Every builder takes `outputs`, the number of logits (classes of a segmenter), and `pretrained`: None, `imagenet`
    (the backbone's own download) or the path of a .safetensors file; and `channels`, 1 or 3.
    """

    def add(builder: Callable[..., Model]) -> Callable[..., Model]:
        if name in _builders:
            raise ValueError(f"two models are named {name!r}")
        _builders[name] = builder
        return builder

    return add


def names() -> list[str]:
    """All registered names, sorted."""
    _import_all()
    return sorted(_builders)


def build(name: str, /, **options: Any) -> Model:
    """The model `name`, built with `options`; lists among them, as JSON and YAML have, become the tuples that models take.

    Raises RecipeError where the name is unknown or an option does not fit it.
    """
    make = builder(name)
    try:
        return make(**{k: tuple(v) if isinstance(v, list) else v for k, v in options.items()})
    except (TypeError, ValueError) as error:  # an option unknown, of another type, or out of range
        raise RecipeError(f"model {name!r} does not take these options: {error}") from error


def builder(name: str) -> Callable[..., Model]:
    """The class or function that builds the model `name`. Raises RecipeError where there is none."""
    _import_all()
    if name not in _builders:
        raise RecipeError(
            f"there is no model {name!r}", mend=f"Choose one of: {', '.join(sorted(_builders))}"
        )
    return _builders[name]


def _import_all() -> None:
    package = importlib.import_module("hilum.models")
    for module in pkgutil.iter_modules(package.__path__):
        if module.name not in _SUPPORT:
            importlib.import_module(f"hilum.models.{module.name}")
