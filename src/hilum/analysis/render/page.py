"""The report as one self-contained HTML page: no network, no foreign script, all text from files escaped."""

from __future__ import annotations

import base64
import hashlib
import html
import math
from collections.abc import Iterable
from functools import cache
from importlib import resources
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from hilum import __version__
from hilum.analysis.render import pictures, words
from hilum.analysis.render.files import slug
from hilum.analysis.render.overlay import HEATS, drawn
from hilum.analysis.report import FindingResult, Report
from hilum.bundles.card import RESEARCH_USE

NOTEBOOK_SIDE = 1000  # pixels; every cell's output is stored in the notebook


def report_html(report: Report, side: int = pictures.DISPLAY_SIDE) -> str:
    """The page, which also reads without JavaScript and on paper. `side`: the film's long side in pixels, at most."""
    report = report.in_full()
    return render(
        "report.html",
        styles=("base.css", "report.css"),
        scripts=("viewer.js", "report.js"),
        report=report,
        name=report.film.path.name if report.film.path is not None else "Film",
        headline=_headline(report),
        summary=words.summary(report),
        shown=", ".join(f.name for f in pictures.shown(report)[:HEATS]),
        mapped=any(f.heatmap is not None and not f.empty for f in report.findings),
        emptied=any(f.empty for f in report.findings),
        method=words.HEATMAPS.get(report.heatmap_method or "", report.heatmap_method),
        film=pictures.pack_film(report.film.pixels, report.film.bits, side),
        still=pictures.data_uri(pictures.jpeg(drawn(report, min(side, 1200))), "image/jpeg"),
        outlines=_outlines(report),
        scale=pictures.data_uri(pictures.png(pictures.colour_scale()), "image/png"),
        sections=_sections(report),
        facts=_facts(report),
    )


def notebook_html(report: Report) -> str:
    """The page in a frame of its own, for a notebook's cell: its styles and scripts reach nothing outside."""
    page = html.escape(report_html(report, NOTEBOOK_SIDE), quote=True)
    return (
        f'<iframe srcdoc="{page}" sandbox="allow-scripts" title="Hilum report" width="100%" height="900" '
        'style="border:1px solid #d5d9de;border-radius:6px"></iframe>'
    )


def render(template: str, styles: Iterable[str], scripts: Iterable[str], **values: Any) -> str:
    """A template with the named parts inlined. The policy allows these parts, by SHA-256, and nothing else: an
    injected script or style would not run even if it escaped the escaping."""
    css = [_part(name) for name in styles]
    js = [_part(name) for name in scripts]
    policy = (
        f"default-src 'none'; img-src data:; style-src {_hashes(css)}; script-src {_hashes(js)}; "
        "base-uri 'none'; form-action 'none'"
    )
    fixed = {"version": __version__, "research_use": RESEARCH_USE, "words": words}
    page = _environment().get_template(template)
    text = page.render(styles=css, scripts=js, policy=policy, **fixed, **values)
    # A file's name may hold bytes that are no text; they show as escapes.
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


@cache
def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("hilum.analysis.render"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


@cache
def _part(name: str) -> Markup:
    folder = resources.files("hilum.analysis.render").joinpath("templates")
    return Markup(folder.joinpath(name).read_text(encoding="utf-8"))


def _hashes(parts: list[Markup]) -> str:
    digests = (hashlib.sha256(part.encode("utf-8")).digest() for part in parts)
    return " ".join(f"'sha256-{base64.b64encode(d).decode('ascii')}'" for d in digests) or "'none'"


def _outlines(report: Report) -> list[tuple[str, str]]:
    if report.lungs is None:
        return []
    sides = (("Right lung", report.lungs.right), ("Left lung", report.lungs.left))
    return [(name, pictures.svg_path(mask)) for name, mask in sides]


def _sections(report: Report) -> list[dict[str, Any]]:
    """The findings by bundle and group, in the bundles' order; within each the most suspicious first."""
    titles = {b.name: b.title for b in report.bundles}
    keys = list(dict.fromkeys((f.bundle, f.group) for f in report.findings))
    sections = []
    for bundle, group in keys:
        rows = [f for f in report.findings if (f.bundle, f.group) == (bundle, group)]
        rows.sort(key=lambda f: (f.positive, words.standing(f)), reverse=True)
        sections.append(
            {
                "title": titles.get(bundle, bundle),
                "group": group,
                "method": _method(rows),
                "rows": [_row(f) for f in rows],
            }
        )
    return sections


def _method(rows: list[FindingResult]) -> str:
    """Where the rows' intervals come from."""
    names = dict.fromkeys(words.METHODS.get(f.method, f.method) for f in rows if f.interval)
    return f"Intervals by {', '.join(names)}." if names else "No uncertainty was estimated."


def _row(f: FindingResult) -> dict[str, Any]:
    """A finding with its bar's places on an axis of 0 to 100."""
    heat = None
    if f.heatmap is not None and not f.empty:
        heat = pictures.data_uri(pictures.png(pictures.heat_layer(f.heatmap)), "image/png")
    low, high = f.interval or (None, None)
    return {
        "it": f,
        "id": f"{slug(f.bundle)}.{slug(f.name)}",
        "heat": heat,
        "share": words.lung_share(f),
        "strays": f.strays,
        "x": _place(f.probability) or 0,
        "low": _place(low),
        "high": _place(high),
        "cut": _place(f.threshold),
    }


def _place(share: float | None) -> float | None:
    return None if share is None or not math.isfinite(share) else round(100 * min(1.0, max(0.0, share)), 2)


def _headline(report: Report) -> str:
    film = report.film
    parts = (words.VIEWS.get(film.view or ""), words.SEXES.get(film.sex or ""), words.age(film.age))
    return " · ".join([*(p for p in parts if p), f"{film.width} × {film.height} pixels"])


def _facts(report: Report) -> list[tuple[str, str | None]]:
    """What the file says of itself, in the order a reader asks; None where it says nothing."""
    film = report.film
    spacing = f"{film.spacing[0]:.4g} × {film.spacing[1]:.4g} mm" if film.spacing else None
    bits = f", {film.bits} bits" if film.bits else ""
    facts: list[tuple[str, str | None]] = [
        ("View", words.VIEWS.get(film.view or "")),
        ("Sex", words.SEXES.get(film.sex or "")),
        ("Age", words.age(film.age)),
        ("Body part", film.body_part),
        ("Size", f"{film.width} × {film.height} pixels{bits}"),
        ("Pixel spacing", spacing),
        ("Format", {"dicom": "DICOM", "array": "array in memory"}.get(film.format, film.format.upper())),
        *film.headers.items(),
        ("SHA-256", film.digest),
    ]
    return facts
