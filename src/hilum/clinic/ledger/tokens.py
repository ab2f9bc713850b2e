"""Tokens of the service's callers: shown once when made, kept as a hash, with scopes and an end."""

from __future__ import annotations

import hashlib
import re
import secrets
import time
from collections.abc import Iterable
from dataclasses import dataclass

from sqlalchemy import insert, select, update

from hilum.clinic.ledger.database import Ledger
from hilum.clinic.ledger.tables import tokens
from hilum.clinic.ledger.trail import note
from hilum.errors import ClinicError

SCOPES = ("submit", "read", "review", "admin")
"""submit: hand in films. read: see jobs and results. review: agree, disagree, edit. admin: queue, trail, tokens."""
_PREFIX = "hilum_"  # by which scanners of repositories and logs can know one


@dataclass(frozen=True)
class Token:
    """Whom a token belongs to and what it allows; `expires` in seconds since 1970, or None."""

    id: int
    name: str
    scopes: tuple[str, ...]
    created: float
    expires: float | None
    revoked: bool


class Tokens:
    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger

    def make(self, name: str, scopes: Iterable[str], days: float | None = 365, who: str = "cli") -> str:
        """A new token, 256 random bits, which nothing can show again. Raises ClinicError for a name that is taken or no
        plain word, or for an unknown scope."""
        scopes = tuple(dict.fromkeys(scopes))
        if not scopes or set(scopes) - set(SCOPES):
            raise ClinicError(
                f"these are no scopes: {', '.join(scopes)}", mend=f"Choose from: {', '.join(SCOPES)}."
            )
        if not re.fullmatch(r"[\w.@ -]{1,100}", name):
            raise ClinicError(
                f"'{name}' is no name for a token", mend="Use letters, digits, '.', '@', '_', '-'."
            )
        secret = _PREFIX + secrets.token_urlsafe(32)
        now = time.time()
        with self.ledger.write() as connection:
            if connection.scalar(select(tokens.c.id).where(tokens.c.name == name)) is not None:
                raise ClinicError(f"there is a token named '{name}'", mend="Give another name.")
            connection.execute(
                insert(tokens).values(
                    name=name,
                    hash=_hash(secret),
                    scopes=list(scopes),
                    created=now,
                    expires=now + days * 86400 if days is not None else None,
                    revoked=False,
                )
            )
            note(connection, "token made", "tokens", who, {"token": name, "scopes": list(scopes)}, action="C")
        return secret

    def check(self, secret: str) -> Token | None:
        """The token that this secret is, if it is one that still holds. Looked up by its hash, so how long that takes says
        nothing of the secret."""
        with self.ledger.read() as connection:
            row = connection.execute(select(tokens).where(tokens.c.hash == _hash(secret))).first()
        if row is None or row.revoked or (row.expires is not None and row.expires <= time.time()):
            return None
        return _token(row)

    def revoke(self, name: str, who: str = "cli") -> None:
        """From now on the token is refused. Raises ClinicError where there is none of this name."""
        with self.ledger.write() as connection:
            if (
                connection.execute(update(tokens).where(tokens.c.name == name).values(revoked=True)).rowcount
                == 0
            ):
                raise ClinicError(f"there is no token named '{name}'")
            note(connection, "token revoked", "tokens", who, {"token": name}, action="D")

    def all(self) -> list[Token]:
        with self.ledger.read() as connection:
            return [_token(row) for row in connection.execute(select(tokens).order_by(tokens.c.id))]


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


def _token(row: object) -> Token:
    values = row._asdict()  # type: ignore[attr-defined]
    del values["hash"]
    return Token(**{**values, "scopes": tuple(values["scopes"])})
