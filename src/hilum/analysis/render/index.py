"""The index of a call: every film and every failure, for machines (`index.json`) and people (`index.html`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from hilum import __version__
from hilum.analysis.render.files import as_json, write_whole
from hilum.analysis.render.page import render
from hilum.bundles.card import RESEARCH_USE
from hilum.errors import HilumError

TITLES = {
    "positive": "Flagged",
    "negative": "Not flagged",
    "unanalysable": "Not analysed",
    "failed": "Failed",
}
SIGNS = {"positive": "▲", "negative": "·", "unanalysable": "!", "failed": "×"}
LARGEST = 10_000  # rows of the page; a browser sorts these at once. The JSON holds all.


def write_index(
    entries: Sequence[Mapping[str, Any]], failures: Sequence[Mapping[str, Any]], out: Path, elapsed: float
) -> Path:
    """Write `index.json` and `index.html` into the folder `out`; returns the page's path.

    `entries`: one a film analysed, with `file`, `name` (in tables), `report`, `html`, `png` (names in `out`, or None),
    `analysable`, `reason`, `positive` (names of findings) and `warnings` (their texts). `failures`: `file`, `fault`, `mend`.
    `elapsed`: seconds.
    Raises HilumError for a folder that cannot be written.
    """
    rows = [_failed(f) for f in failures] + [_row(e) for e in entries]
    counts = {"films": len(rows), **{state: sum(r["state"] == state for r in rows) for state in TITLES}}
    content = {
        "version": __version__,
        "research_use": RESEARCH_USE,
        "seconds": round(elapsed, 3),
        "counts": counts,
        "reports": list(entries),
        "failures": list(failures),
    }
    page = render(
        "index.html",
        styles=("base.css", "index.css"),
        scripts=("index.js",),
        rows=rows[:LARGEST],
        counts=counts,
        titles=TITLES,
        signs=SIGNS,
        spent=_spent(elapsed),
    )
    try:
        out.mkdir(parents=True, exist_ok=True)
        write_whole(out / "index.json", as_json(content))
        write_whole(out / "index.html", page.encode("utf-8"))
    except OSError as error:
        raise HilumError(
            f"the index cannot be written ({error.strerror or error})",
            path=out,
            mend="Check space and permissions.",
        ) from error
    return out / "index.html"


def _row(entry: Mapping[str, Any]) -> dict[str, Any]:
    if not entry["analysable"]:
        state, result = "unanalysable", str(entry["reason"] or "no reason given")
    elif entry["positive"]:
        state, result = "positive", ", ".join(map(str, entry["positive"]))
    else:
        state, result = "negative", "nothing above its threshold"
    return {
        "file": str(entry["file"]),
        "state": state,
        "result": result,
        "more": " ".join(map(str, entry["warnings"])),
        "warnings": len(entry["warnings"]),
        "html": _link(entry["html"]),
        "png": _link(entry["png"]),
        "json": _link(entry["report"]),
    }


def _failed(failure: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "file": str(failure["file"]),
        "state": "failed",
        "result": str(failure["fault"]),
        "more": str(failure["mend"] or ""),
        "warnings": 0,
        "html": None,
        "png": None,
        "json": None,
    }


def _link(name: str | None) -> str | None:
    """A relative address that can be nothing else: `./` before it keeps `javascript:x` a file's name."""
    return f"./{quote(name, errors='surrogateescape')}" if name else None


def _spent(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.1f} seconds"
    minutes = round(seconds / 60)
    return f"{minutes} minutes" if minutes < 90 else f"{minutes // 60} hours {minutes % 60} minutes"
