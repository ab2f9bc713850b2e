"""Films in, and what became of them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, Field

from hilum.clinic.intake import Outcome
from hilum.clinic.ledger.queue import State
from hilum.service.auth import Reads, Submits
from hilum.service.desk import Desk
from hilum.service.films import Film, film_of, triage
from hilum.service.problems import Problem, told
from hilum.service.receive import FILMS, films_of

router = APIRouter(tags=["films"])
Number = Annotated[int, Field(ge=1, le=2**31 - 1)]


class Taken(BaseModel):
    """What became of one film of a request."""

    id: int | None = Field(description="Its number here, for /films/{id}; null where it was refused.")
    kind: Literal["queued", "known", "conflict", "quarantined", "not for us", "refused"]
    sop_uid: str | None
    study_uid: str | None
    reason: str | None
    mend: str | None


class Receipt(BaseModel):
    films: list[Taken]


class Films(BaseModel):
    films: list[Film]
    before: int | None = Field(
        description="For the next page: ask again with it; null where this is the last."
    )


class Reference(BaseModel):
    """A study to fetch from an archive."""

    source: str = Field(max_length=512, examples=["http://localhost:8042/dicom-web"])
    study_uid: str = Field(max_length=64, examples=["1.2.840.113619.2.1"])


class Referred(BaseModel):
    study_uid: str
    waiting: bool = Field(description="True where it waited already.")


_binary = {"schema": {"type": "string", "format": "binary"}}
_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            **{kind: _binary for kind in FILMS},
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "properties": {
                        "film": {"type": "array", "items": {"type": "string", "format": "binary"}}
                    },
                }
            },
            'multipart/related; type="application/dicom"': _binary,
        },
    }
}


@router.post(
    "/films", status_code=202, response_model=Receipt, openapi_extra=_BODY,
    responses={**told(400, 408, 413, 415, 422, 507)},
)  # fmt: skip
async def submit(request: Request, response: Response, who: Submits) -> Receipt:
    """Hand films in: one as the body, or several as multipart/form-data or multipart/related (as STOW-RS sends them).

    202 once each film that was taken is on the disk and in the ledger. Where none was taken: 413 where the first is too
    large, else 422.
    """
    outcomes = await films_of(request, desk(request).intake, "upload", who.name)
    if not outcomes:
        raise Problem(422, "the body holds no film", "Send one.")
    if not any(outcome.accepted for outcome in outcomes):
        first = outcomes[0]
        raise Problem(413 if first.too_large else 422, first.reason or "it was refused", first.mend)
    return Receipt(films=[_taken(outcome) for outcome in outcomes])


@router.post("/studies", status_code=202, response_model=Referred, responses=told(400, 408, 413, 415, 422))
def refer(request: Request, who: Submits, reference: Reference) -> Referred:
    """Ask for a study of an archive to be fetched. Only archives that the service was started with (`--archive`) are asked,
    by the `hilum watch` of that archive."""
    there = desk(request)
    new = there.intake.refer(
        reference.source, reference.study_uid, there.settings.archives, "upload", who.name
    )
    return Referred(study_uid=reference.study_uid, waiting=not new)


@router.get("/films", response_model=Films, responses=told(422))
def films(
    request: Request,
    who: Reads,
    state: State | None = None,
    finding: Annotated[
        str | None, Query(max_length=100, description="Only films where it is positive.")
    ] = None,
    text: Annotated[
        str | None, Query(max_length=100, description="Part of a UID, a sender or a reason.")
    ] = None,
    order: Literal["newest", "triage"] = "newest",
    limit: Annotated[int, Query(ge=1, le=500)] = 100,
    before: Annotated[int | None, Query(ge=1, le=2**31 - 1)] = None,
) -> Films:
    """Films, newest first, or by how urgent they look (`triage`, of the newest `limit` films)."""
    rows = desk(request).worklist.films(state, text, limit, before)
    found = [film_of(row) for row in rows]
    if finding is not None:
        found = [film for film in found if any(f.positive and f.name == finding for f in film.findings)]
    last = rows[-1]["id"] if len(rows) == limit else None
    return Films(films=triage(found) if order == "triage" else found, before=last)


@router.get("/films/{film_id}", response_model=Film, responses=told(404, 422))
def film(request: Request, who: Reads, film_id: Number) -> Film:
    return film_of(row_of(request, film_id))


def desk(request: Request) -> Desk:
    found: Desk = request.app.state.desk
    return found


def row_of(request: Request, film_id: int) -> dict[str, Any]:
    """Raises Problem (404)."""
    row = desk(request).worklist.film(film_id)
    if row is None:
        raise Problem(404, f"there is no film {film_id}")
    return row


def result_of(request: Request, film_id: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """A film's row and its newest result. Raises Problem (404, 409)."""
    row = row_of(request, film_id)
    if row["result"] is None:
        if row["state"] == "removed":
            raise Problem(404, f"film {film_id} was removed: {row['reason']}")
        raise Problem(
            409, f"film {film_id} is {row['state']} and has no result", "Ask again once it is done."
        )
    return row, row["result"]


def _taken(outcome: Outcome) -> Taken:
    return Taken(
        id=outcome.job_id,
        kind=outcome.kind,
        sop_uid=outcome.sop_uid,
        study_uid=outcome.study_uid,
        reason=outcome.reason,
        mend=outcome.mend,
    )
