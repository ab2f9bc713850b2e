"""The whole list of bad inputs through every door of running processes, against what is demanded, and against the page.

The processes start once; a test is a cell of the table. `python -m tests.clinic.hazards` writes the page.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pytest

from .hazards.clinic import Clinic, running
from .hazards.doors import DOORS, Door, Seen
from .hazards.entries import HAZARDS, Cannot, Hazard
from .hazards.run import Key, observe
from .hazards.table import PAGE, cell, page_with, table

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::UserWarning")]
CELLS = [(hazard, door) for hazard in HAZARDS for door in DOORS]
MEMORY = (
    2 * 2**30
)  # bytes of any one process: 1.5 GiB for a look at a film, and what the process is without it


@dataclass
class Run:
    """`alive`: did a process run until it was told to stop?"""

    seen: Mapping[Key, Seen]
    clinic: Clinic
    alive: Mapping[str, bool]


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Run:
    with running(tmp_path_factory.mktemp("hazards") / "clinic") as clinic:
        seen = observe(clinic)
        alive = {name: clinic.processes[name].poll() is None for name in ("serve", "node", "watch", "worker")}
    return Run(seen, clinic, alive)


@pytest.mark.parametrize(("hazard", "door"), CELLS, ids=[f"{hazard.name}, {door}" for hazard, door in CELLS])
def test_a_hazard_at_a_door(hazard: Hazard, door: Door, ran: Run) -> None:
    want, seen = hazard.wants[door], ran.seen.get((hazard.name, door))
    assert cell(hazard, door, seen), "a cell is empty"
    if isinstance(want, Cannot):
        assert seen is None, f"it came, though it cannot: {want.why}"
    else:
        assert want.holds(seen), f"{seen}, not {want}"


def test_no_process_ended_and_each_stops_when_it_is_told(ran: Run) -> None:
    assert ran.alive == dict.fromkeys(ran.alive, True), ran.clinic.logs()[-3000:]
    assert {name: ran.clinic.processes[name].returncode for name in ran.alive} == dict.fromkeys(ran.alive, 0)


def test_memory_stayed_bounded(ran: Run) -> None:
    assert 2**26 < ran.clinic.largest < MEMORY


def test_nothing_was_written_outside(ran: Run) -> None:
    place, store = ran.clinic.place, ran.clinic.store
    assert {path.name for path in place.iterdir()} == {"store", "films", "out", "logs", "a", "bundles"}
    assert list((place / "a").rglob("*")) == [place / "a" / "b"]
    assert {path.name.split(".")[0] for path in store.iterdir()} == {"ledger", "films", "results", "work"}
    kept = [path.relative_to(store / "films").as_posix() for path in (store / "films").glob("*/*")]
    assert kept
    assert all(set(name) <= set("0123456789abcdef/") for name in kept)
    assert not list((store / "work").iterdir())
    assert not (place.parent / "x").exists()


def test_the_page_is_what_was_seen(ran: Run) -> None:
    text = page_with(table(ran.seen))
    assert PAGE.read_text() == text, "docs/hazards.md is stale: python -m tests.clinic.hazards"
