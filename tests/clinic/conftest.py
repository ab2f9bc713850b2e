"""A store and a ledger for each test; the ledger in SQLite, and in PostgreSQL where Debian's is installed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from hilum.clinic.intake import Intake
from hilum.clinic.ledger import Ledger, database
from hilum.clinic.store import Store

from .postgresql import new_database, postgres

__all__ = ["postgres"]


@pytest.fixture(autouse=True, scope="package")
def _quick_disk() -> Iterator[None]:
    """No test cuts the power, so none waits for the disk."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(database, "SYNCHRONOUS", "OFF")
        yield


@pytest.fixture(params=["sqlite", "postgresql"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The address of an empty database of each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'ledger.sqlite3'}"
    return new_database(request.getfixturevalue("postgres"))


@pytest.fixture
def ledger(address: str) -> Iterator[Ledger]:
    opened = Ledger.open(address)
    yield opened
    opened.close()


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store", reserve=0)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("clinic")


@pytest.fixture(scope="module")
def intake(place: Path) -> Iterator[Intake]:
    """One intake for a module's tests, whose process takes a second to start; films differ by their UIDs."""
    ledger = Ledger.open(place / "ledger.sqlite3")
    with Intake(Store(place / "store", reserve=0), ledger, limit=2**20) as opened:
        yield opened
    ledger.close()
