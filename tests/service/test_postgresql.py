"""The service's tests again, every one of them that asks the ledger, on a ledger in PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from hilum.service.desk import Desk
from tests.clinic.postgresql import new_database, postgres

from .conftest import make_film, make_secrets, open_desk
from .test_access import *  # noqa: F403
from .test_films import *  # noqa: F403
from .test_state import *  # noqa: F403

__all__ = ["postgres"]


@pytest.fixture(scope="module")
def desk(postgres: str) -> Iterator[Desk]:
    with open_desk(new_database(postgres)) as opened:
        yield opened


@pytest.fixture(scope="module")
def secrets(desk: Desk) -> dict[str, str]:
    return make_secrets(desk)


@pytest.fixture(scope="module")
def film(desk: Desk) -> int:
    return make_film(desk)


def test_the_ledger_is_in_postgresql(desk: Desk) -> None:
    assert desk.ledger.url.get_backend_name() == "postgresql"
