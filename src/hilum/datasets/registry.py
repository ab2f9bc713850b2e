"""The register of public datasets: a file in `sources/` that decorates its `load` with `@source` is one."""

from __future__ import annotations

import difflib
import importlib
import inspect
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, get_type_hints

from hilum.datasets.manifest import Manifest
from hilum.errors import DataError

_SOURCES: dict[str, Source] = {}


@dataclass(frozen=True)
class Source:
    """A dataset that Hilum knows how to read.

    Attributes
    ----------
    name: what the command line calls it. title, what: for people.
    licence: of the data. homepage: who publishes it. citation: what to cite.
    layout: the files it looks for, as an example.
    load: `(root, **options) -> Manifest`.
    """

    name: str
    title: str
    what: str
    licence: str
    homepage: str
    citation: str
    layout: str
    load: Callable[..., Manifest]

    @property
    def options(self) -> Mapping[str, inspect.Parameter]:
        """The keyword options of `load`."""
        parameters = inspect.signature(self.load).parameters
        return {name: p for name, p in parameters.items() if p.kind is inspect.Parameter.KEYWORD_ONLY}


def source(
    name: str, *, title: str, what: str, licence: str, homepage: str, citation: str, layout: str
) -> Callable[[Callable[..., Manifest]], Callable[..., Manifest]]:
    """Register `load(root, *, ...) -> Manifest` as the dataset `name`."""

    def register(load: Callable[..., Manifest]) -> Callable[..., Manifest]:
        if name in _SOURCES:
            raise ValueError(f"source '{name}' is registered twice")
        _SOURCES[name] = Source(
            name, title, what, licence, homepage, citation, inspect.cleandoc(layout), load
        )
        return load

    return register


@cache
def sources() -> Mapping[str, Source]:
    """Every registered source by name."""
    package = importlib.import_module("hilum.datasets.sources")
    for module in pkgutil.iter_modules(package.__path__, package.__name__ + "."):
        importlib.import_module(module.name)
    return dict(sorted(_SOURCES.items()))


def get(name: str) -> Source:
    """The source called `name`; DataError with the nearest names where there is none."""
    found = sources().get(name)
    if found is None:
        near = difflib.get_close_matches(name, sources(), n=2)
        mend = f"Did you mean {' or '.join(near)}?" if near else f"There are: {', '.join(sources())}."
        raise DataError(f"'{name}' is no dataset that Hilum knows", mend=mend)
    return found


def load(name: str, root: str | Path, **options: Any) -> Manifest:
    """The manifest of dataset `name` at `root`. Options may be text (from a command line) and are read by
    type.
    """
    from pydantic import TypeAdapter, ValidationError

    chosen = get(name)
    hints = get_type_hints(chosen.load)
    for option, value in options.items():
        if option not in chosen.options:
            known = ", ".join(chosen.options) or "none"
            raise DataError(f"source '{name}' has no option '{option}'", mend=f"Its options: {known}.")
        try:
            options[option] = TypeAdapter(hints[option]).validate_python(value)
        except ValidationError as fault:
            raise DataError(f"option '{option}' of source '{name}': {fault.errors()[0]['msg']}") from fault
    return chosen.load(Path(root), **options)
