"""A study's results on paper: `table.json` for machines, `table.md` for people."""

from __future__ import annotations

import json
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from hilum import __version__
from hilum.bundles.card import RESEARCH_USE, table
from hilum.evaluation.verdict import Verdict
from hilum.studies.jobs import Request
from hilum.studies.results import ArmResult
from hilum.studies.tables import Table

SMALL = 10_000
"""Films below which a result says of itself that it rests on few."""


@dataclass(frozen=True)
class Content:
    """All that a study's report holds. `faults`: runs that failed, with why. `missing`: films that were not on disk."""

    tables: tuple[Table, ...]
    verdicts: tuple[tuple[str, tuple[Verdict, ...]], ...]
    figures: tuple[Path, ...]
    faults: tuple[str, ...]
    missing: tuple[str, ...]


def write(request: Request, results: Sequence[ArmResult], content: Content, command: str) -> Path:
    """Both files, in the variant's folder; returns the path of `table.md`."""
    facts = _facts(request, results, command)
    plain = {
        **facts,
        "tables": [{"title": t.title, "rows": t.rows, "notes": list(t.notes)} for t in content.tables],
        "comparisons": [
            {"title": title, "verdicts": [v.as_dict() for v in found]} for title, found in content.verdicts
        ],
        "figures": [str(path.relative_to(request.place)) for path in content.figures],
        "failed_runs": list(content.faults),
        "missing_films": list(content.missing),
    }
    (request.place / "table.json").write_text(
        json.dumps(plain, indent=1, allow_nan=False) + "\n", encoding="utf-8"
    )
    path = request.place / "table.md"
    path.write_text(_markdown(request, facts, content), encoding="utf-8")
    return path


def _facts(request: Request, results: Sequence[ArmResult], command: str) -> dict[str, Any]:
    jobs = [job for result in results for job in result.jobs]
    films = len(results[0].pooled.films) if results else 0
    return {
        "study": request.study.name,
        "variant": request.variant,
        "command": command,
        "made": datetime.now(UTC).date().isoformat(),
        "machine": f"{_machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}",
        "hilum": __version__,
        "seeds": sorted({job.recipe.seed for job in jobs}),
        "folds": sorted({job.number for job in jobs}),
        "data": sorted({f"{source.source}" for job in jobs for source in job.recipe.data.sources}),
        "held_out_films": films,
    }


def _machine() -> str:
    if torch.cuda.is_available():
        return torch.cuda.get_device_name(0)
    return platform.processor() or platform.machine()


def _markdown(request: Request, facts: dict[str, Any], content: Content) -> str:
    study, variant = request.study, request.study.variant(request.variant)
    lines = [
        f"# {study.title}: {request.variant}",
        f"{study.paper}. {' '.join(variant.about.split())}",
        f"**{RESEARCH_USE}**",
        f"    {facts['command']}",
        f"Made {facts['made']} on {facts['machine']}; data: {', '.join(facts['data'])}; seeds"
        f" {', '.join(map(str, facts['seeds']))}; folds {', '.join(map(str, facts['folds']))}.",
    ]
    if facts["held_out_films"] < SMALL:
        lines.append(
            f"The figures here rest on {facts['held_out_films']:,} held-out films, far fewer than the paper's: they do not"
            " reproduce its figures, and a difference from them shows little."
        )
    for each in content.tables:
        lines += [f"## {each.title}", table(each.rows), *each.notes]
    for title, found in content.verdicts:
        if found:
            lines += [f"## {title}", *(f"- {v.words()}" for v in found)]
    if content.faults:
        lines += ["## Runs that failed", *(f"- {fault}" for fault in content.faults)]
    if content.missing:
        shown = ", ".join(content.missing[:20]) + (" …" if len(content.missing) > 20 else "")
        lines += [
            "## Missing films",
            f"{len(content.missing)} films that the tables name are not on disk: {shown}.",
        ]
    lines += ["## Figures", *(f"![{p.stem}]({p.relative_to(request.place)})" for p in content.figures)]
    return "\n\n".join(lines) + "\n"
