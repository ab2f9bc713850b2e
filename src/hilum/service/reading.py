"""What the reading view shows of a film: findings with their reviews, boxes, lungs, priors, and whom it shows."""

from __future__ import annotations

import json
import logging
from typing import Any
from urllib.parse import quote

from hilum.analysis.render.words import interval
from hilum.service.desk import Desk
from hilum.service.films import Film, film_of
from hilum.service.problems import API, Problem

logger = logging.getLogger(__name__)


def reading(desk: Desk, row: dict[str, Any]) -> dict[str, Any]:
    """Values for the template `film.html`; `data` is what the script gets."""
    film = film_of(row)
    report = _report(desk, row)
    reviews = desk.reviews.of(row["instance_id"])
    findings = [_finding(each, row) for each in report.get("findings", ())]
    findings.sort(key=lambda f: (not f["positive"], -f["probability"]))
    boxes = report.get("boxes") or []
    priors = [film_of(other) for other in desk.worklist.priors(row)]
    person, fault = _person(desk, row)
    latest: dict[str, dict[str, str]] = {}
    drawn: dict[str, list[dict[str, Any]]] = {}
    for review in reviews:
        for said in review.findings:
            latest.setdefault(review.who, {})[f"{said['bundle']}|{said['name']}"] = said["verdict"]
        if review.boxes is not None:
            drawn[review.who] = review.boxes
    data = {
        "id": film.id,
        "result": film.result,
        "api": f"{API}/films",
        "width": report.get("source", {}).get("width"),
        "height": report.get("source", {}).get("height"),
        "findings": findings,
        "boxes": [{"name": b["name"], "box": b["box"], "score": b["score"]} for b in boxes],
        "lungs": bool(report.get("lungs")),
        "verdicts": latest,
        "drawn": drawn,
        "priors": [_prior(each) for each in priors],
    }
    return {
        "film": film,
        "data": data,
        "findings": findings,
        "boxes": boxes,
        "reviews": reviews,
        "priors": priors,
        "person": person,
        "pixels_fault": fault,
        "warnings": report.get("warnings", []),
        "source": report.get("source", {}),
        "bundles": report.get("bundles", []),
    }


def _report(desk: Desk, row: dict[str, Any]) -> dict[str, Any]:
    """The report as JSON; empty where there is none."""
    result = row["result"]
    if result is None:
        return {}
    try:
        found = json.loads((desk.store.result(result["folder"]) / result["files"]["json"]).read_text("ascii"))
    except (OSError, KeyError, ValueError) as error:
        logger.error("the report of job %d cannot be read: %s", row["id"], type(error).__name__)
        return {}
    return found if isinstance(found, dict) else {}


def _finding(found: dict[str, Any], row: dict[str, Any]) -> dict[str, Any]:
    heat = None
    mapped = f"map:{found['bundle']}:{found['name']}" in row["result"]["files"]
    if mapped or found["heatmap"]:
        grid = (
            "map" if mapped else "film"
        )  # results of before have those of positive findings only, on the film's grid
        heat = f"{API}/films/{row['id']}/heatmaps/{quote(found['name'], safe='')}.png"
        heat += f"?bundle={quote(found['bundle'])}&grid={grid}"
    bounds = found["interval"]
    return {
        **{
            key: found[key]
            for key in ("name", "bundle", "group", "probability", "std", "threshold", "positive")
        },
        "lung_share": found["lung_share"],
        "method": found["method"],
        "interval": interval((bounds[0], bounds[1])) if bounds else "",
        "heatmap": heat,
    }


def _prior(film: Film) -> dict[str, Any]:
    return {
        "id": film.id,
        "received": film.received.strftime("%Y-%m-%d %H:%M"),
        "leading": film.leading,
        "risk": film.risk,
    }


def _person(desk: Desk, row: dict[str, Any]) -> tuple[dict[str, str], str | None]:
    """Whom the film's header names, where names are to be shown; and why its pixels cannot be, where they cannot."""
    try:
        person = desk.frames.of(desk.store.film(row["file"])).person
    except Problem as error:
        return {}, error.fault
    return (person if desk.settings.names else {}), None
