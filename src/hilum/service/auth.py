"""Who calls: a bearer token from programs, a session's cookie from browsers. What does not hold is refused and noted."""

from __future__ import annotations

import hashlib
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated
from urllib.parse import urlsplit

from fastapi import Depends, Request, Security
from fastapi.security import APIKeyCookie, HTTPAuthorizationCredentials, HTTPBearer

from hilum.clinic.ledger import Tokens, Trail
from hilum.clinic.ledger.tokens import Token
from hilum.clinic.ledger.trail import SERIOUS
from hilum.errors import one_line
from hilum.service.problems import Problem

COOKIE = "hilum_session"
CSRF = "x-csrf-token"
WRONG_TOKENS, MINUTE = 30, 60.0  # of one address, then it waits
_MOST = 10_000  # sessions, and addresses that are counted

_bearer = HTTPBearer(auto_error=False, description="A token of `hilum serve token make`.")
_cookie = APIKeyCookie(name=COOKIE, auto_error=False, description="The session of a browser that logged in.")


@dataclass(frozen=True)
class Caller:
    """Who calls: a token's `name` and `scopes`; `csrf`: what a browser's unsafe requests must carry, None for a program."""

    name: str
    scopes: tuple[str, ...]
    csrf: str | None = None

    def may(self, scope: str) -> bool:
        return scope in self.scopes


@dataclass(frozen=True)
class _Session:
    secret: str
    csrf: str
    until: float


class Gate:
    """Knows tokens and sessions. Sessions live in this process: after a restart a browser logs in again."""

    def __init__(self, tokens: Tokens, trail: Trail, seconds: float) -> None:
        self.tokens, self.trail, self.seconds = tokens, trail, seconds
        self._sessions: OrderedDict[str, _Session] = OrderedDict()
        self._wrong: OrderedDict[str, tuple[int, float]] = OrderedDict()
        self._lock = threading.Lock()

    def login(self, secret: str, address: str) -> str:
        """A session's cookie for a token. Raises Problem (401, 429)."""
        token = self._token(secret.strip(), address, "login failed")
        cookie = secrets.token_urlsafe(32)
        with self._lock:
            self._sessions[_hash(cookie)] = _Session(
                secret.strip(), secrets.token_urlsafe(32), time.time() + self.seconds
            )
            while len(self._sessions) > _MOST:
                self._sessions.popitem(last=False)
        self.trail.add("login", "page", f"{token.name}@{address}")
        return cookie

    def logout(self, cookie: str) -> None:
        with self._lock:
            self._sessions.pop(_hash(cookie), None)

    def by_token(self, secret: str, address: str) -> Caller:
        """Raises Problem (401, 429), which the trail has."""
        token = self._token(secret, address, "denied")
        return Caller(token.name, token.scopes)

    def by_cookie(self, cookie: str) -> Caller | None:
        """The session's caller; None where it is over, or its token was revoked meanwhile."""
        with self._lock:
            session = self._sessions.get(_hash(cookie))
        if session is None or session.until <= time.time():
            return None
        token = self.tokens.check(session.secret)
        return None if token is None else Caller(token.name, token.scopes, session.csrf)

    def _token(self, secret: str, address: str, event: str) -> Token:
        self._patience(address)
        token = self.tokens.check(secret)
        if token is not None:
            return token
        with self._lock:
            count, since = self._wrong.pop(address, (0, time.monotonic()))
            self._wrong[address] = (count + 1, since)
            while len(self._wrong) > _MOST:
                self._wrong.popitem(last=False)
        self.trail.add(event, "page" if event == "login failed" else "upload", address,
                       {"reason": "the token does not hold"}, SERIOUS)  # fmt: skip
        raise Problem(
            401,
            "the token does not hold",
            "Ask for another: hilum serve token make.",
            {"WWW-Authenticate": "Bearer"},
        )

    def _patience(self, address: str) -> None:
        """So that guessing fills neither time nor trail."""
        with self._lock:
            count, since = self._wrong.get(address, (0, 0.0))
            if count and time.monotonic() - since > MINUTE:
                del self._wrong[address]
            elif count >= WRONG_TOKENS:
                raise Problem(429, "too many wrong tokens", "Wait a minute.", {"Retry-After": "60"})


def caller(
    request: Request,
    bearer: Annotated[HTTPAuthorizationCredentials | None, Security(_bearer)] = None,
    cookie: Annotated[str | None, Security(_cookie)] = None,
) -> Caller:
    """Who calls. Raises Problem (401, 403, 429)."""
    gate: Gate = request.app.state.desk.gate
    if bearer is not None:
        return gate.by_token(bearer.credentials, address(request))
    found = gate.by_cookie(cookie) if cookie else None
    if found is None:
        raise Problem(
            401, "there is no token", "Send 'Authorization: Bearer TOKEN'.", {"WWW-Authenticate": "Bearer"}
        )
    if request.method not in ("GET", "HEAD") and not _from_here(request, found):
        gate.trail.add("denied", "page", found.name, {"reason": "a request of another site"}, SERIOUS)
        raise Problem(403, "the request came from another site", "Use the page itself.")
    return found


def needs(scope: str) -> Callable[[Request, Caller], Caller]:
    """A dependency: the caller, if its token has this scope."""

    def check(request: Request, who: Annotated[Caller, Depends(caller)]) -> Caller:
        if not who.may(scope):
            trail: Trail = request.app.state.desk.trail
            what = {"reason": f"its token has not the scope {scope}"}
            trail.add("denied", "page" if who.csrf else "upload", who.name, what, SERIOUS)
            raise Problem(403, f"the token has not the scope '{scope}'", "Ask for a token that has it.")
        return who

    return check


Reads = Annotated[Caller, Depends(needs("read"))]
Submits = Annotated[Caller, Depends(needs("submit"))]
Reviews = Annotated[Caller, Depends(needs("review"))]
Administers = Annotated[Caller, Depends(needs("admin"))]


def address(request: Request) -> str:
    """Where a request comes from. Headers that a proxy may set are not believed."""
    return one_line(request.client.host) if request.client is not None else "unknown"


def same_site(request: Request) -> bool:
    """Does the browser say that its request comes from this site? By Fetch Metadata, else by its Origin."""
    fetched = request.headers.get("sec-fetch-site")
    if fetched is not None:
        return fetched in ("same-origin", "none")
    origin = request.headers.get("origin")
    return origin is None or urlsplit(origin).netloc == request.headers.get("host")


def _from_here(request: Request, who: Caller) -> bool:
    sent = request.headers.get(CSRF, "") or request.query_params.get("csrf", "")
    return same_site(request) and secrets.compare_digest(sent.encode(), (who.csrf or "").encode())


def _hash(cookie: str) -> str:
    return hashlib.sha256(cookie.encode("utf-8", "surrogatepass")).hexdigest()
