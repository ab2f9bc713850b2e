"""What readers say of a film: they agree, disagree, draw boxes. Nothing is changed, each review is added."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Request
from fastapi.responses import Response
from pydantic import BaseModel, Field

from hilum.clinic.ledger import Review
from hilum.service.auth import Reads, Reviews
from hilum.service.export import boxes_csv, labels_csv
from hilum.service.problems import Problem, told
from hilum.service.routes_films import Number, desk, result_of, row_of

router = APIRouter(tags=["reviews"])
MOST_BOXES = 200
Name = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9 /(),.'_-]{0,63}$")]
"""Letters first, so that no spreadsheet takes it for a formula."""


class Verdict(BaseModel):
    name: str = Field(max_length=100)
    bundle: str = Field(max_length=100)
    verdict: Literal["agree", "disagree", "withdrawn"] = Field(
        description="Whether the finding is positive as it says, or negative as it says."
    )


class DrawnBox(BaseModel):
    name: Name
    box: tuple[float, float, float, float] = Field(description="x1, y1, x2, y2 in the film's pixels.")


class NewReview(BaseModel):
    result: Number = Field(description="The result that was looked at, as the film names it.")
    findings: list[Verdict] = Field(default=[], max_length=200)
    boxes: list[DrawnBox] | None = Field(
        default=None,
        max_length=MOST_BOXES,
        description="All boxes that hold; null where boxes were not looked at.",
    )


class Kept(NewReview):
    id: int
    who: str
    time: datetime


class Reviewed(BaseModel):
    reviews: list[Kept]


@router.get("/films/{film_id}/reviews", response_model=Reviewed, responses=told(404, 422))
def reviews(request: Request, who: Reads, film_id: Number) -> Reviewed:
    """All reviews of a film, oldest first. Of one reviewer the last word on a finding counts."""
    row = row_of(request, film_id)
    return Reviewed(reviews=[_kept(review) for review in desk(request).reviews.of(row["instance_id"])])


@router.post(
    "/films/{film_id}/reviews",
    status_code=201,
    response_model=Kept,
    responses=told(400, 404, 408, 409, 413, 415, 422),
)
def review(request: Request, who: Reviews, film_id: Number, given: NewReview) -> Kept:
    """Add a review, under the name of the token."""
    row, result = result_of(request, film_id)
    if given.result != result["id"]:
        raise Problem(409, "the film has another result by now", "Look at it again.")
    known = {(f["name"], f["bundle"]) for f in result["summary"].get("findings", ())}
    for each in given.findings:
        if (each.name, each.bundle) not in known:
            raise Problem(422, "a finding is none of this result's", "Take names from the film.")
    if given.boxes:
        _refuse_bad(given.boxes, _size(request, result))
    if not given.findings and given.boxes is None:
        raise Problem(422, "the review says nothing", "Give findings or boxes.")
    findings = [each.model_dump() for each in given.findings]
    boxes = None if given.boxes is None else [{"name": b.name, "box": list(b.box)} for b in given.boxes]
    door = "page" if who.csrf else "upload"
    number = desk(request).reviews.add(row["instance_id"], result["id"], who.name, findings, boxes, door)
    return next(_kept(r) for r in desk(request).reviews.of(row["instance_id"]) if r.id == number)


@router.get(
    "/reviews/export",
    response_class=Response,
    responses={200: {"content": {"text/csv": {"schema": {"type": "string"}}}}, **told(422)},
)
def export(request: Request, who: Reviews, table: Literal["labels", "boxes"] = "labels") -> Response:
    """What was reviewed, for the next training. `labels`: a film a row, for the source `csv`, its paths seen from the
    store's folder. `boxes`: a box a row. Where reviewers contradict each other a label is empty: unknown."""
    rows = desk(request).reviews.all()
    desk(request).trail.add("exported", "page", who.name, {"table": table, "reviews": len(rows)}, action="R")
    text = labels_csv(rows) if table == "labels" else boxes_csv(rows)
    headers = {"content-disposition": f'attachment; filename="{table}.csv"'}
    return Response(text, media_type="text/csv; charset=utf-8", headers=headers)


def _kept(review: Review) -> Kept:
    return Kept.model_validate(
        {
            "id": review.id,
            "who": review.who,
            "time": datetime.fromtimestamp(review.time, UTC),
            "result": review.result_id,
            "findings": review.findings,
            "boxes": review.boxes,
        }
    )


def _size(request: Request, result: dict[str, Any]) -> tuple[int, int]:
    path = desk(request).store.result(result["folder"]) / result["files"]["json"]
    source = json.loads(path.read_text("ascii")).get("source") or {}
    return source.get("width", 0), source.get("height", 0)


def _refuse_bad(boxes: list[DrawnBox], size: tuple[int, int]) -> None:
    for drawn in boxes:
        x1, y1, x2, y2 = drawn.box
        if not (0 <= x1 < x2 <= size[0] and 0 <= y1 < y2 <= size[1]):  # NaN fails too
            raise Problem(
                422, "a box lies outside the film, or is empty", "Give x1 < x2 and y1 < y2 in its pixels."
            )
    if len({(drawn.name, drawn.box) for drawn in boxes}) < len(boxes):
        raise Problem(422, "the same box of the same finding stands twice", "Give it once.")
