"""Who may do what: tokens, scopes, sessions, requests of other sites; what the trail and the log say of it."""

from __future__ import annotations

import json
import logging
import re

import pytest
from starlette.testclient import TestClient

from hilum.clinic.ledger import Tokens
from hilum.service import auth
from hilum.service.desk import Desk
from tests.clinic.helpers import a_film

from .conftest import NAME

FILMS = "/api/v1/films"
SAME = {"sec-fetch-site": "same-origin"}


def bearer(secret: str) -> dict[str, str]:
    return {"authorization": f"Bearer {secret}"}


def last(desk: Desk, event: str):
    return [entry for entry in desk.trail.entries() if entry.event == event][-1]


def login(client: TestClient, secret: str) -> str:
    """Log in as a browser does; returns what its unsafe requests carry."""
    answer = client.post("/login", data={"token": secret}, headers=SAME, follow_redirects=False)
    assert answer.status_code == 303
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    found = re.search(r'name="csrf" content="([^"]+)"', client.get("/").text)
    assert found
    return found[1]


def test_without_a_token_nothing_is_told(client: TestClient, film: int) -> None:
    for path in (FILMS, f"{FILMS}/{film}/pixels", "/api/v1/trail", "/metrics", "/api/v1/reviews/export"):
        assert client.get(path).status_code == 401, path
    for path in ("/", f"/films/{film}/view"):
        answer = client.get(path, follow_redirects=False)
        assert (answer.status_code, answer.headers["location"]) == (303, "/login")
    assert client.get("/health").json()["status"] == "ok"


def test_a_wrong_token_is_refused_and_noted(client: TestClient, desk: Desk) -> None:
    """HAZARDS 51."""
    answer = client.get(FILMS, headers=bearer("hilum_guess"))
    assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
    found = last(desk, "denied")
    assert (found.who, found.outcome, found.what["reason"]) == ("testclient", 8, "the token does not hold")
    assert "guess" not in json.dumps([entry.what for entry in desk.trail.entries()])
    assert client.post("/login", data={"token": "wrong"}, headers=SAME).status_code == 401
    assert last(desk, "login failed").who == "testclient"


@pytest.mark.parametrize(
    ("scope", "calls"),
    [
        ("submit", [("POST", FILMS)]),
        ("read", [("GET", FILMS), ("GET", "/metrics")]),
        ("review", [("GET", "/api/v1/reviews/export")]),
        ("admin", [("GET", "/api/v1/trail")]),
    ],
)
def test_each_scope_opens_its_own_doors(
    client: TestClient, desk: Desk, secrets: dict[str, str], scope: str, calls: list[tuple[str, str]]
) -> None:
    body = {"content": a_film(60), "headers": {"content-type": "application/dicom"}}
    for method, path in calls:
        for name in ("submit", "read", "review", "admin"):
            given = body if method == "POST" else {"headers": {}}
            headers = given["headers"] | bearer(secrets[name])
            answer = client.request(method, path, **{**given, "headers": headers})
            assert (answer.status_code != 403) == (name == scope), (path, name)
    assert last(desk, "denied").what["reason"].startswith("its token has not the scope")


def test_a_revoked_and_an_old_token_do_not_hold(client: TestClient, desk: Desk) -> None:
    tokens = Tokens(desk.ledger)
    short, gone = tokens.make("short", ("read",), days=1e-9), tokens.make("gone", ("read",))
    assert client.get(FILMS, headers=bearer(short)).status_code == 401
    login(client, gone)
    assert client.get("/").status_code == 200
    tokens.revoke("gone")
    assert client.get(FILMS, headers=bearer(gone)).status_code == 401
    assert client.get("/", follow_redirects=False).status_code == 303


def test_guessing_is_slowed_and_does_not_fill_the_trail(
    client: TestClient, desk: Desk, monkeypatch: pytest.MonkeyPatch, secrets: dict[str, str]
) -> None:
    monkeypatch.setattr(auth, "WRONG_TOKENS", 3)
    desk.gate._wrong.clear()
    found = [client.get(FILMS, headers=bearer("guess")).status_code for _ in range(6)]
    assert found == [401, 401, 401, 429, 429, 429]
    monkeypatch.setattr(auth, "MINUTE", 0.0)
    assert client.get(FILMS, headers=bearer(secrets["read"])).status_code == 200


def test_another_site_can_do_nothing_with_a_session(
    client: TestClient, desk: Desk, secrets: dict[str, str]
) -> None:
    csrf = login(client, secrets["all"])
    film = {"content": a_film(61)}
    mine = {"content-type": "application/dicom", **SAME, "x-csrf-token": csrf}
    assert client.post(FILMS, headers=mine, **film).status_code == 202
    for change in (
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"x-csrf-token": "guess"},
        {"x-csrf-token": ""},
    ):
        assert client.post(FILMS, headers=mine | change, **film).status_code == 403, change
    old = {k: v for k, v in mine.items() if k != "sec-fetch-site"}
    assert client.post(FILMS, headers={**old, "origin": "http://evil"}, **film).status_code == 403
    assert last(desk, "denied").what["reason"] == "a request of another site"
    assert (
        client.post("/login", data={"token": "x"}, headers={"sec-fetch-site": "cross-site"}).status_code
        == 403
    )
    assert client.post("/logout", data={"csrf": "guess"}, headers=SAME).status_code == 403
    client.post("/logout", data={"csrf": csrf}, headers=SAME)
    assert client.get("/", follow_redirects=False).status_code == 303


def test_the_trail_is_told_and_notes_that_it_was(
    client: TestClient, desk: Desk, secrets: dict[str, str]
) -> None:
    lines = client.get("/api/v1/trail", headers=bearer(secrets["admin"])).text.splitlines()
    assert {"login", "denied", "received"} <= {json.loads(line)["event"] for line in lines}
    assert last(desk, "trail read").who == "only-admin"
    xml = client.get("/api/v1/trail", params={"form": "xml"}, headers=bearer(secrets["admin"])).text
    assert xml.startswith("<AuditMessage>")


def test_a_name_is_shown_as_text_and_stands_in_no_log(
    client: TestClient, desk: Desk, film: int, secrets: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    """HAZARDS 34, 35."""
    login(client, secrets["read"])
    with caplog.at_level(logging.DEBUG):
        page = client.get(f"/films/{film}/view")
        client.get(f"{FILMS}/{film}/pixels")
        worklist = client.get("/")
    assert "<script>alert" not in page.text
    assert "&lt;script&gt;" in page.text
    assert "alert" not in worklist.text
    said = caplog.text + json.dumps([entry.what for entry in desk.trail.entries()])
    assert not any(part in said for part in ("alert", "Eve", "forged", "P-77"))
    assert NAME.split("^")[1][:3] in page.text


def test_a_sender_cannot_forge_a_line(client: TestClient, secrets: dict[str, str]) -> None:
    answer = client.get("/nothing%0d%0aINFO%20forged", headers=bearer(secrets["read"]))
    assert answer.status_code == 404
    assert "\n" not in answer.text
    wrong = client.get(FILMS, params={"state": "x\r\nINFO forged"}, headers=bearer(secrets["read"]))
    assert "forged" not in wrong.text


def test_who_may_only_read_gets_no_controls_to_review(
    client: TestClient, film: int, secrets: dict[str, str]
) -> None:
    csrf = login(client, secrets["read"])
    page = client.get(f"/films/{film}/view").text
    assert "may read, not review" in page
    assert 'id="save"' not in page
    review = {"result": 1, "findings": []}
    answer = client.post(f"{FILMS}/{film}/reviews", json=review, headers={**SAME, "x-csrf-token": csrf})
    assert answer.status_code == 403
    assert "Research use only" in page
    assert "Research use only" in client.get("/login").text


def test_names_may_be_left_out(
    client: TestClient, desk: Desk, film: int, secrets: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from dataclasses import replace

    monkeypatch.setattr(desk, "settings", replace(desk.settings, names=False))
    login(client, secrets["read"])
    assert "alert" not in client.get(f"/films/{film}/view").text


def test_a_fault_is_a_page_for_a_browser_and_json_for_a_program(
    client: TestClient, secrets: dict[str, str]
) -> None:
    login(client, secrets["read"])
    page = client.get("/films/99999/view", headers={"accept": "text/html"})
    assert page.status_code == 404
    assert "There is no film 99999" in page.text
    assert client.get("/films/99999/view").json()["fault"] == "there is no film 99999"
