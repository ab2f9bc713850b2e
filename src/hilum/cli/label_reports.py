"""`hilum data label-reports`"""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import Any

import typer

from hilum.errors import DataError, HilumError, one_line


class Uncertain(StrEnum):
    apart = "apart"
    unknown = "unknown"
    positive = "positive"
    negative = "negative"


def label_reports(
    reports: Path = typer.Argument(
        ...,
        help="A folder or .tgz of Open-I's XML files, a folder of .txt files, one such file, or a .csv table.",
        metavar="REPORTS",
    ),
    out: Path = typer.Option(..., "--out", "-o", help="The table to write (.csv): a row a report."),
    uncertain: Uncertain = typer.Option(
        Uncertain.apart,
        "--uncertain",
        help="What uncertain becomes: -1, empty, 1 or 0.",
    ),
    text: str | None = typer.Option(
        None, "--text", help="Of a .csv: the columns with the text, parted by commas.", metavar="COLUMNS"
    ),
    name: str | None = typer.Option(
        None, "--name", help="Of a .csv: the column with each report's name.", metavar="COLUMN"
    ),
    tags: str | None = typer.Option(
        None,
        "--tags",
        help="Of a .csv: the column with MeSH headings, parted by semicolons.",
        metavar="COLUMN",
    ),
    evidence: Path | None = typer.Option(
        None, "--evidence", help="Also write every statement that a label rests on, with its sentence (.csv)."
    ),
    score: Path | None = typer.Option(
        None, "--score", help="Also hold the labels to the reports' MeSH tags; the folder for the tables."
    ),
    as_json: bool = typer.Option(False, "--json", help="Print JSON, for machines."),
) -> None:
    """Read findings from reports: 1 positive, 0 denied, -1 uncertain, empty where not mentioned. English only.

    Reports without text, or in another language, and files that are no report, are named; exit code 1.

    Example: hilum data label-reports NLMCXR_reports.tgz --out labels.csv --score agreement
    """
    from hilum.datasets import report_labels as labels
    from hilum.datasets.report_files import Report, Unread
    from hilum.datasets.report_files import reports as read
    from hilum.progress import tracked

    columns = [column.strip() for column in (text or "").split(",") if column.strip()]
    total, found = read(reports, text=columns, name=name, tags=tags)
    known: list[Report] = []
    labelled: dict[str, labels.ReportLabels] = {}
    faults: list[tuple[str, str]] = []
    for report in tracked(found, "reading reports", total):
        if isinstance(report, Unread):
            faults.append((report.name, report.fault))
            continue
        if report.name in labelled:
            raise DataError(f"two reports are called '{report.name}'", path=reports)
        try:
            labelled[report.name] = labels.read(report)
        except HilumError as error:  # a list that contradicts itself; the next row may be right
            faults.append((report.name, error.fault))
            continue
        known.append(report)
        if labelled[report.name].note:
            faults.append((report.name, labelled[report.name].note))
    for path in (out, evidence or out):
        path.parent.mkdir(parents=True, exist_ok=True)
    labels.label_table(labelled, uncertain.value).write_csv(out)
    if evidence is not None:
        labels.evidence_table(labelled).write_csv(evidence)
    told: dict[str, Any] = {"labels": str(out), "reports": len(known), "uncertain": uncertain.value}
    told["findings"] = labels.counts(labelled)
    told["faults"] = [{"report": report, "fault": fault} for report, fault in faults]
    if score is not None:
        from hilum.datasets.report_score_pages import write

        told["score"] = write(known, labelled, score)
    if as_json:
        typer.echo(json.dumps(told, indent=2))
    else:
        _show(told, score)
    if faults:
        raise typer.Exit(1)


def _show(told: dict[str, Any], score: Path | None) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("finding", "positive", "uncertain", "negated", "not mentioned")
    for finding, row in told["findings"].items():
        table.add_row(finding, *(f"{count:,}" for count in row.values()))
    Console().print(table)
    typer.echo(f"{told['labels']}: {told['reports']:,} reports")
    if score is not None:
        typer.echo(f"{score / 'report-labels.md'}: held to tags")
        for tag, count in told["score"]["unknown_tags"].items():
            typer.echo(one_line(f"a heading that is not known: '{tag}', {count} reports"), err=True)
    for fault in told["faults"]:
        typer.echo(one_line(f"no labels: {fault['report']}: {fault['fault']}"), err=True)
