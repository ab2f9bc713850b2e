"""Open the ledger: SQLite in the store by default, PostgreSQL by URL; migrated to the newest schema as it opens."""

from __future__ import annotations

import logging
import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, create_engine, event, insert, make_url, select, text
from sqlalchemy.exc import SQLAlchemyError

from hilum.clinic.ledger.tables import settings
from hilum.errors import ClinicError, MissingExtraError

SYNCHRONOUS = "FULL"  # a commit is on the disk before it is told to anyone
PATIENCE = 60  # seconds that a writer waits for the one before
_INTAKE_LOCK, _MIGRATION_LOCK = 0x48_49_4C_55, 0x48_49_4C_56  # PostgreSQL's advisory locks, any two numbers


class Ledger:
    """The database. One object serves all threads of a process; every process opens its own."""

    def __init__(self, url: URL) -> None:
        self.url = url
        self.is_sqlite = url.get_backend_name() == "sqlite"
        # Connections are kept: the last one to close would fold SQLite's log into its file each time.
        self.engine = create_engine(url, pool_pre_ping=not self.is_sqlite)
        self._one_writer = threading.Lock()
        if self.is_sqlite:
            event.listen(self.engine, "connect", _prepare_sqlite)
            event.listen(self.engine, "begin", _begin_sqlite)

    @classmethod
    def open(cls, url: str | Path) -> Ledger:
        """The ledger at a database URL, or in a SQLite file; made where it is absent, migrated where it is old.

        PostgreSQL is reached by pg8000: `postgresql://user:password@host/name`.

        Raises ClinicError where the database cannot be opened or was written by a newer Hilum, MissingExtraError where
        pg8000 is absent.
        """
        ledger = cls(_url(url))
        try:
            ledger.migrate()
        except SQLAlchemyError as error:
            ledger.close()
            first = str(getattr(error, "orig", None) or error).splitlines()[0]
            raise ClinicError(
                f"the ledger {ledger} cannot be opened ({first})",
                mend="Check the database's address, rights and disk.",
            ) from error
        return ledger

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A connection that sees one state of the database."""
        with self.engine.connect() as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """A transaction that is whole or absent, durable once it ends, and alone: no other writer is inside meanwhile.

        That makes "look, then insert" safe. Keep it short.
        """
        if self.is_sqlite:
            # SQLite's waiting is unfair among threads; a lock here leaves only processes to wait for.
            with self._one_writer, self._alone() as connection:
                yield connection
            return
        with self.engine.begin() as connection:
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _INTAKE_LOCK})
            yield connection

    @contextmanager
    def _alone(self) -> Iterator[Connection]:
        with self.engine.connect() as plain:
            connection = plain.execution_options(writes=True)
            with connection.begin():
                yield connection

    def setting(self, name: str) -> Any:
        """The stored value of this name, or None."""
        with self.read() as connection:
            return connection.scalar(select(settings.c.value).where(settings.c.name == name))

    def set(self, name: str, value: Any) -> None:
        """Store a JSON value under a name, in place of what was there."""
        with self.write() as connection:
            _put(connection, name, value)

    def secret(self) -> bytes:
        """This ledger's own key, 32 random bytes made once; patients' marks are hashed with it."""
        kept = self.setting("secret")
        if kept is None:
            with self.write() as connection:
                kept = connection.scalar(select(settings.c.value).where(settings.c.name == "secret"))
                if kept is None:
                    kept = secrets.token_hex(32)
                    _put(connection, "secret", kept)
        return bytes.fromhex(kept)

    def migrate(self, to: str = "head") -> None:
        """Bring the schema to a revision, whatever it is now; one process at a time."""
        logging.getLogger("alembic").setLevel(logging.WARNING)  # it tells each plugin that it loads
        from alembic import command
        from alembic.config import Config
        from alembic.util import CommandError

        config = Config()
        config.set_main_option("script_location", str(files("hilum.clinic.ledger") / "migrations"))
        try:
            with self._one_writer, self._alone() as connection:
                if not self.is_sqlite:
                    connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _MIGRATION_LOCK})
                config.attributes["connection"] = connection
                command.upgrade(config, to)
        except CommandError as error:
            raise ClinicError(
                f"the schema of the ledger {self} is not known here ({error})",
                mend="It was written by a newer Hilum: update this one.",
            ) from error

    def __str__(self) -> str:
        return self.url.render_as_string(hide_password=True)

    def close(self) -> None:
        self.engine.dispose()


def _put(connection: Connection, name: str, value: Any) -> None:
    connection.execute(settings.delete().where(settings.c.name == name))
    connection.execute(insert(settings).values(name=name, value=value))


def _url(given: str | Path) -> URL:
    if isinstance(given, Path) or "://" not in given:
        return URL.create("sqlite", database=str(given))
    url = make_url(given)
    match url.get_backend_name():
        case "sqlite":
            return url
        case "postgresql":
            try:
                import pg8000  # noqa: F401
            except ImportError:
                raise MissingExtraError.named("postgres", "a ledger in PostgreSQL") from None
            return url.set(drivername="postgresql+pg8000")
        case other:
            raise ClinicError(
                f"the ledger cannot lie in {other}", mend="Give a sqlite:// or postgresql:// address."
            )


def _prepare_sqlite(connection: Any, _: Any) -> None:
    connection.isolation_level = None  # transactions are begun below, not by Python's driver
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout = {PATIENCE * 1000}")
    cursor.execute("PRAGMA journal_mode = WAL")
    cursor.execute(f"PRAGMA synchronous = {SYNCHRONOUS}")
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    writes = connection.get_execution_options().get("writes")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
