"""A study's results on paper: `table.json` for machines, `table.md` for people."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from hilum import __version__
from hilum.bundles.card import RESEARCH_USE, table
from hilum.learning.material import patients_in
from hilum.learning.writing import write_whole
from hilum.studies.comparisons import Compared
from hilum.studies.films import Films, label_counts
from hilum.studies.jobs import Job, Request
from hilum.studies.machine import machine
from hilum.studies.results import ArmResult
from hilum.studies.tables import Table

ENOUGH = 0.9
"""Share of the paper's films below which a result says of itself that it rests on fewer."""

NAMED = 20
"""Films of a long list that the report itself names; the rest is in a file beside it."""


@dataclass(frozen=True)
class Content:
    """All that a study's report holds.

    Attributes
    ----------
    confusions: counts of each arm, for exclusive classes. faults: runs that failed, with why. unexported: arms that have
        no form for small devices, with why. unreadable: films that could not be read, with why.
    """

    tables: tuple[Table, ...]
    comparisons: tuple[Compared, ...]
    confusions: tuple[dict[str, Any], ...]
    figures: tuple[Path, ...]
    films: Films
    faults: tuple[str, ...] = ()
    unexported: tuple[str, ...] = ()
    unreadable: tuple[str, ...] = ()


@dataclass(frozen=True)
class Carried:
    """What was carried out: the runs, what they call, how many films they held out, and each arm's seconds of training."""

    jobs: tuple[Job, ...]
    labels: tuple[str, ...]
    held_out: int
    seconds: dict[str, float]

    @classmethod
    def of(cls, results: Sequence[ArmResult]) -> Carried:
        return cls(
            tuple(job for result in results for job in result.jobs),
            results[0].folds[0].labels,
            len(results[0].pooled.films),
            {result.arm: result.training for result in results},
        )


def write(request: Request, carried: Carried, content: Content, device: str) -> Path:
    """Both files, each whole, in the variant's folder; returns the path of `table.md`."""
    facts = _facts(request, carried, content.films, device)
    content = replace(
        content,
        faults=tuple(map(request.placeless, content.faults)),
        unexported=tuple(map(request.placeless, content.unexported)),
    )
    plain = {
        **facts,
        "tables": [{"title": t.title, "rows": t.rows, "notes": list(t.notes)} for t in content.tables],
        "comparisons": [
            {"title": c.title, "verdicts": [v.as_dict() for v in c.verdicts], "notes": list(c.notes)}
            for c in content.comparisons
        ],
        "confusion_matrices": list(content.confusions),
        "figures": [path.relative_to(request.place).as_posix() for path in content.figures],
        "failed_runs": list(content.faults),
        "not_exported": list(content.unexported),
        "missing_films": _listed(request.place / "missing.txt", content.films.missing),
        "unreadable_films": _listed(request.place / "unreadable.txt", content.unreadable),
    }
    write_whole(request.place / "table.json", json.dumps(plain, indent=1, allow_nan=False) + "\n")
    path = request.place / "table.md"
    write_whole(path, _markdown(request, facts, content))
    return path


def _facts(request: Request, carried: Carried, films: Films, device: str) -> dict[str, Any]:
    jobs, labels = carried.jobs, carried.labels
    return {
        "study": request.study.name,
        "variant": request.variant,
        "command": request.command,
        "made": datetime.now(UTC).date().isoformat(),
        "machine": machine(device),
        "hilum": __version__,
        "seeds": sorted({job.recipe.seed for job in jobs}),
        "folds": sorted({job.number for job in jobs}),
        "data": sorted({f"{source.source}" for job in jobs for source in job.recipe.data.sources}),
        "films": {
            name: {
                "films": len(part),
                "patients": patients_in(part),
                "labels": label_counts(part, labels),
                "manifest": part.digest,
            }
            for name, part in films.parts.items()
        },
        "films_of_the_paper": request.study.films_printed(request.variant),
        "held_out_films": carried.held_out,
        "training_seconds": carried.seconds,
    }


def _listed(path: Path, films: Sequence[str]) -> dict[str, Any]:
    """How many and the first; all of them in a file, a line each."""
    if films:
        write_whole(path, "\n".join(films) + "\n")
    else:
        path.unlink(missing_ok=True)
    return {"count": len(films), "first": list(films[:NAMED]), "file": path.name if films else None}


def _markdown(request: Request, facts: dict[str, Any], content: Content) -> str:
    study, variant = request.study, request.study.variant(request.variant)
    hours = sum(facts["training_seconds"].values()) / 3600
    lines = [
        f"# {study.title}: {request.variant}",
        f"{study.paper}. {' '.join(variant.about.split())}",
        f"**{RESEARCH_USE}**",
        f"    {facts['command']}",
        f"Made {facts['made']} by Hilum {facts['hilum']} on {facts['machine']}; {hours:.1f} hours of training; data:"
        f" {', '.join(facts['data'])}; {facts['held_out_films']:,} held-out films; seeds"
        f" {', '.join(map(str, facts['seeds']))}; folds {', '.join(map(str, facts['folds']))}.",
    ]
    printed = facts["films_of_the_paper"]
    if printed and content.films.count < ENOUGH * printed:
        lines.append(
            f"The figures here rest on {content.films.count:,} films, {100 * content.films.count / printed:.0f} % of the"
            f" paper's {printed:,}: they do not reproduce its figures, and a difference from them shows little."
        )
    for each in content.tables:
        lines += [f"## {each.title}", table([_shown(row) for row in each.rows]), *each.notes]
    for compared in content.comparisons:
        said = "\n".join(f"- {v.words()}" for v in compared.verdicts)
        lines += [f"## {compared.title}", *([said] if said else []), *compared.notes]
    lines += _named("Runs that failed", content.faults)
    lines += _named("Not exported for small devices", content.unexported)
    lines += _many(
        "Missing films", "that the data's tables name are not on disk", content.films.missing, "missing.txt"
    )
    lines += _many("Unreadable films", "could not be read", content.unreadable, "unreadable.txt")
    pictures = (path.relative_to(request.place).as_posix() for path in content.figures)
    lines += ["## Figures", *(f"![{Path(path).stem}]({path})" for path in pictures)]
    return "\n\n".join(lines) + "\n"


def _shown(row: dict[str, Any]) -> dict[str, Any]:
    """A row whose cells in per cent are rounded as such."""
    percents = {
        key: _per_cent(cell) for key, cell in row.items() if isinstance(cell, dict) and "unit" in cell
    }
    return row | percents


def _per_cent(cell: dict[str, Any]) -> str | None:
    value, low, high = cell["value"], cell["low"], cell["high"]
    return None if value is None else f"{value:.2f} ({low:.2f}–{high:.2f})"


def _named(title: str, faults: Sequence[str]) -> list[str]:
    return [f"## {title}", "\n".join(f"- {fault}" for fault in faults)] if faults else []


def _many(title: str, what: str, films: Sequence[str], file: str) -> list[str]:
    if not films:
        return []
    shown = "; ".join(films[:NAMED]) + (" …" if len(films) > NAMED else "")
    return [f"## {title}", f"{len(films):,} films {what} (all in `{file}`): {shown}"]
