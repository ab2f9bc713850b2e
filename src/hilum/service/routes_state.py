"""How the service is: health, metrics, the trail."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse
from pydantic import BaseModel
from sqlalchemy import text

from hilum import __version__
from hilum.service.auth import Administers, Reads
from hilum.service.metrics import exposition
from hilum.service.problems import told
from hilum.service.routes_films import desk

open_router = APIRouter(tags=["state"])
router = APIRouter(tags=["state"])


class Health(BaseModel):
    status: Literal["ok", "the ledger cannot be read"]
    version: str
    research_use_only: bool = True


@open_router.get(
    "/health", response_model=Health, responses={503: {"model": Health, "description": "It is not well."}}
)
def health(request: Request) -> Response:
    """Is it well? Needs no token, and tells nothing of films."""
    try:
        with desk(request).ledger.read() as connection:
            connection.execute(text("SELECT 1"))
    except Exception:
        found = Health(status="the ledger cannot be read", version=__version__)
        return JSONResponse(found.model_dump(), 503)
    return JSONResponse(Health(status="ok", version=__version__).model_dump())


@open_router.get(
    "/metrics",
    response_class=Response,
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}, **told()},
)
def metrics(request: Request, who: Reads) -> Response:
    """For Prometheus (text format 0.0.4): queue, times, answers, drift. Needs a token with the scope `read`."""
    there = desk(request)
    return Response(
        exposition(there.ledger, there.counts.all()), media_type="text/plain; version=0.0.4; charset=utf-8"
    )


@router.get(
    "/trail",
    response_class=StreamingResponse,
    responses={
        200: {
            "content": {
                "application/x-ndjson": {"schema": {"type": "string"}},
                "application/xml": {"schema": {"type": "string"}},
            }
        },
        **told(422),
    },
)
def trail(
    request: Request,
    who: Administers,
    after: Annotated[int, Query(ge=0, le=2**53)] = 0,
    form: Literal["json", "xml"] = "json",
) -> StreamingResponse:
    """The audit trail, oldest first: a line an event, as JSON or as audit messages of DICOM PS3.15 A.5. Reading it is itself
    noted."""
    found = desk(request).trail
    found.add("trail read", "page", who.name, {"after": after}, action="R")

    def lines() -> Iterator[str]:
        for line in found.json_lines(after=after) if form == "json" else found.messages(after=after):
            yield line + "\n"

    media = "application/x-ndjson" if form == "json" else "application/xml"
    return StreamingResponse(lines(), media_type=media)
