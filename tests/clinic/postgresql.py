"""A PostgreSQL server for tests, where Debian's is installed."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from .helpers import free_port, wait_until


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


def new_database(server: str) -> str:
    """The address of an empty database at this server."""
    import pg8000.native

    name = f"test_{secrets.token_hex(6)}"
    port = int(server.rsplit(":", 1)[1])
    with pg8000.native.Connection("hilum", "127.0.0.1", "postgres", port) as connection:
        connection.run(f"CREATE DATABASE {name}")
    return f"{server}/{name}"
