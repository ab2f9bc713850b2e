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
    """Store instances."""
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
    return JSONResponse(body, status, media_type="application/dicom+json")


def _reference(outcome: Outcome) -> dict[str, Any]:
    if outcome.sop_uid is None:
        return {}
    return {"00081155": {"vr": "UI", "Value": [str(UID(outcome.sop_uid))]}}
