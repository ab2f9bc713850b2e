"""A report as text: its sections, and their sentences in the form in which phrases are looked for.

Findings and impression are about this film. Indication, history, comparison and technique are about what was asked, about
other films or about the machine: "rule out pneumonia" there is no statement, so nothing in them counts.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

_COUNTED = {
    "findings": "findings",
    "finding": "findings",
    "chest findings": "findings",
    "impression": "impression",
    "impressions": "impression",
    "conclusion": "impression",
    "conclusions": "impression",
    "opinion": "impression",
    "interpretation": "impression",
    "summary": "impression",
    "assessment": "impression",
    "report": "findings",
    "text": "findings",
}
_PASSED_OVER = (
    "indication", "indications", "clinical indication", "clinical information", "clinical history", "clinical data",
    "clinical statement", "history", "reason for exam", "reason for examination", "reason for study", "reason",
    "comparison", "comparisons", "comparison study", "technique", "exam", "examination", "examinations", "procedure",
    "study", "type of exam", "date", "views", "notification", "wet read", "recommendation", "recommendations", "addendum by",
)  # fmt: skip
_HEADING = re.compile(
    rf"(?:^|(?<=[\n.]))[ \t]*(?P<name>{'|'.join(sorted((*_COUNTED, *_PASSED_OVER), key=len, reverse=True))})"
    r"(?:\s*\([^)\n]{0,60}\))?[ \t]*:",
    re.IGNORECASE,
)
_BLANK_LINE = re.compile(r"\n[ \t\r]*\n")
_LIST_NUMBER = re.compile(r"(?:(?<=\s)|^)(?:\d{1,2}[.)]|[-*•])\s+")
_SENTENCE_END = re.compile(
    r"(?<!\bdr)(?<!\bvs)(?<!\be\.g)(?<!\bi\.e)(?<!\bapprox)[.?!]+(?=\s|$|[a-z])|;|\n\n", re.IGNORECASE
)
_SHORT = (
    (re.compile(r"\bw/o\b"), "without"),
    (re.compile(r"\band/or\b"), "or"),
    (re.compile(r"\bvs\."), "vs"),
)
_ENGLISH = frozenset((
    "the", "is", "are", "of", "and", "there", "with", "without", "has", "have", "been", "seen", "was", "were", "this",
    "that", "for", "not", "which", "both", "right", "left", "lung", "lungs", "heart", "size", "clear", "chest", "lower",
    "upper", "lobe", "within", "limits", "effusion", "effusions", "enlarged", "evidence", "acute", "findings", "disease",
    "stable", "unchanged", "mild", "mildly", "small", "large", "opacity", "opacities", "cardiac", "silhouette", "view",
    "views", "negative", "or", "calcified", "slight", "nodes",
))  # fmt: skip
_PIECE = re.compile(r"\S.{0,1999}(?!\S)|\S{1,2000}")
_FEWEST_WORDS, _SMALLEST_SHARE = 8, 0.1


@dataclass(frozen=True)
class Section:
    """A part of a report; `counts` says whether it is about what this film shows. `name` is as written, in lower case."""

    name: str
    text: str

    @property
    def counts(self) -> bool:
        return is_counted(self.name) is True


def is_counted(name: str) -> bool | None:
    """Whether a section called so is about what this film shows; None where no section is called so."""
    name = name.lower()
    return True if name in _COUNTED else False if name in _PASSED_OVER else None


def sections(text: str) -> tuple[Section, ...]:
    """The sections of a report by its headings ("FINDINGS:"), in order; empty ones are left out.

    A report without a heading is all findings. Otherwise what stands before the first heading counts only where no section
    does, and a paragraph after a blank line that follows an indication, comparison or technique is findings where no
    heading says FINDINGS.
    """
    text = text.replace("\r\n", "\n")
    headings = list(_HEADING.finditer(text))
    if not headings:
        return _told("findings", text)
    names = [h["name"].lower() for h in headings]
    counted = [_COUNTED.get(name) for name in names]
    found = () if any(counted) else _told("text", text[: headings[0].start()])
    ends = [h.start() for h in headings[1:]] + [len(text)]
    for heading, name, end in zip(headings, names, ends, strict=True):
        body = text[heading.end() : end]
        if name in _COUNTED or "findings" in counted:
            found += _told(name, body)
            continue
        first, *rest = _BLANK_LINE.split(body.lstrip(), maxsplit=1)
        found += _told(name, first) + _told("findings", "".join(rest))
    return found


def sentences(text: str) -> Iterator[str]:
    """The sentences of a section: lower case, single blanks, no numbers of a list, without the closing point."""
    text = _LIST_NUMBER.sub("\n\n", _BLANK_LINE.sub("\n\n", text))
    for pattern, plain in _SHORT:
        text = pattern.sub(plain, text)
    # 2.5 cm is no end of a sentence; "normal.No effusion" is.
    for part in _SENTENCE_END.split(re.sub(r"(?<=\d)\.(?=\d)", "·", text)):
        words = re.sub(r"[\s:\"()\[\]]+", " ", part.replace("·", ".")).strip(" .,-").lower()
        # Scopes are found in time that grows with the square of a sentence: text without an end is cut.
        yield from (piece.strip() for piece in _PIECE.findall(words))


def is_english(text: str) -> bool:
    """Whether a text of eight words or more reads as English: every tenth is one that English reports use."""
    words = re.findall(r"[^\W\d_]+", text.lower())
    if len(words) < _FEWEST_WORDS:
        return all(word.isascii() for word in words)
    return sum(word in _ENGLISH for word in words) >= _SMALLEST_SHARE * len(words)


def _told(name: str, text: str) -> tuple[Section, ...]:
    return (Section(name, text.strip()),) if text.strip() else ()
