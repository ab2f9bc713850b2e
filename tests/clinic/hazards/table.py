"""What was seen, as the table of `docs/hazards.md`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from .clinic import ROOT
from .doors import DOORS, NAMES, Door, Seen
from .entries import GROUPS, Cannot, Hazard

PAGE = ROOT / "docs" / "hazards.md"
BEGIN, END = "<!-- written by python -m tests.clinic.hazards -->", "<!-- to here -->"


def table(seen: Mapping[tuple[str, Door], Seen]) -> str:
    """A row a hazard: what was demanded, what was seen at each door, and what was said there."""
    lines: list[str] = []
    for title, hazards in GROUPS.items():
        lines += [
            f"## {title}",
            "",
            "| | hazard | demanded | " + " | ".join(NAMES[door] for door in DOORS) + " | what is said |",
        ]
        lines.append("|" + "---|" * (len(DOORS) + 4))
        for hazard in hazards:
            cells = [cell(hazard, door, seen.get((hazard.name, door))) for door in DOORS]
            words = [hazard.number, hazard.what, hazard.demand, *cells, _said(hazard, seen)]
            lines.append("| " + " | ".join(_plain(word) for word in words) + " |")
        lines.append("")
    return "\n".join(lines)


def cell(hazard: Hazard, door: Door, seen: Seen | None) -> str:
    """The word for what was seen; why it cannot come; empty where neither is known."""
    want = hazard.wants[door]
    if isinstance(want, Cannot):
        return f"({want.why})"
    return seen.verb if seen is not None else ""


def _said(hazard: Hazard, seen: Mapping[tuple[str, Door], Seen]) -> str:
    """What all doors said, each saying once; one that is the beginning of another is not another."""
    said = dict.fromkeys(seen[(hazard.name, door)].said for door in DOORS if (hazard.name, door) in seen)
    whole = [each for each in said if each and not _begun(each, said)]
    return "; ".join(whole)


def _begun(words: str, others: Iterable[str]) -> bool:
    return any(other != words and other.startswith(words) for other in others)


def _plain(text: str) -> str:
    return text.replace("|", "/").replace("<", "&lt;").replace("\n", " ")


def page_with(rendered: str, page: Path = PAGE) -> str:
    """The page's text with another table in its place."""
    text = page.read_text()
    before, rest = text.split(BEGIN)
    return f"{before}{BEGIN}\n\n{rendered}{END}{rest.split(END)[1]}"
