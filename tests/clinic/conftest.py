"""A store and a ledger for each test; the ledger in SQLite, and in PostgreSQL where Debian's is installed."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from hilum.clinic.intake import Intake
from hilum.clinic.ledger import Ledger, database
from hilum.clinic.store import Store

from .helpers import free_port, wait_until


@pytest.fixture(autouse=True, scope="package")
def _quick_disk() -> Iterator[None]:
    """No test cuts the power, so none waits for the disk."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(database, "SYNCHRONOUS", "OFF")
        yield


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a PostgreSQL server of our own, without a database's name."""
    programs = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not programs:
        pytest.skip("PostgreSQL is not installed (Debian: postgresql)")
    pytest.importorskip("pg8000")
    home, bin_, port = tmp_path_factory.mktemp("postgres"), programs[-1].parent, free_port()
    user: list[str] = []
    if os.geteuid() == 0:  # it does not run as root
        if shutil.which("runuser") is None:
            pytest.skip("PostgreSQL does not run as root, and there is no runuser")
        for folder in (home, *home.parents):
            if folder.owner() == "root" and folder != Path("/"):
                folder.chmod(folder.stat().st_mode | 0o011)
        shutil.chown(home, "postgres", "postgres")
        user = ["runuser", "-u", "postgres", "--"]
    make = [*user, str(bin_ / "initdb"), "-D", str(home / "data"), "-A", "trust", "-U", "hilum", "--no-sync"]
    subprocess.run(make, check=True, capture_output=True, cwd="/")
    options = ["-c", "listen_addresses=127.0.0.1", "-k", str(home), "-p", str(port), "-c", "fsync=off"]
    server = subprocess.Popen(
        [*user, str(bin_ / "postgres"), "-D", str(home / "data"), *options],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd="/",
    )
    ready = [str(bin_ / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(port)]
    try:
        wait_until(lambda: subprocess.run(ready, check=False).returncode == 0, 60)
        yield f"postgresql://hilum@127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait(30)


@pytest.fixture(params=["sqlite", "postgresql"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The address of an empty database of each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'ledger.sqlite3'}"
    import pg8000.native

    server = request.getfixturevalue("postgres")
    name = f"test_{secrets.token_hex(6)}"
    with pg8000.native.Connection(
        "hilum", "127.0.0.1", "postgres", int(server.rsplit(":", 1)[1])
    ) as connection:
        connection.run(f"CREATE DATABASE {name}")
    return f"{server}/{name}"


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
