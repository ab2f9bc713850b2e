"""One service for all tests of the package, on small bundles, with films that were analysed in this process."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from hilum.analysis.analyzer import Analyzer
from hilum.clinic.analysing import Task, _analyse, dicom_writer
from hilum.clinic.ledger import Ledger, Tokens, database
from hilum.clinic.ledger.queue import Made
from hilum.clinic.store import Store
from tests.bundles_for_tests import classifier_bundle, dark_lungs_bundle
from tests.clinic.helpers import phantom_film

pytest.importorskip("fastapi", reason="the extra 'serve' is not installed")

from starlette.testclient import TestClient

from hilum.service.app import create_app
from hilum.service.desk import Desk
from hilum.service.settings import Settings

SETTINGS = Settings(film=2 * 2**20, body=3 * 2**20, idle=1.0, whole=3.0, archives=("http://pacs/dicom-web",))
NAME = '<script>alert("x")</script>^Eve\r\nINFO forged'


@contextmanager
def open_desk(database_url: str | None = None) -> Iterator[Desk]:
    """A desk in a folder of its own, its ledger in SQLite there or in another database."""
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as folder:
        patch.setattr(database, "SYNCHRONOUS", "OFF")
        place = Path(folder)
        ledger = Ledger.open(database_url or place / "ledger.sqlite3")
        with Desk(Store(place / "store", reserve=0), ledger, SETTINGS) as opened:
            yield opened
        ledger.close()


def make_secrets(desk: Desk) -> dict[str, str]:
    """A token of each scope, and `all` with every one."""
    tokens = Tokens(desk.ledger)
    scopes = ("submit", "read", "review", "admin")
    made = {scope: tokens.make(f"only-{scope}", (scope,)) for scope in scopes}
    return made | {"all": tokens.make("anna", scopes)}


def make_film(desk: Desk) -> int:
    """The number of a film that is done: a phantom, of a person with a hostile name."""
    return analysed(desk, phantom_film(1000, PatientName=NAME, PatientID="P-77"))


@pytest.fixture(scope="package")
def desk() -> Iterator[Desk]:
    with open_desk() as opened:
        yield opened


@pytest.fixture(scope="package")
def secrets(desk: Desk) -> dict[str, str]:
    return make_secrets(desk)


@pytest.fixture(scope="package")
def film(desk: Desk) -> int:
    return make_film(desk)


@pytest.fixture
def client(desk: Desk) -> TestClient:
    return TestClient(create_app(desk), base_url="http://hilum", raise_server_exceptions=False)


@pytest.fixture
def api(client: TestClient, secrets: dict[str, str]) -> TestClient:
    client.headers["authorization"] = f"Bearer {secrets['all']}"
    return client


def analysed(desk: Desk, data: bytes) -> int:
    """Take a film in and analyse it with toy bundles, as a worker would; returns its number."""
    outcome = desk.intake.accept([data], "upload", "a test")
    assert outcome.kind == "queued", outcome
    analyzer = Analyzer([classifier_bundle(), dark_lungs_bundle()], samples=4)
    while (claim := desk.queue.claim("a test")) is not None:
        with desk.store.making() as place:
            task = Task(desk.store.film(claim.file), claim.sop_uid, place)
            done = _analyse(analyzer, dicom_writer(), task)
            made = Made(
                done.bundles, desk.store.publish(place), done.files, done.summary, done.products, done.seconds
            )
        assert desk.queue.finish(claim, made)
    assert outcome.job_id is not None
    return outcome.job_id
