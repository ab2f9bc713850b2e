"""Table E.1-1 of PS3.15 (edition 2026c) as data, and which of an attribute's actions is taken on a film.

`table.tsv` has a row an attribute: its tag, the basic profile's action, and the option (of those that Hilum offers)
that keeps it. Where the table leaves a choice to the object's definition (`X/Z/D`), a film's attribute is emptied if it
may be and else removed: in the definitions of films (CR, DX, SC) none of these is of type 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from functools import cache
from importlib.resources import files

from pydicom.datadict import dictionary_has_tag
from pydicom.tag import BaseTag


class Action(Enum):
    """Table E.1-1a: what becomes of an attribute."""

    DUMMY = "D"
    EMPTY = "Z"
    REMOVE = "X"
    KEEP = "K"
    SHIFT = "C"
    RENAME = "U"
    LOOK_INSIDE = "U*"
    """A sequence of references: kept, with other identifiers."""


@dataclass(frozen=True)
class Options:
    """What is kept beyond the basic profile (PS3.15 E.3).

    `dates`: moved by the same number of days for all of a patient's films (modified dates, E.3.6). `device`: the equipment's
    identity. `person`: age, sex, size, weight and the like (patient characteristics).
    """

    dates: bool = False
    device: bool = False
    person: bool = False

    @property
    def codes(self) -> tuple[tuple[str, str], ...]:
        """The profile and its options as codes of CID 7050, for (0012,0064)."""
        chosen = [("113100", "Basic Application Confidentiality Profile")]
        if self.dates:
            chosen.append(("113107", "Retain Longitudinal Temporal Information Modified Dates Option"))
        if self.person:
            chosen.append(("113108", "Retain Patient Characteristics Option"))
        if self.device:
            chosen.append(("113109", "Retain Device Identity Option"))
        return tuple(chosen)


@dataclass(frozen=True)
class Row:
    """A row of the table: the basic profile's `actions` and the option of `Options` that `kept_by` names."""

    actions: tuple[str, ...]
    kept_by: str
    name: str


@cache
def table() -> dict[int, Row]:
    """Rows by tag. Repeating groups (50xx, 60xx) and private elements are `action_on`'s own."""
    lines = files("hilum.clinic.deidentify").joinpath("table.tsv").read_text(encoding="utf-8").splitlines()
    rows = {}
    for line in lines[1:]:
        tag, actions, kept_by, name = line.split("\t")
        if "x" not in tag:
            rows[int(tag, 16)] = Row(tuple(actions.split("/")), kept_by, name)
    return rows


def action_on(tag: BaseTag, options: Options) -> Action:
    """What becomes of the element at `tag` of a film."""
    if tag.is_private or tag.group >> 8 in (0x50, 0x60):  # private, curves, overlays
        return Action.REMOVE
    row = table().get(int(tag))
    if row is None:  # what no dictionary knows cannot be said to be harmless
        return Action.KEEP if dictionary_has_tag(tag) else Action.REMOVE
    if row.kept_by and getattr(options, row.kept_by):
        return Action.SHIFT if row.kept_by == "dates" else Action.KEEP
    return _choice(row.actions)


def _choice(actions: tuple[str, ...]) -> Action:
    for preferred in (Action.LOOK_INSIDE, Action.EMPTY, Action.REMOVE):
        if preferred.value in actions:
            return preferred
    return Action(actions[0])
