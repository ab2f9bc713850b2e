"""Hostile requests: each is refused with a reason, within its limit, and the next good film is taken."""

from __future__ import annotations

import http.client
import re
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from hilum.service import server as server_module
from hilum.service.app import create_app
from hilum.service.desk import Desk
from hilum.service.server import Server
from tests.clinic.helpers import a_film, files_under
from tests.test_bad_inputs import BOUNDED, REFUSED

FILMS = "/api/v1/films"
KIND = {"content-type": "application/dicom"}


@pytest.fixture(scope="module")
def port(desk: Desk) -> Iterator[int]:
    """The service behind its real HTTP server."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(server_module, "HEADER_SECONDS", 0.7)
        patch.setattr(server_module, "CONNECTIONS", 10)
        server = Server(create_app(desk), "127.0.0.1", 0)
        yield server.start()
        server.stop()


def exchange(port: int, *pieces: bytes, pause: float = 0.0) -> tuple[bytes, float]:
    """What the server answers to these bytes, until it hangs up, and after how many seconds."""
    begun = time.monotonic()
    with socket.create_connection(("127.0.0.1", port), 20) as there:
        for piece in pieces:
            try:
                there.sendall(piece)
            except OSError:
                break
            time.sleep(pause)
        answer = b""
        try:
            while got := there.recv(2**16):
                answer += got
        except OSError:
            pass
    return answer, time.monotonic() - begun


def head(secret: str, *more: str, path: str = FILMS, method: str = "POST") -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "Host: hilum", f"Authorization: Bearer {secret}", *more]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


@pytest.mark.parametrize("case", [c for c in REFUSED if not c.startswith("a ")])
def test_bad_films_are_refused_through_the_upload_door(
    api: TestClient, desk: Desk, case: str, tmp_path: Path
) -> None:
    """HAZARDS A, by upload."""
    make, words = REFUSED[case]
    bad = tmp_path / "bad.dcm"
    make(bad)
    before = files_under(desk.store.films)
    answer = api.post(FILMS, content=bad.read_bytes(), headers=KIND)
    assert answer.status_code in (413, 422), answer.text
    assert re.search(words, answer.json()["fault"]), answer.text
    assert str(desk.store.root) not in answer.text
    assert files_under(desk.store.films) == before
    assert not files_under(desk.store.work)


@pytest.mark.parametrize("case", [c for c, (_, kind) in BOUNDED.items() if kind == "LimitError"])
def test_bombs_are_refused_through_the_upload_door(
    api: TestClient, desk: Desk, case: str, tmp_path: Path
) -> None:
    """HAZARDS 17, 20, and what else grows."""
    bomb = tmp_path / "bomb"
    BOUNDED[case][0](bomb)
    answer = api.post(FILMS, content=bomb.read_bytes(), headers=KIND)
    assert answer.status_code in (413, 422), answer.text
    assert not files_under(desk.store.work)
    assert api.post(FILMS, content=a_film(200), headers=KIND).status_code == 202


def test_archives_of_files_are_no_films(api: TestClient, tmp_path: Path) -> None:
    """HAZARDS 19, 32."""
    import io
    import zipfile

    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("../../x.dcm", a_film(201))
        file.writestr("zeros", bytes(2**22))
    for kind, status in (("application/zip", 415), ("application/octet-stream", 422)):
        answer = api.post(FILMS, content=packed.getvalue(), headers={"content-type": kind})
        assert answer.status_code == status


def test_compressed_bodies_and_forms_are_refused(api: TestClient) -> None:
    """HAZARDS 18, 24."""
    for encoding in ("gzip", "deflate", "br", "identity, gzip"):
        answer = api.post(FILMS, content=b"x", headers=KIND | {"content-encoding": encoding})
        assert (answer.status_code, answer.json()["fault"]) == (415, "the body is compressed")
    form = {"content-type": "application/x-www-form-urlencoded"}
    assert api.post(FILMS, content=b"a=1&" * 10, headers=form).status_code == 415
    assert api.post("/login", content=b"token=" + b"a" * 5000, headers=form).status_code == 413
    assert (
        api.post(
            "/api/v1/studies", content=b"[" * 600_000, headers={"content-type": "application/json"}
        ).status_code
        == 413
    )


def test_multipart_bodies_are_bounded(api: TestClient, desk: Desk) -> None:
    """HAZARDS 23, and one film of several that is too large."""
    kind = {"content-type": "multipart/form-data; boundary=b"}
    many = b"--b\r\n" + b"".join(b"X-%d: y\r\n" % n for n in range(10_000)) + b"\r\nfilm\r\n--b--\r\n"
    long = b"--b\r\nX: " + b"y" * 10_000 + b"\r\n\r\nfilm\r\n--b--\r\n"
    for body in (many, long, b"--b\r\n\r\nno end", b"no boundary"):
        answer = api.post(FILMS, content=body, headers=kind)
        assert answer.status_code == 422, answer.text
        assert "multipart" in answer.json()["fault"] or "boundary" in answer.json()["fault"]
    parts = [bytes(desk.settings.film + 1), a_film(202)]
    body = b"".join(b"--b\r\n\r\n" + part + b"\r\n" for part in parts) + b"--b--\r\n"
    answer = api.post(FILMS, content=body, headers=kind)
    assert [each["kind"] for each in answer.json()["films"]] == ["refused", "queued"]
    assert not files_under(desk.store.work)


def test_a_film_past_its_limit_is_told_so(api: TestClient, desk: Desk) -> None:
    answer = api.post(FILMS, content=bytes(desk.settings.film + 1), headers=KIND)
    assert (answer.status_code, answer.json()["fault"]) == (413, "it is larger than 2 MiB")
    assert [e for e in desk.trail.entries() if e.event == "refused"][-1].what[
        "reason"
    ] == "it is larger than 2 MiB"


def test_ranges_are_not_served(api: TestClient, film: int) -> None:
    """HAZARDS 28."""
    many = "bytes=" + ",".join(f"{n}-{n + 1}" for n in range(0, 2000, 2))
    answer = api.get(f"{FILMS}/{film}/picture.png", headers={"range": many})
    assert answer.status_code == 200
    assert answer.content == api.get(f"{FILMS}/{film}/picture.png").content


def test_a_length_of_13_gb_is_refused_at_once(port: int, secrets: dict[str, str]) -> None:
    """HAZARDS 21."""
    answer, seconds = exchange(
        port, head(secrets["all"], "Content-Type: application/dicom", f"Content-Length: {13 * 10**9}")
    )
    assert answer.startswith(b"HTTP/1.1 413")
    assert seconds < 5


def test_an_endless_chunked_body_is_left_at_the_limit(port: int, desk: Desk, secrets: dict[str, str]) -> None:
    """HAZARDS 22."""
    chunk = b"10000\r\n" + bytes(65536) + b"\r\n"
    begin = head(secrets["all"], "Content-Type: application/octet-stream", "Transfer-Encoding: chunked")
    answer, _ = exchange(port, begin, *([chunk] * 200))
    assert answer == b"" or answer.startswith(b"HTTP/1.1 413")  # it may have been hung up on while it wrote
    assert not files_under(desk.store.work)


def test_a_slow_body_runs_out_of_time(port: int, desk: Desk, secrets: dict[str, str]) -> None:
    """HAZARDS 27: a byte now and then keeps no connection longer than the whole may take."""
    begin = head(secrets["all"], "Content-Type: application/dicom", "Content-Length: 100000")
    answer, seconds = exchange(port, begin + b"x")
    assert answer.startswith(b"HTTP/1.1 408")
    assert seconds < 10
    answer, seconds = exchange(port, begin, *([b"x"] * 12), pause=0.4)
    assert answer.startswith(b"HTTP/1.1 408")
    assert seconds < 15
    assert not files_under(desk.store.work)


def test_a_peer_that_says_nothing_is_hung_up_on(port: int, secrets: dict[str, str]) -> None:
    """HAZARDS 26: from the first byte on, within a header, and after an answer."""
    for said in (b"", b"GET / HTTP/1.1\r\nHost: hi"):
        answer, seconds = exchange(port, said)
        assert answer == b""
        assert seconds < 5
    answer, seconds = exchange(port, head(secrets["all"], method="GET"))
    assert answer.startswith(b"HTTP/1.1 200")
    assert seconds < 10
    dripped, seconds = exchange(port, *([b"X"] * 8), pause=0.2)
    assert seconds < 5
    assert dripped == b"" or dripped.startswith(b"HTTP/1.1 400")


def test_headers_are_bounded(port: int, secrets: dict[str, str]) -> None:
    answer, _ = exchange(
        port, head(secrets["all"], *(f"X-{n}: y" for n in range(100)), "Connection: close", method="GET")
    )
    assert answer.startswith(b"HTTP/1.1 431")
    answer, _ = exchange(port, head(secrets["all"], "X: " + "y" * 100_000, method="GET"))
    assert answer == b"" or answer[:12] in (b"HTTP/1.1 400", b"HTTP/1.1 431")
    answer, _ = exchange(
        port, head(secrets["all"], "Content-Length: 1", "Transfer-Encoding: chunked", "Connection: close")
    )
    assert answer[9:12] in (b"400", b"413", b"415", b"422")


def test_a_flood_of_connections_is_cut_and_others_are_served_after(
    port: int, secrets: dict[str, str]
) -> None:
    """HAZARDS 29."""
    flood = [socket.create_connection(("127.0.0.1", port), 5) for _ in range(40)]
    cut = 0
    for each in flood[15:]:
        try:
            cut += each.recv(1) == b""
        except OSError:
            cut += 1
    assert cut == 25
    for each in flood:
        each.close()
    time.sleep(0.3)
    there = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    there.request("POST", FILMS, a_film(203), {**KIND, "Authorization": f"Bearer {secrets['all']}"})
    assert there.getresponse().status == 202
    there.close()
