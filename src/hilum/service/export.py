"""Reviews as tables for the next training: labels for the source `csv`, boxes as `hilum boxes` reads them."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from typing import Any


def labels_csv(rows: Iterable[dict[str, Any]]) -> str:
    """`path,patient,study,readers`, then a column a finding: 1, 0, or empty where no one said, or two contradict.

    `rows`: as `Reviews.all` gives them. Who agrees holds what the bundle called for true, who disagrees its contrary.
    """
    films: dict[str, dict[str, Any]] = {}
    votes: dict[tuple[str, str, str, str], int] = {}  # film, finding, reader, bundle: the last word
    for row in rows:
        films[_path(row)] = row
        called = {(f["name"], f["bundle"]): bool(f["positive"]) for f in row["summary"].get("findings", ())}
        for said in row["findings"]:
            key = (_path(row), said["name"], row["who"], said["bundle"])
            positive = called.get((said["name"], said["bundle"]))
            if said["verdict"] == "withdrawn" or positive is None:
                votes.pop(key, None)
            else:
                votes[key] = int(positive == (said["verdict"] == "agree"))
    findings = sorted({finding for _, finding, _, _ in votes})
    table = []
    for path, row in films.items():
        readers = {reader for film, _, reader, _ in votes if film == path}
        labels = [
            {vote for (film, name, _, _), vote in votes.items() if (film, name) == (path, finding)}
            for finding in findings
        ]
        if readers:
            known = [str(next(iter(label))) if len(label) == 1 else "" for label in labels]
            table.append([path, row["patient"] or "", row["study_uid"] or "", str(len(readers)), *known])
    return _csv(["path", "patient", "study", "readers", *findings], table)


def boxes_csv(rows: Iterable[dict[str, Any]]) -> str:
    """`image_id,class,x1,y1,x2,y2,reader,patient`, a box a row; a film that a reader left without boxes is a row with none.

    Of each reader the last boxes of a film count. A box that several drew alike stands once, with all their names; so does
    a film that several left without one. `image_id` is what the source `csv` makes of the path.
    """
    last: dict[tuple[str, str], dict[str, Any]] = {}
    for row in rows:
        if row["boxes"] is not None:
            last[_path(row), row["who"]] = row
    readers: dict[tuple[str, ...], list[str]] = {}
    patients: dict[str, str] = {}
    for (path, reader), row in last.items():
        patients[path] = row["patient"] or ""
        for each in row["boxes"] or [{"name": "", "box": ("", "", "", "")}]:
            readers.setdefault((path, each["name"], *map(str, each["box"])), []).append(reader)
    table = [[*drawn, "; ".join(names), patients[drawn[0]]] for drawn, names in readers.items()]
    return _csv(["image_id", "class", "x1", "y1", "x2", "y2", "reader", "patient"], table)


def _path(row: dict[str, Any]) -> str:
    """Where the film lies, from the store's folder."""
    return f"films/{row['file'][:2]}/{row['file']}"


def _csv(header: Sequence[str], table: Iterable[Sequence[str]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(table)
    return text.getvalue()
