"""What must hold beside the answer, once all was sent: nothing forged, nothing loaded, one result, text shown as text."""

from __future__ import annotations

import re
from dataclasses import replace

from .clinic import Clinic
from .doors import FILMS, Door, Seen, uids
from .entries import Hazard


def proven(clinic: Clinic, hazard: Hazard, door: Door, seen: Seen, number: int) -> Seen:
    """`seen` with what was found, or with what was found instead as its verb."""
    if hazard.proof is None:
        return seen
    return _PROOFS[hazard.proof](clinic, door, seen, number)


def _also(seen: Seen, holds: bool, words: str, otherwise: str) -> Seen:
    if not holds:
        return Seen(otherwise, seen.said)
    return replace(seen, said=f"{seen.said}; {words}" if seen.said else words)


def _as_text(clinic: Clinic, door: Door, seen: Seen, number: int) -> Seen:
    """In the pages where a name may be shown: the reading view, the worklist, the report."""
    if door == "cli":
        pages = [path.read_text() for path in (clinic.place / "out").glob("*.html")]
        shown = True  # a report names no patient
    else:
        film = _films(clinic, number)[0]["id"]
        cookie = _session(clinic)
        pages = [
            clinic.ask("GET", path, headers={"Cookie": cookie})[2].decode()
            for path in (f"/films/{film}/view", "/")
        ]
        pages.append(clinic.ask("GET", f"{FILMS}/{film}/report.html")[2].decode())
        shown = "&lt;script&gt;" in pages[0]
    return _also(
        seen, shown and not any("<script>alert" in page for page in pages), "shown as text", "run as a script"
    )


def _session(clinic: Clinic) -> str:
    sent = {"Content-Type": "application/x-www-form-urlencoded", "Sec-Fetch-Site": "same-origin"}
    status, headers, _ = clinic.ask("POST", "/login", f"token={clinic.token}".encode(), sent)
    assert status == 303
    return headers["set-cookie"].split(";")[0]


def _in_no_log(clinic: Clinic, door: Door, seen: Seen, number: int) -> Seen:
    said = clinic.logs() + "".join(map(str, clinic.trail()))
    return _also(seen, re.search("forged|Eve", said) is None, "in no log, not in the trail", "in a log")


def _not_loaded(clinic: Clinic, door: Door, seen: Seen, number: int) -> Seen:
    return _also(seen, not (clinic.place / "loaded").exists(), "not loaded", "loaded")


def _not_executable(clinic: Clinic, door: Door, seen: Seen, number: int) -> Seen:
    films = [path for path in (clinic.store / "films").rglob("*") if path.is_file()]
    safe = films and not any(path.stat().st_mode & 0o111 for path in films)
    return _also(seen, bool(safe), "nothing may be executed", "kept as a program")


def _one_result(clinic: Clinic, door: Door, seen: Seen, number: int) -> Seen:
    (film,) = _films(clinic, number)
    return _also(seen, film["state"] == "done", "one result", film["state"])


def _both_kept(clinic: Clinic, door: Door, seen: Seen, number: int) -> Seen:
    states = [film["state"] for film in _films(clinic, number)]
    return _also(seen, sorted(states) == ["done", "held"], "both kept", " and ".join(states))


def _films(clinic: Clinic, number: int) -> list[dict]:
    instance = uids(number)[0]
    return [
        film
        for film in clinic.get(f"{FILMS}?text={instance}&limit=500")["films"]
        if film["sop_uid"] == instance
    ]


_PROOFS = {
    "as text": _as_text,
    "in no log": _in_no_log,
    "not loaded": _not_loaded,
    "not executable": _not_executable,
    "one result": _one_result,
    "both kept": _both_kept,
}
