"""Peers that misbehave: requests and connections to the service and the node, and answers of an archive to the watch."""

from __future__ import annotations

import gzip
import select
import socket
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler

from tests.clinic.helpers import a_film, wait_until

from .clinic import Clinic
from .doors import FILMS, Door, Seen, answered, upload
from .tight import FILM

PATHS: dict[Door, str] = {"upload": FILMS, "stow": "/dicom-web/studies"}
KINDS: dict[Door, str] = {
    "upload": "application/dicom",
    "stow": 'multipart/related; type="application/dicom"; boundary=b',
}
STARTS: dict[Door, bytes] = {"upload": b"", "stow": b"--b\r\n\r\n"}  # of a body whose first part is a film
CONNECTS, HELD = 10_000, 300
Probe = Callable[[Clinic, Door], Seen]


def posted(clinic: Clinic, door: Door, body: object, **headers: str) -> Seen:
    import json

    chunked = not isinstance(body, bytes)
    sent = {"Content-Type": KINDS[door], **({"Transfer-Encoding": "chunked"} if chunked else {})}
    status, _, content = clinic.ask("POST", PATHS[door], body, {**sent, **headers}, chunked=chunked)
    return answered(status, json.loads(content)["fault"])


def gzip_body(clinic: Clinic, door: Door) -> Seen:
    return posted(clinic, door, gzip.compress(bytes(2**24)), **{"Content-Encoding": "gzip"})


def many_headers(clinic: Clinic, door: Door) -> Seen:
    body = b"--b\r\n" + b"".join(b"X-%d: y\r\n" % n for n in range(10_000)) + b"\r\nfilm\r\n--b--\r\n"
    return posted(clinic, door, body, **{"Content-Type": "multipart/related; boundary=b"})


def form(clinic: Clinic, door: Door) -> Seen:
    body = b"&".join(b"a%d=1" % n for n in range(100_000))
    return posted(clinic, door, body, **{"Content-Type": "application/x-www-form-urlencoded"})


def exchange(port: int, *pieces: bytes, pause: float = 0.0, patience: float = 60.0) -> bytes:
    """What is answered to these bytes until the other side hangs up; an AssertionError where it does not."""
    with socket.create_connection(("127.0.0.1", port), patience) as there:
        answer = b""
        try:
            with suppress(BrokenPipeError, ConnectionResetError):  # what was answered before lies here still
                for piece in pieces:
                    there.sendall(piece)
                    if select.select([there], [], [], pause)[0]:
                        break  # it answered, or hung up
            until = time.monotonic() + patience
            while got := there.recv(2**16):
                answer += got
                assert time.monotonic() < until
        except TimeoutError:
            raise AssertionError(f"the connection was open after {patience:g} s") from None
        except ConnectionError:
            pass
        return answer


def said(answer: bytes) -> Seen:
    """An answer as it came over a socket; none at all is a peer that hung up."""
    if not answer.startswith(b"HTTP/1.1 "):
        return Seen("hung up on")
    import json

    return answered(int(answer[9:12]), json.loads(answer.split(b"\r\n\r\n", 1)[1])["fault"])


def head(clinic: Clinic, door: Door, *more: str) -> bytes:
    lines = [f"POST {PATHS[door]} HTTP/1.1", "Host: hilum", f"Authorization: Bearer {clinic.token}"]
    return ("\r\n".join([*lines, f"Content-Type: {KINDS[door]}", *more]) + "\r\n\r\n").encode()


def thirteen_gb(clinic: Clinic, door: Door) -> Seen:
    return said(exchange(clinic.ports["serve"], head(clinic, door, f"Content-Length: {13 * 10**9}")))


def endless(clinic: Clinic, door: Door) -> Seen:
    """An endless film in a body without a length."""
    piece = b"10000\r\n" + bytes(2**16) + b"\r\n"
    start = STARTS[door]
    first = b"%x\r\n" % len(start) + start + b"\r\n" if start else b""
    begin = head(clinic, door, "Transfer-Encoding: chunked") + first
    return said(exchange(clinic.ports["serve"], begin, *([piece] * (8 * FILM // 2**16))))


def idle(clinic: Clinic, door: Door) -> Seen:
    """A connection that says nothing, or stops within a body."""
    port = clinic.ports["node" if door == "store" else "serve"]
    if door != "store":
        assert said(exchange(port, head(clinic, door, "Content-Length: 1000"))).verb == "408"
    return said(exchange(port))


def drip(clinic: Clinic, door: Door) -> Seen:
    """A byte now and then: of a PDU, or of a body."""
    if door == "store":
        return said(
            exchange(clinic.ports["node"], struct.pack(">BBL", 1, 0, 500), *([b"x"] * 80), pause=0.25)
        )
    begin = head(clinic, door, "Content-Length: 100000") + STARTS[door]
    return said(exchange(clinic.ports["serve"], begin, *([b"x"] * 80), pause=0.25))


def large_pdu(clinic: Clinic, door: Door) -> Seen:
    answer = exchange(clinic.ports["node"], struct.pack(">BBL", 1, 0, 2**31 - 1) + bytes(1000))
    reasons = [entry.what["reason"] for entry in clinic.trail("denied")]
    assert any("announced a PDU of 2,147,483,647 bytes" in reason for reason in reasons)
    return said(answer)


def flood(clinic: Clinic, door: Door) -> Seen:
    """Ten thousand connections, three hundred of them open at once: are those that stay and say nothing cut off?"""
    port = clinic.ports["node" if door == "store" else "serve"]
    held: list[socket.socket] = []
    for _ in range(CONNECTS):
        try:
            held.append(socket.create_connection(("127.0.0.1", port), 10))
        except ConnectionError:
            continue
        if len(held) > HELD:
            held.pop(0).close()
    cut = set(select.select(held, [], [], 60)[0])  # nothing is answered: what can be read was closed
    for each in held:
        each.close()
    return Seen("cut", "") if cut else Seen("all were kept open")


def ranges(clinic: Clinic, door: Door) -> Seen:
    """A thousand ranges of a result are asked for."""
    film = next(f for f in clinic.get(FILMS)["films"] if f["state"] == "done")
    path = f"{FILMS}/{film['id']}/picture.png"
    many = "bytes=" + ",".join(f"{n}-{n + 1}" for n in range(0, 2000, 2))
    status, _, whole = clinic.ask("GET", path)
    asked, _, got = clinic.ask("GET", path, headers={"Range": many})
    assert status == 200
    return Seen("not served", "the whole is sent once") if (asked, got) == (200, whole) else Seen(str(asked))


def wrong_token(clinic: Clinic, door: Door) -> Seen:
    import json

    status, _, body = clinic.ask(
        "POST", PATHS[door], a_film(1), {"Content-Type": KINDS[door]}, token="hilum_guess"
    )
    fault = json.loads(body)["fault"]
    noted = [entry for entry in clinic.trail("denied") if entry.what["reason"] == fault]
    return Seen(str(status), f"{fault}; in the trail" if noted else fault)


def unknown_title(clinic: Clinic, door: Door) -> Seen:
    from .doors import store

    seen = store(clinic, a_film(2), 2, calling="MALLORY")

    def noted() -> list[str]:
        """Its reasons; the trail is written once the peer was told."""
        return [e.what["reason"] for e in clinic.trail("denied") if e.who.startswith("MALLORY@")]

    wait_until(lambda: bool(noted()), 30)
    return Seen(seen.verb, f"{noted()[-1]}; in the trail")


# How an archive sends an instance that the watch fetches.
Sends = Callable[[BaseHTTPRequestHandler], None]
_PART = b"--x\r\nContent-Type: application/dicom\r\n\r\n"


def _begin(there: BaseHTTPRequestHandler, *headers: tuple[str, str]) -> None:
    there.send_response(200)
    there.send_header("Content-Type", 'multipart/related; type="application/dicom"; boundary=x')
    for name, value in headers:
        there.send_header(name, value)
    there.end_headers()
    there.close_connection = True


def _written(there: BaseHTTPRequestHandler, pieces: Iterator[bytes]) -> None:
    try:
        for piece in pieces:
            there.wfile.write(piece)
    except OSError:
        pass  # the watch hung up, as it should


def sends_gzip(there: BaseHTTPRequestHandler) -> None:
    """What inflates to four times a film's limit."""
    body = gzip.compress(_PART + bytes(4 * FILM) + b"\r\n--x--\r\n", 1)
    _begin(there, ("Content-Encoding", "gzip"), ("Content-Length", str(len(body))))
    _written(there, iter([body]))


def sends_13_gb(there: BaseHTTPRequestHandler) -> None:
    _begin(there, ("Content-Length", str(13 * 10**9)))
    _written(there, _zeros(_PART))


def sends_endless(there: BaseHTTPRequestHandler) -> None:
    _begin(there, ("Transfer-Encoding", "chunked"))
    _written(there, (b"%x\r\n" % len(piece) + piece + b"\r\n" for piece in _zeros(_PART)))


def sends_many_headers(there: BaseHTTPRequestHandler) -> None:
    _begin(there)
    _written(there, iter([b"--x\r\n" + b"".join(b"X-%d: y\r\n" % n for n in range(10_000)) + b"\r\n"]))


def sends_nothing(there: BaseHTTPRequestHandler) -> None:
    _begin(there)
    _until_closed(there, b"", 60.0)


def sends_slowly(there: BaseHTTPRequestHandler) -> None:
    _begin(there)
    there.wfile.write(_PART)
    _until_closed(there, b"x", 60.0)


def _zeros(first: bytes) -> Iterator[bytes]:
    yield first
    for _ in range(64 * FILM // 2**16):
        yield bytes(2**16)


def _until_closed(there: BaseHTTPRequestHandler, piece: bytes, seconds: float) -> None:
    until = time.monotonic() + seconds
    there.connection.settimeout(0.25)
    try:
        while time.monotonic() < until:
            there.wfile.write(piece)
            try:
                if there.connection.recv(1) == b"":
                    return
            except TimeoutError:
                continue
    except OSError:
        pass


def served(clinic: Clinic, number: int) -> bool:
    """Is a good film taken at this moment?"""
    return upload(clinic, a_film(number)).verb == "queued"
