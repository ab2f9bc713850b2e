"""Recipes from YAML files and plain values, with `key=value` changes, and the environment in their paths."""

from __future__ import annotations

import copy
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from hilum.errors import RecipeError
from hilum.learning.recipe import Recipe


def load_recipe(path: str | Path, changes: Sequence[str] = ()) -> Recipe:
    """The recipe in a YAML file with `key=value` changes. RecipeError names the field that is wrong."""
    path = Path(path)
    try:
        content = yaml.safe_load(path.read_text())
    except OSError as error:
        raise RecipeError(
            "there is no recipe here", path=path, mend="Give the path of a YAML file"
        ) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise RecipeError(f"this is not YAML: {_plain(error)}", path=path) from error
    if not isinstance(content, dict):
        raise RecipeError("a recipe is a mapping of sections", path=path)
    return make_recipe(content, changes, path)


def make_recipe(content: Mapping[str, Any], changes: Sequence[str], path: str | Path) -> Recipe:
    """A recipe from plain values with `key=value` changes; `path` is what an error names."""
    changed = copy.deepcopy(dict(content))
    for change in changes:
        _apply(changed, change)
    try:
        return Recipe.model_validate(changed)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"]) or "the recipe"
        fault = first["msg"].removeprefix("Value error, ")
        raise RecipeError(f"{field}: {fault}", path=path, mend="See docs/train.md for every field") from error


def expand(text: str) -> Path:
    """A path with `${NAME}` and `${NAME:-fallback}` taken from the environment. RecipeError where a name is not set."""

    def value(match: re.Match[str]) -> str:
        name, fallback = match[1], match[2]
        found = os.environ.get(name) or fallback
        if found is None:
            raise RecipeError(f"the environment variable {name} is not set", mend=f"export {name}=/path")
        return found

    return Path(re.sub(r"\$\{(\w+)(?::-([^}]*))?\}", value, text)).expanduser()


def _apply(content: dict[str, Any], change: str) -> None:
    key, equals, value = change.partition("=")
    if not equals:
        raise RecipeError(f"{change!r} is not a change", mend="Write key=value, such as phases.0.epochs=5")
    try:
        new = yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise RecipeError(f"{key}: {value!r} is not YAML: {_plain(error)}") from error
    *parents, last = key.split(".")
    place: Any = content
    for part in parents:
        if isinstance(place, list):
            place = place[_index(part, place, key)]
        elif isinstance(place, dict):
            place = place.setdefault(part, {})
    if isinstance(place, list):
        place[_index(last, place, key)] = new
    elif isinstance(place, dict):
        place[last] = new
    else:
        raise RecipeError(f"{key}: there is nothing under {'.'.join(parents)} to change")


def _plain(error: Exception) -> str:
    """YAML's message, which takes several lines, on one."""
    return " ".join(str(error).split())


def _index(part: str, place: list[Any], key: str) -> int:
    if not part.isdigit() or int(part) >= len(place):
        raise RecipeError(f"{key}: {part!r} is no position in a list of {len(place)}")
    return int(part)
