"""A film as the API and the worklist show it, and the order in which films should be read."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Literal

from pydantic import BaseModel, Field

from hilum.analysis.report import NOTHING_FOUND
from hilum.clinic.ledger.queue import State


class Seen(BaseModel):
    """One finding of a film."""

    name: str
    bundle: str
    group: str | None
    probability: float = Field(description="Calibrated, 0 to 1.")
    interval: tuple[float, float] | None
    threshold: float | None
    positive: bool


class Film(BaseModel):
    """A film that came in, with what was found in it once it is `done`."""

    id: int
    state: State
    reason: str | None = Field(description="Why it failed, is held, or was not for Hilum.")
    sop_uid: str
    study_uid: str | None
    modality: str | None
    door: str = Field(description="How it came: upload, node, watch, cli.")
    received: datetime
    analysable: bool | None = Field(description="Null until it was analysed.")
    not_analysed: str | None = Field(description="Why it was no film that could be analysed.")
    risk: float | None = Field(description="Probability of the highest positive finding; null where none is.")
    leading: str | None = Field(description="That finding.")
    findings: list[Seen]
    reviewed: int = Field(description="How many reviews it has.")
    result: int | None = Field(description="The number of its newest result, which a review names.")
    results: list[Literal["sr", "seg", "sc", "gsps"]] = Field(description="DICOM results there are.")


KINDS: tuple[Literal["sr", "seg", "sc", "gsps"], ...] = ("sr", "seg", "sc", "gsps")


def film_of(row: dict[str, Any]) -> Film:
    """A row of `Worklist` as the API shows it."""
    result = row["result"]
    summary = result["summary"] if result else {}
    findings = [Seen(**each) for each in summary.get("findings", ())]
    positive = [f for f in findings if f.positive and f.name not in NOTHING_FOUND]
    leading = max(positive, key=lambda f: f.probability, default=None)
    names = result["files"].get("dicom", ()) if result else ()
    return Film(
        id=row["id"],
        state=row["state"],
        reason=row["reason"],
        sop_uid=row["sop_uid"],
        study_uid=row["study_uid"],
        modality=row["modality"],
        door=row["door"],
        received=datetime.fromtimestamp(row["received"], UTC),
        analysable=summary.get("analysable"),
        not_analysed=summary.get("reason"),
        risk=leading.probability if leading else None,
        leading=leading.name if leading else None,
        findings=findings,
        reviewed=row["reviewed"],
        result=result["id"] if result else None,
        results=[kind for kind in KINDS if any(name.endswith(f".{kind}.dcm") for name in names)],
    )


def triage(films: list[Film]) -> list[Film]:
    """Those with a positive finding first, the likeliest on top; then what needs a person for another reason, what waits,
    what has no positive finding by its likeliest one, and what is not for Hilum. Unread films come before read ones of a
    kind."""
    return sorted(films, key=_urgency)


def _urgency(film: Film) -> tuple[int, bool, float, int]:
    if film.risk is not None:
        return 0, film.reviewed > 0, -film.risk, -film.id
    if film.state in ("failed", "held") or film.analysable is False:
        return 1, film.reviewed > 0, 0.0, -film.id
    if film.state in ("queued", "running"):
        return 2, False, 0.0, -film.id
    likeliest = max((f.probability for f in film.findings if f.name not in NOTHING_FOUND), default=0.0)
    return (4 if film.state in ("not_for_us", "removed") else 3), film.reviewed > 0, -likeliest, -film.id
