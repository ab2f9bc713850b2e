"""What a request may be: bounded headers, a bounded body that comes in time, no compression, no forms where none belong.

An ASGI layer around everything: what it refuses reaches no parser. Answers get the headers that keep a browser safe.
"""

from __future__ import annotations

import asyncio
import json

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from hilum.service.settings import Settings

MAX_HEADERS, MAX_HEADER_BYTES = 64, 16 * 2**10
FORMS, FORM = ("/login", "/logout"), 4096  # where forms are taken, and their bytes
JSON = 512 * 2**10  # bytes of a review
UPLOADS = ("/api/v1/films", "/dicom-web/studies")
_UNSAFE = ("POST", "PUT", "PATCH", "DELETE")

PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
# A report is a page of its own, with its styles and script inside; it is shown without this site's rights.
REPORT_POLICY = (
    "sandbox allow-scripts; default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_SAFE = (
    (b"x-content-type-options", b"nosniff"),
    (b"cache-control", b"no-store"),
    (b"referrer-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), geolocation=(), microphone=()"),
    (b"content-security-policy", PAGE_POLICY.encode()),
)


class _Refused(Exception):
    def __init__(self, status: int, fault: str, mend: str) -> None:
        super().__init__(fault)
        self.status, self.fault, self.mend = status, fault, mend


class Limits:
    """The layer around `app`."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self.app, self.settings = app, settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        begun = False
        refused: list[_Refused] = []

        async def safely(message: Message) -> None:
            nonlocal begun
            if refused and not begun:
                return  # what a parser made of the refusal; the refusal itself is sent below
            if message["type"] == "http.response.start":
                begun = True
                there = {name.lower() for name, _ in message.get("headers", ())}
                added = [(name, value) for name, value in self._safe() if name not in there]
                message = {**message, "headers": [*message.get("headers", ()), *added]}
            await send(message)

        try:
            largest = self._allowed(scope)
            # Ranges are not served: a thousand of them would be a thousand answers.
            headers = [(n, v) for n, v in scope["headers"] if n not in (b"range", b"if-range")]
            await self.app({**scope, "headers": headers}, self._bounded(receive, largest, refused), safely)
        except _Refused as error:
            refused[:] = [error]
        if refused and not begun:
            first = refused.pop(0)
            refused.clear()
            await _refuse(safely, first)

    def _safe(self) -> tuple[tuple[bytes, bytes], ...]:
        if self.settings.secure:
            return (*_SAFE, (b"strict-transport-security", b"max-age=31536000"))
        return _SAFE

    def _allowed(self, scope: Scope) -> int:
        """How many bytes the body may have. Raises _Refused for what is refused at once."""
        headers: list[tuple[bytes, bytes]] = scope["headers"]
        if len(headers) > MAX_HEADERS or sum(len(n) + len(v) for n, v in headers) > MAX_HEADER_BYTES:
            raise _Refused(431, "the headers are too many or too large", "Send fewer.")
        named: dict[bytes, bytes] = {}
        for name, value in headers:
            if name in named and name in (
                b"content-type",
                b"content-length",
                b"content-encoding",
                b"authorization",
            ):
                raise _Refused(400, f"the header {name.decode('latin-1')} stands twice", "Send it once.")
            named[name] = value
        encoding = named.get(b"content-encoding", b"").strip().lower()
        if encoding not in (b"", b"identity"):
            raise _Refused(415, "the body is compressed", "Send it as it is.")
        kind = named.get(b"content-type", b"").split(b";")[0].strip().lower()
        path, unsafe = scope["path"], scope["method"] in _UNSAFE
        if not unsafe:
            largest = 0
        elif path in UPLOADS:
            largest = self.settings.body
        elif path in FORMS:
            largest = FORM
        else:
            largest = JSON
        if unsafe and kind == b"application/x-www-form-urlencoded" and path not in FORMS:
            raise _Refused(415, "a form is not taken here", "Send a film, or JSON.")
        length = named.get(b"content-length")
        if length is not None and (not length.isdigit() or len(length) > 18 or int(length) > largest):
            raise _Refused(413, f"the body is larger than {largest:,} bytes", "Send less at once.")
        return largest

    def _bounded(self, receive: Receive, largest: int, refused: list[_Refused]) -> Receive:
        """`receive`, counted and timed while the body comes; what is said without a length is counted too. A refusal is
        raised, and put into `refused` for those who catch what they do not know."""
        taken, whole, over = 0, asyncio.get_running_loop().time() + self.settings.whole, False

        async def bounded() -> Message:
            nonlocal taken, over
            if over:  # then only a disconnect is waited for, which may take as long as the answer does
                return await receive()
            left = whole - asyncio.get_running_loop().time()
            try:
                async with asyncio.timeout(min(self.settings.idle, max(0.0, left))):
                    message = await receive()
            except TimeoutError:
                over = True
                refused.append(_Refused(408, "the body comes too slowly", "Send it again."))
                raise refused[0] from None
            if message["type"] == "http.request":
                taken += len(message.get("body", b""))
                over = not message.get("more_body", False)
                if taken > largest:
                    over = True
                    refused.append(
                        _Refused(413, f"the body is larger than {largest:,} bytes", "Send less at once.")
                    )
                    raise refused[0]
            else:
                over = True
            return message

        return bounded


async def _refuse(send: Send, error: _Refused) -> None:
    """The answer, and the end of the connection: what is left of the body is not read."""
    body = json.dumps({"fault": error.fault, "mend": error.mend}).encode()
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        (b"connection", b"close"),
    ]
    await send({"type": "http.response.start", "status": error.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
