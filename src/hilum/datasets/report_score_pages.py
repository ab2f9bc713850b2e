"""What `report_scores` counts, as a page and a JSON file."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hilum.datasets.describe import titled_table
from hilum.datasets.report_files import Report
from hilum.datasets.report_labels import ReportLabels
from hilum.datasets.report_scores import HALVES, RATES, READINGS, score


def write(
    reports: Sequence[Report], labels: Mapping[str, ReportLabels], folder: str | Path
) -> dict[str, Any]:
    """Write `report-labels.md` and `report-labels.json`; return what they hold."""
    folder = Path(folder)
    found = score(reports, labels)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "report-labels.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    (folder / "report-labels.md").write_text(markdown(found), encoding="utf-8")
    return found


def markdown(found: dict[str, Any]) -> str:
    """The scores as a Markdown page."""
    lines = [
        "# Labels from text, held to the reports' MeSH tags",
        "",
        "Made by `hilum data label-reports REPORTS --out labels.csv --score FOLDER`. Research use only. Rules may be"
        " changed by what is seen in the development half; the held-out half is only counted. Intervals are of 95 %:"
        f" Wilson's, and for F1 {found['replicates']:,} draws of reports (seed {found['seed']}).",
    ]
    for name in reversed(HALVES):
        part = found["halves"][name]
        lines += [
            "",
            f"- {name}: {part['reports']:,} reports, {part['scored']:,} scored; {part['without_text']:,} have no text that"
            f" could be read, {part['untagged']:,} more no tags.",
        ]
    if found["unknown_tags"]:
        told = ", ".join(f"{tag} ({count})" for tag, count in found["unknown_tags"].items())
        lines += ["", f"- Headings that are not known: {told}."]
    for name in reversed(HALVES):
        part = found["halves"][name]
        if not part["scored"]:
            continue
        for reading in READINGS:
            lines += _rates(f"{name.capitalize()} half, {reading}", part["readings"][reading], part["cells"])
        lines += _cells(
            f"{name.capitalize()} half: what the text says of reports tagged and not tagged", part["cells"]
        )
    return "\n".join([*lines, ""])


def _rates(title: str, rates: dict[str, Any], cells: dict[str, Any]) -> list[str]:
    rows = [
        (
            finding,
            sum(tagged for tagged, _ in cells[finding].values()),
            *(_text(row[k]) for k in (*RATES, "f1")),
        )
        for finding, row in rates["findings"].items()
    ]
    total = sum(row[1] for row in rows)
    rows += [
        (f"{kind} average", total, "", "", "", _text(rates[f"{kind}_f1"])) for kind in ("macro", "micro")
    ]
    return titled_table(title, ("finding", "tagged", *RATES, "F1"), rows)


def _cells(title: str, cells: dict[str, Any]) -> list[str]:
    values = list(next(iter(cells.values())))
    header = ("finding", *(f"{t}: {v}" for t in ("tagged", "not tagged") for v in values))
    rows = [(f, *(row[v][side] for side in (0, 1) for v in values)) for f, row in cells.items()]
    return titled_table(title, header, rows)


def _text(estimate: dict[str, Any]) -> str:
    if estimate["value"] is None:
        return ""
    if estimate["low"] is None:
        return f"{estimate['value']:.3f}"
    return f"{estimate['value']:.3f} ({estimate['low']:.3f}–{estimate['high']:.3f})"
