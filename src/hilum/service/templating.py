"""Pages from templates; everything that is put in is escaped."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import cache
from typing import Any

from fastapi.responses import HTMLResponse
from jinja2 import Environment, PackageLoader, StrictUndefined

from hilum import __version__
from hilum.analysis.render.words import percent
from hilum.bundles.card import RESEARCH_USE


def page(name: str, status: int = 200, headers: dict[str, str] | None = None, **values: Any) -> HTMLResponse:
    """The template `name` with these values."""
    given = {"caller": None, "research_use": RESEARCH_USE, "version": __version__, **values}
    return HTMLResponse(_environment().get_template(name).render(given), status, headers)


@cache
def _environment() -> Environment:
    made = Environment(
        loader=PackageLoader("hilum.service"), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    made.filters["percent"] = percent
    made.filters |= {"when": _when, "person": _person, "day": _day}
    return made


def _when(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M")


def _person(name: str) -> str:
    """`Doe^Jane^Q` (PS3.5 6.2.1, its alphabetic form) as `Doe, Jane Q`."""
    family, _, rest = name.split("=")[0].partition("^")
    given = " ".join(part for part in rest.split("^") if part)
    return f"{family}, {given}" if given else family


def _day(text: str) -> str:
    """`20260131` as `2026-01-31`; what is no such date as it is."""
    return f"{text[:4]}-{text[4:6]}-{text[6:]}" if len(text) == 8 and text.isdigit() else text
