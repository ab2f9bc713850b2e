"""Errors as they are answered: JSON with the fault and the mend, or a page for a browser; never what was sent, no trace."""

from __future__ import annotations

import logging
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from hilum.errors import HilumError, LimitError, StoreFullError, one_line
from hilum.service.templating import page

logger = logging.getLogger(__name__)

API = "/api/v1"


class Fault(BaseModel):
    """What went wrong, and what to do about it."""

    fault: str = Field(examples=["there is no film 12"])
    mend: str | None = None


class Problem(Exception):
    """An answer other than the one that was asked for."""

    def __init__(
        self, status: int, fault: str, mend: str | None = None, headers: dict[str, str] | None = None
    ) -> None:
        super().__init__(fault)
        self.status, self.fault, self.mend, self.headers = status, fault, mend, headers or {}


def told(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """These statuses for OpenAPI, beside those that every call may have."""
    return {
        status: {"model": Fault, "description": _WORDS[status]} for status in sorted({*statuses, *_ALWAYS})
    }


_WORDS = {
    400: "The request is no valid HTTP, or its body no text or no valid multipart.",
    401: "There is no token, or it does not hold.",
    403: "The token has not the scope, or a browser's request came from another site.",
    404: "There is none.",
    408: "The body came too slowly.",
    409: "It is not in the state for this.",
    413: "The film or the body is too large.",
    415: "The body is of a kind that is not taken, or compressed.",
    422: "It was understood and refused; the fault says why.",
    429: "Too many wrong tokens came from this address.",
    431: "The headers are too many or too large.",
    500: "An unforeseen failure; the log has its kind.",
    507: "The disk is full.",
}
_ALWAYS = (401, 403, 429, 431, 500)


def install(app: FastAPI) -> None:
    """Have the app answer errors as above."""

    @app.exception_handler(Problem)
    async def problem(request: Request, error: Problem) -> Response:
        return answer(request, error.status, error.fault, error.mend, error.headers)

    @app.exception_handler(HilumError)
    async def known(request: Request, error: HilumError) -> Response:
        status = 507 if isinstance(error, StoreFullError) else 413 if isinstance(error, LimitError) else 422
        return answer(request, status, error.fault, error.mend)

    @app.exception_handler(HTTPException)
    async def http(request: Request, error: HTTPException) -> Response:
        headers = dict(error.headers or {})
        mend = (
            "Send JSON in UTF-8." if error.status_code == 400 else None
        )  # the framework's word for other bytes
        return answer(request, error.status_code, str(error.detail), mend, headers)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]  # its input is not repeated: it may hold a name
        where = ".".join(str(part) for part in first["loc"])
        return answer(request, 422, one_line(f"{where}: {first['msg']}")[:300], "See the OpenAPI document.")

    @app.exception_handler(Exception)
    async def unforeseen(request: Request, error: Exception) -> Response:
        logger.error("an unforeseen failure: %s", type(error).__name__)
        logger.debug("", exc_info=error)
        return answer(request, 500, "an unforeseen failure", "Try again; the service's log has its kind.")


def answer(
    request: Request, status: int, fault: str, mend: str | None = None, headers: dict[str, str] | None = None
) -> Response:
    if request.url.path.startswith(API) or "text/html" not in request.headers.get("accept", ""):
        return JSONResponse({"fault": fault, "mend": mend}, status, headers)
    return page("fault.html", status=status, headers=headers, title="Fault", fault=fault, mend=mend)
