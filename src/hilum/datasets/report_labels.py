"""Labels from text: lists of findings ("Cardiomegaly|Effusion") and free-text reports to the 14 values of ChestX-ray14.

A report is read in three steps, as by the CheXpert labeler (Irvin et al., AAAI 2019): phrases that name a finding, what
the sentence says of each (`report_scopes`), and one value of all of them. English only. Vocabulary and cues stand in
`report_phrases.yaml`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

import polars as pl

from hilum.datasets.report_files import Report
from hilum.datasets.report_scopes import Statement, statements
from hilum.datasets.report_sections import Section, is_english, sections, sentences
from hilum.errors import DataError
from hilum.findings import NIH14, UnknownFindingError, canonical

Value = Literal["positive", "uncertain", "negated"]
"""What a text says of a finding; None where it does not mention it."""
Uncertain = Literal["apart", "unknown", "positive", "negative"]
"""What uncertain becomes as a number: -1 (as in CheXpert's tables), unknown, 1, or 0."""

NO_TEXT = "no findings and no impression"
NOT_ENGLISH = "not in English"
NO_FINDING = "No Finding"
_RANK: tuple[Value, ...] = ("positive", "uncertain", "negated")
_AS: Mapping[str, Value] = {"affirmed": "positive", "uncertain": "uncertain", "negated": "negated"}
_UNCERTAIN: Mapping[Uncertain, float | None] = {
    "apart": -1.0,
    "unknown": None,
    "positive": 1.0,
    "negative": 0.0,
}


@dataclass(frozen=True)
class ReportLabels:
    """What a text says.

    Attributes
    ----------
    values: for each of `NIH14` "positive", "uncertain", "negated", or None for not mentioned.
    statements: what they rest on, in the text's order; those on another time are among them, as `ignored`.
    note: why nothing was read (`NO_TEXT`, `NOT_ENGLISH`); empty where all is well.
    """

    values: Mapping[str, Value | None]
    statements: tuple[Statement, ...] = ()
    note: str = ""

    def numbers(self, uncertain: Uncertain = "apart") -> dict[str, float | None]:
        """1 positive, 0 negated, None not mentioned, and what `uncertain` asks for."""
        as_number = {"positive": 1.0, "negated": 0.0, "uncertain": _UNCERTAIN[uncertain], None: None}
        return {finding: as_number[value] for finding, value in self.values.items()}


def read_report(report: str | Iterable[Section]) -> ReportLabels:
    """Labels of a free-text report, whole or as sections.

    Only sections on this film count (see `report_sections`). A finding that any sentence asserts is positive; else one that
    any doubts is uncertain; else one that any denies, or that a normal statement excludes, is negated.
    """
    parts = sections(report) if isinstance(report, str) else tuple(report)
    counted = [part.text for part in parts if part.counts and part.text.strip()]
    if not counted:
        return ReportLabels(_nothing(), note=NO_TEXT)
    if not is_english(" ".join(counted)):
        return ReportLabels(_nothing(), note=NOT_ENGLISH)
    found = tuple(s for text in counted for sentence in sentences(text) for s in statements(sentence))
    said: dict[str, set[Value]] = {finding: set() for finding in NIH14}
    for statement in found:
        if statement.status in _AS:
            for finding in statement.findings:
                said[finding].add(_AS[statement.status])
    values = {finding: next((v for v in _RANK if v in said[finding]), None) for finding in NIH14}
    return ReportLabels(MappingProxyType(values), found)


def is_list(text: str) -> bool:
    """Whether a text is a list of findings that Hilum knows, parted by `|`, and no prose."""
    try:
        return bool(_listed(text))
    except UnknownFindingError:
        return False


def read_list(text: str) -> ReportLabels:
    """Labels of a list such as "Cardiomegaly|Effusion": what it names is positive, the rest not mentioned.

    "No Finding" denies all 14. A finding beyond the 14 is passed over; UnknownFindingError for a name that is none.
    """
    names = _listed(text)
    if not names:
        return ReportLabels(_nothing(), note=NO_TEXT)
    if NO_FINDING in names and len(names) > 1:
        raise DataError(
            f"'{text}' names findings and No Finding", mend="Leave out one or the other in this row."
        )
    if names in ([NO_FINDING], ["Normal"]):
        return ReportLabels(MappingProxyType(dict.fromkeys(NIH14, "negated")))
    return ReportLabels(MappingProxyType({f: "positive" if f in names else None for f in NIH14}))


def read(report: Report) -> ReportLabels:
    """Labels of a report from disk, or of a list of findings in its place."""
    parts = report.sections
    return read_list(parts[0].text) if len(parts) == 1 and is_list(parts[0].text) else read_report(parts)


def label_table(
    labels: Mapping[str, ReportLabels], uncertain: Uncertain = "apart", *, key: str = "report"
) -> pl.DataFrame:
    """A row a report: its name as column `key`, a column a finding (1, 0, null, and uncertain as asked), and `note`.

    The columns have the findings' names, so that the source `csv` takes the table for labels.
    """
    rows = [(name, *found.numbers(uncertain).values(), found.note or None) for name, found in labels.items()]
    kinds = {key: pl.String, **dict.fromkeys(NIH14, pl.Float32), "note": pl.String}
    return pl.DataFrame(rows, schema=kinds, orient="row")


def evidence_table(labels: Mapping[str, ReportLabels], *, key: str = "report") -> pl.DataFrame:
    """A row a statement: report, finding, status, the words that name it, the cue, and the sentence in lower case."""
    rows = [
        (name, finding, s.status, s.phrase, s.cue, s.sentence)
        for name, found in labels.items()
        for s in found.statements
        for finding in s.findings
    ]
    columns = (key, "finding", "status", "phrase", "cue", "sentence")
    return pl.DataFrame(rows, schema=dict.fromkeys(columns, pl.String), orient="row")


def counts(labels: Mapping[str, ReportLabels]) -> dict[str, dict[str, int]]:
    """How many texts say what of each finding."""
    every = (*_RANK, None)
    return {
        finding: {
            str(v or "not mentioned"): sum(r.values[finding] == v for r in labels.values()) for v in every
        }
        for finding in NIH14
    }


def _listed(text: str) -> list[str]:
    return [canonical(part) for part in text.split("|") if part.strip()]


def _nothing() -> Mapping[str, None]:
    return MappingProxyType(dict.fromkeys(NIH14))
