"""Every call of the OpenAPI document with what it allows and what it does not, by schemathesis: no failure of the service's
own, no answer that the document does not tell of, nothing taken that it forbids."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from starlette.testclient import TestClient

from hilum.service import auth
from hilum.service.app import create_app
from hilum.service.counts import Counts
from hilum.service.desk import Desk
from hilum.service.server import Server
from hilum.service.settings import Settings

schemathesis = pytest.importorskip("schemathesis", reason="schemathesis is not installed")

from schemathesis.specs.openapi.checks import positive_data_acceptance  # noqa: E402

EXAMPLES = 8  # of a call, of each kind
RELATED = 'multipart/related; type="application/dicom"'
_DOCUMENT = create_app(SimpleNamespace(settings=Settings(), counts=Counts())).openapi()  # type: ignore[arg-type]
CALLS = [
    (method.upper(), path, valid)
    for path, calls in _DOCUMENT["paths"].items()
    for method, call in calls.items()
    for valid in (True, False)
    if valid or call.get("security") or call.get("parameters")  # of one that takes nothing nothing is wrong
]


@schemathesis.serializer(RELATED)
def related(_: object, value: Any) -> bytes:
    """A body of one part, which holds whatever the document's schema let be made."""
    given = getattr(value, "data", value)
    content = given if isinstance(given, bytes) else str(given).encode("utf-8", "replace")
    return b"--b\r\nContent-Type: application/dicom\r\n\r\n" + content + b"\r\n--b--\r\n"


@pytest.fixture(scope="module")
def described(desk: Desk) -> Iterator[Any]:
    """The document of a service that runs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(auth, "WRONG_TOKENS", 10**9)  # guesses are a part of this
        server = Server(create_app(desk), "127.0.0.1", 0)
        url = f"http://127.0.0.1:{server.start()}"
        try:
            yield schemathesis.openapi.from_url(f"{url}/api/v1/openapi.json")
        finally:
            server.stop()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "path", "valid"),
    CALLS,
    ids=[f"{method} {path} {'allowed' if valid else 'not allowed'}" for method, path, valid in CALLS],
)
def test_answers_are_as_the_document_says(
    method: str, path: str, valid: bool, described: Any, secrets: dict[str, str], film: int
) -> None:
    mode = schemathesis.GenerationMode.POSITIVE if valid else schemathesis.GenerationMode.NEGATIVE
    cases = described[path][method].as_strategy(generation_mode=mode)
    # Bytes that are no film and an archive that was not named are refused by their meaning, which no schema has.
    unchecked = [positive_data_acceptance] if method == "POST" else []
    headers = {"Authorization": f"Bearer {secrets['all']}"}
    if path == "/dicom-web/studies":
        headers["Content-Type"] = f"{RELATED}; boundary=b"
    answered = 0

    @settings(
        max_examples=EXAMPLES, deadline=None, derandomize=True, database=None,
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(case=cases)
    def holds(case: Any) -> None:
        nonlocal answered
        # Of a parameter that is given twice the last counts, as is usual; the document's schema knows one alone.
        assume(not any(isinstance(value, list) for value in (case.query or {}).values()))
        if valid and "film_id" in case.path_parameters:
            case.path_parameters["film_id"] = film  # one that is there, with its results
        case.call_and_validate(headers=headers, timeout=60, excluded_checks=unchecked)
        answered += 1

    holds()
    assert answered


def test_a_body_that_is_no_text_is_told_how_to_be_sent(api: TestClient, film: int) -> None:
    for path in ("/api/v1/studies", f"/api/v1/films/{film}/reviews"):
        answer = api.post(path, content=b"\xfe2\x1c\xff", headers={"content-type": "application/json"})
        assert (answer.status_code, answer.json()["mend"]) == (400, "Send JSON in UTF-8.")
        template = path.replace(f"/{film}/", "/{film_id}/")
        assert "400" in _DOCUMENT["paths"][template]["post"]["responses"]
