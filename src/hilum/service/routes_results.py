"""A film's results: the report in three forms, DICOM objects, masks and heatmaps, and the film itself as pixels."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from fastapi import APIRouter, Query, Request
from fastapi.responses import FileResponse, Response

from hilum.images.grey_png import grey_png
from hilum.service.auth import Reads
from hilum.service.frames import windowed
from hilum.service.limits import REPORT_POLICY
from hilum.service.problems import Problem, told
from hilum.service.routes_films import Number, desk, result_of, row_of

router = APIRouter(tags=["results"], prefix="/films/{film_id}")


def _kind(media: str) -> dict[int | str, dict[str, Any]]:
    return {
        200: {"content": {media: {"schema": {"type": "string", "format": "binary"}}}},
        **told(404, 409, 422),
    }


@router.get("/report.json", responses={200: {"content": {"application/json": {}}}, **told(404, 409, 422)})
def report_json(request: Request, who: Reads, film_id: Number) -> FileResponse:
    """The report for machines; its schema is `hilum.analysis.render.report_schema`."""
    return _file(request, who.name, film_id, "json", "application/json")


@router.get("/report.html", responses=_kind("text/html"))
def report_html(request: Request, who: Reads, film_id: Number) -> FileResponse:
    """The report as a page that holds all it needs."""
    return _file(request, who.name, film_id, "html", "text/html", {"content-security-policy": REPORT_POLICY})


@router.get("/picture.png", responses=_kind("image/png"))
def picture(request: Request, who: Reads, film_id: Number) -> FileResponse:
    """The film with what was found drawn in."""
    return _file(request, who.name, film_id, "overlay", "image/png")


@router.get("/results/{kind}.dcm", responses=_kind("application/dicom"))
def dicom(
    request: Request, who: Reads, film_id: Number, kind: Literal["sr", "seg", "sc", "gsps"]
) -> FileResponse:
    """A DICOM object: structured report, segmentation, secondary capture or presentation state."""
    row, result = result_of(request, film_id)
    named = [name for name in result["files"].get("dicom", ()) if name.endswith(f".{kind}.dcm")]
    if not named:
        why = result["summary"].get("no_dicom")
        raise Problem(404, f"film {film_id} has no {kind}" + (f": {why}" if why else ""))
    headers = {"content-disposition": f'attachment; filename="film-{film_id}.{kind}.dcm"'}
    _note(request, who.name, row, f"{kind}.dcm")
    return FileResponse(_path(request, result, named[0]), media_type="application/dicom", headers=headers)


@router.get("/lungs.png", responses=_kind("image/png"))
def lungs(
    request: Request, who: Reads, film_id: Number, side: Literal["both", "left", "right"] = "both"
) -> FileResponse:
    """The lungs' mask on the film's grid, 0 or 255; `side` as the person's."""
    key = {"both": "lungs:mask", "left": "lungs:left", "right": "lungs:right"}[side]
    return _file(request, who.name, film_id, key, "image/png", note=False)


@router.get("/heatmaps/{finding}.png", responses=_kind("image/png"))
def heatmap(
    request: Request, who: Reads, film_id: Number, finding: str,
    bundle: Annotated[str | None, Query(max_length=100, description="Where several bundles know the finding.")] = None,
    grid: Annotated[Literal["film", "map"], Query(description="Whose pixels it has.")] = "film",
) -> FileResponse:  # fmt: skip
    """A finding's heatmap, 0 to 255. On the film's grid positive findings have one, or the one nearest its threshold; as the
    network gave it (`map`, some hundred pixels over the film's whole extent) every finding with heat."""
    _, result = result_of(request, film_id)
    kind = "heatmap" if grid == "film" else "map"
    for key, name in result["files"].items():
        parts = key.split(":", 2)
        if parts[0] == kind and parts[2] == finding and bundle in (None, parts[1]):
            return FileResponse(_path(request, result, name), media_type="image/png")
    raise Problem(404, f"film {film_id} has no heatmap of this finding")


@router.get(
    "/pixels",
    responses={
        200: {
            "content": {
                "image/png": {"schema": {"type": "string", "format": "binary"}},
                "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
            }
        },
        **told(404, 422),
    },
    response_class=Response,
)
def pixels(
    request: Request,
    who: Reads,
    film_id: Number,
    form: Annotated[
        Literal["png", "raw"],
        Query(description="raw: uint16 little-endian, row by row; size in the headers."),
    ] = "png",
    centre: Annotated[
        float | None, Query(ge=-1, le=2, description="Of a window over [0, 1]: 8-bit PNG.")
    ] = None,
    width: Annotated[float | None, Query(gt=0, le=4)] = None,
    invert: bool = False,
) -> Response:
    """The film, bone white, as the page's canvas takes it: a 16-bit PNG, or through a window an 8-bit one. A window left out
    in part is that which the film's header begins with.

    Headers: X-Hilum-Width and X-Hilum-Height of what is sent (at most 4096), X-Hilum-Film-Width and -Height of the film,
    X-Hilum-Centre and X-Hilum-Window of the window to begin with.
    """
    row = row_of(request, film_id)
    frame = desk(request).frames.of(desk(request).store.film(row["file"]))
    _note(request, who.name, row, "pixels")
    headers = {
        "x-hilum-width": str(frame.width),
        "x-hilum-height": str(frame.height),
        "x-hilum-film-width": str(frame.film[1]),
        "x-hilum-film-height": str(frame.film[0]),
        "x-hilum-centre": str(frame.window[0]),
        "x-hilum-window": str(frame.window[1]),
    }
    if form == "raw":
        if "deflate" in request.headers.get("accept-encoding", ""):
            packed = {**headers, "content-encoding": "deflate", "vary": "accept-encoding"}
            return Response(frame.packed, media_type="application/octet-stream", headers=packed)
        return Response(zlib.decompress(frame.packed), media_type="application/octet-stream", headers=headers)
    stored = frame.pixels()
    if centre is None and width is None and not invert:
        return Response(grey_png(stored / np.float32(65535), 16), media_type="image/png", headers=headers)
    shown = windowed(
        stored,
        frame.window[0] if centre is None else centre,
        frame.window[1] if width is None else width,
        invert,
    )
    return Response(grey_png(shown / np.float32(255), 8), media_type="image/png", headers=headers)


def _file(
    request: Request, who: str, film_id: int, key: str, media: str, headers: dict[str, str] | None = None,
    note: bool = True,
) -> FileResponse:  # fmt: skip
    row, result = result_of(request, film_id)
    name = result["files"].get(key)
    if not isinstance(name, str):
        raise Problem(404, f"film {film_id} has none")
    if note:
        _note(request, who, row, key)
    return FileResponse(_path(request, result, name), media_type=media, headers=headers)


def _path(request: Request, result: dict[str, Any], name: str) -> Path:
    path = desk(request).store.result(result["folder"]) / Path(name).name
    if not path.is_file():
        raise Problem(404, "its file is not in the store any more")
    return path


def _note(request: Request, who: str, row: dict[str, Any], what: str) -> None:
    told = {"instance": row["sop_uid"], "study": row["study_uid"], "row": row["instance_id"], "file": what}
    desk(request).trail.add("read", "page", who, told, action="R")
