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
    made.filters["when"] = _when
    return made


def _when(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M")
