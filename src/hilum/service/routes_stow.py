"""STOW-RS (PS3.18 10.5), so that an archive or a viewer can send films as it would to any other DICOMweb server."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from pydicom.uid import UID

from hilum.clinic.intake import Outcome
from hilum.service.auth import Submits
from hilum.service.problems import told
from hilum.service.receive import films_of
from hilum.service.routes_films import desk

router = APIRouter(tags=["DICOMweb"])
CANNOT_UNDERSTAND = 0xC000  # PS3.18 table I.2-2
_LONGEST_WARNING = 1000  # characters
_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            'multipart/related; type="application/dicom"': {"schema": {"type": "string", "format": "binary"}}
        },
    }
}


@router.post(
    "/dicom-web/studies", openapi_extra=_BODY, response_class=JSONResponse,
    responses={
        200: {"content": {"application/dicom+json": {}}, "description": "All films were taken."},
        202: {"content": {"application/dicom+json": {}}, "description": "Some were; the others have their reasons."},
        **told(400, 408, 413, 415, 422, 507),
        409: {"content": {"application/dicom+json": {}}, "description": "None was."},
    },
)  # fmt: skip
async def store(request: Request, who: Submits) -> JSONResponse:
    """Store instances. Why one was refused, which the codes of the answer cannot say, stands in the header Warning."""
    outcomes = await films_of(request, desk(request).intake, "upload", who.name)
    taken = [outcome for outcome in outcomes if outcome.accepted]
    status = 200 if len(taken) == len(outcomes) and taken else 202 if taken else 409
    body: dict[str, Any] = {}
    if taken:
        body["00081199"] = {"vr": "SQ", "Value": [_reference(outcome) for outcome in taken]}
    if len(taken) < len(outcomes):
        failed = [
            {**_reference(outcome), "00081197": {"vr": "US", "Value": [CANNOT_UNDERSTAND]}}
            for outcome in outcomes
            if not outcome.accepted
        ]
        body["00081198"] = {"vr": "SQ", "Value": failed}
    reasons = dict.fromkeys(
        outcome.reason or "it was refused" for outcome in outcomes if not outcome.accepted
    )
    headers = {"Warning": f'299 hilum "{_quoted("; ".join(reasons))}"'} if reasons else None
    return JSONResponse(body, status, headers, media_type="application/dicom+json")


def _quoted(words: str) -> str:
    """Words as they may stand between the quotes of a header (RFC 9110 5.6.4), in ASCII, and not too many."""
    plain = words.encode("ascii", "replace").decode()[:_LONGEST_WARNING]
    return "".join(c if c.isprintable() else "?" for c in plain).replace("\\", "/").replace('"', "'")


def _reference(outcome: Outcome) -> dict[str, Any]:
    if outcome.sop_uid is None:
        return {}
    return {"00081155": {"vr": "UI", "Value": [str(UID(outcome.sop_uid))]}}
