"""The pages: login, the worklist, the reading view. HTML from templates, one style sheet, one script."""

from __future__ import annotations

import secrets
from importlib.resources import files

from fastapi import APIRouter, Request
from fastapi.responses import RedirectResponse, Response

from hilum.clinic.ledger.queue import STATES
from hilum.findings import VOCABULARY
from hilum.service.auth import COOKIE, Caller, address, same_site
from hilum.service.films import film_of, triage
from hilum.service.problems import API, Problem
from hilum.service.reading import reading
from hilum.service.routes_films import Number, desk, row_of
from hilum.service.templating import page

router = APIRouter(include_in_schema=False)
SHOWN = 200  # films of the worklist
_STATIC = {"style.css": "text/css", "app.js": "text/javascript", "icon.svg": "image/svg+xml"}


@router.get("/login")
def login_page(request: Request) -> Response:
    return page("login.html", title="Log in", fault=None)


@router.post("/login")
async def login(request: Request) -> Response:
    """A token for a session. The token is not in a URL, and not in a cookie."""
    if not same_site(request):
        raise Problem(403, "the request came from another site", "Use the page itself.")
    secret = str((await request.form()).get("token", ""))
    try:
        cookie = desk(request).gate.login(secret, address(request))
    except Problem as error:
        return page(
            "login.html", error.status, error.headers, title="Log in", fault=f"{error.fault}. {error.mend}"
        )
    answer = RedirectResponse("/", 303)
    settings = desk(request).settings
    answer.set_cookie(
        COOKIE, cookie, int(settings.session), httponly=True, samesite="strict", secure=settings.secure
    )
    return answer


@router.post("/logout")
async def logout(request: Request) -> Response:
    who, sent = _visitor(request), str((await request.form()).get("csrf", ""))
    if (
        who is None
        or not same_site(request)
        or not secrets.compare_digest(sent.encode(), (who.csrf or "").encode())
    ):
        raise Problem(403, "the request came from another site", "Use the page itself.")
    desk(request).gate.logout(request.cookies[COOKIE])
    answer = RedirectResponse("/login", 303)
    answer.delete_cookie(COOKIE)
    return answer


@router.get("/")
def worklist(
    request: Request, state: str = "", finding: str = "", text: str = "", order: str = "triage"
) -> Response:
    """The worklist. A filter that is none is no filter."""
    who = _reader(request)
    if who is None:
        return RedirectResponse("/login", 303)
    there = desk(request)
    rows = there.worklist.films(state if state in STATES else None, text[:100] or None, SHOWN)
    films = [film_of(row) for row in rows]
    names = sorted({f.name for film in films for f in film.findings if f.positive} | ({finding[:100]} - {""}))
    if finding:
        films = [film for film in films if any(f.positive and f.name == finding for f in film.findings)]
    there.trail.add("queried", "page", who.name, {"films": len(films)}, action="R")
    return page(
        "worklist.html",
        title="Worklist",
        caller=who,
        films=triage(films) if order != "newest" else films,
        states=STATES,
        names=names,
        chosen={"state": state, "finding": finding, "text": text[:100], "order": order},
        counts=there.queue.counts(),
        more=len(rows) == SHOWN,
        moving=any(film.state in ("queued", "running") for film in films),
    )


@router.get("/films/{film_id}/view")
def view(request: Request, film_id: Number) -> Response:
    """The reading view."""
    who = _reader(request)
    if who is None:
        return RedirectResponse("/login", 303)
    row = row_of(request, film_id)
    there = desk(request)
    found = reading(there, row)
    what = {"instance": row["sop_uid"], "study": row["study_uid"], "row": row["instance_id"], "file": "view"}
    there.trail.add("read", "page", who.name, what, action="R")
    names = sorted(
        {f["name"] for f in found["findings"]} | set(VOCABULARY) | {b["name"] for b in found["boxes"]}
    )
    return page("film.html", title=f"Film {film_id}", caller=who, names=names, api=API, **found)


@router.get("/static/{name}")
def static(name: str) -> Response:
    if name not in _STATIC:
        raise Problem(404, "there is no such file")
    content = (files("hilum.service") / "static" / name).read_bytes()
    return Response(content, media_type=_STATIC[name], headers={"cache-control": "no-cache"})


def _visitor(request: Request) -> Caller | None:
    cookie = request.cookies.get(COOKIE)
    return desk(request).gate.by_cookie(cookie) if cookie else None


def _reader(request: Request) -> Caller | None:
    """Who reads, or None where no one is logged in. Raises Problem (403)."""
    who = _visitor(request)
    if who is not None and not who.may("read"):
        what = {"reason": "its token has not the scope read"}
        desk(request).trail.add("denied", "page", who.name, what, 8)
        raise Problem(403, "the token has not the scope 'read'", "Log in with a token that has it.")
    return who
