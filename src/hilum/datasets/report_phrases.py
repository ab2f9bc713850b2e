"""The phrases of `report_phrases.yaml`, as patterns; the file's first lines say how a phrase is written."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

import yaml

from hilum.findings import NIH14

Said = Literal["finding", "perhaps", "denial", "normal"]
"""What a phrase asserts where no cue stands around it: the finding; the finding with a doubt; nothing (it counts only
denied); that the finding is absent."""
Side = Literal["before", "after", "around", "stop", "neutral"]
"""Where what a cue speaks of stands: behind it, as a cue `before` it; in front; on both sides."""
Status = Literal["affirmed", "negated", "uncertain", "ignored"]

PLACE = Path(__file__).with_name("report_phrases.yaml")
_GAP = 4
_WITH_STROKE = ("r/o", "h/o", "s/p")
_BLANK = "[ \\-/]"


@dataclass(frozen=True)
class Mention:
    """Words of a sentence, `start` to `end`, that say something of `findings`."""

    start: int
    end: int
    findings: tuple[str, ...]
    said: Said


@dataclass(frozen=True)
class Cue:
    """Words of a sentence that change what is said of the findings beside them.

    `status` is None for words that end every scope (`side` "stop") and for those that look like a cue and are none.
    """

    start: int
    end: int
    status: Status | None
    side: Side


@dataclass(frozen=True)
class Phrases:
    """Every pattern, made once."""

    mentions: tuple[tuple[tuple[str, ...], Said, re.Pattern[str]], ...]
    excluded: tuple[tuple[str, re.Pattern[str]], ...]
    cues: re.Pattern[str]
    kinds: dict[str, tuple[Status | None, Side]]

    def mentions_in(self, sentence: str) -> list[Mention]:
        """What is said of findings, by place; of two overlapping of one finding the longer, and a statement that all is
        well before any other of its length.
        """
        barred = [(finding, *m.span()) for finding, p in self.excluded for m in p.finditer(sentence)]
        found = [
            Mention(*m.span(), names, said)
            for names, said, pattern in self.mentions
            for m in pattern.finditer(sentence)
            if not any((f,) == names and a <= m.start() and m.end() <= b for f, a, b in barred)
        ]
        found.sort(key=lambda m: (m.start - m.end, _ORDER.index(m.said), m.start))
        kept: list[Mention] = []
        for mention in found:
            rivals = (k for k in kept if k.start < mention.end and mention.start < k.end)
            if not any(set(k.findings) & set(mention.findings) for k in rivals):
                kept.append(mention)
        return sorted(kept, key=lambda m: m.start)

    def cues_in(self, sentence: str) -> list[Cue]:
        """Cues by place; where several begin at one word, the longest."""
        return [
            Cue(*m.span(), *self.kinds[next(n for n, words in m.groupdict().items() if words is not None)])
            for m in self.cues.finditer(sentence)
        ]


_ORDER: tuple[Said, ...] = ("normal", "perhaps", "finding", "denial")


@cache
def phrases() -> Phrases:
    """The patterns of the packaged file."""
    page = yaml.safe_load(PLACE.read_text(encoding="utf-8"))
    expand = _Expander(page["words"], page["breaks"])
    mentions: list[tuple[tuple[str, ...], Said, re.Pattern[str]]] = []
    excluded = []
    for finding, part in page["findings"].items():
        kinds: dict[Said, str] = {"finding": "mentions", "perhaps": "uncertain", "normal": "normal"}
        for said, key in kinds.items():
            if key in part:
                mentions.append(((finding,), said, expand.any_of(part[key])))
        if "exclude" in part:
            excluded.append((finding, expand.any_of(part["exclude"])))
    for said, key in (("denial", "denials"), ("normal", "normal")):
        for row in page[key]:
            names = NIH14 if row["findings"] == "all" else tuple(row["findings"])
            mentions.append((names, said, expand.any_of(row["phrases"])))  # type: ignore[arg-type]
    cues, named = _cues(page["cues"], expand)
    return Phrases(tuple(mentions), tuple(excluded), cues, named)


def _cues(part: dict[str, Any], expand: _Expander) -> tuple[re.Pattern[str], dict[str, Any]]:
    """One pattern with a named group a cue, longest first, and what each group's name stands for."""
    rows: list[tuple[str, Any]] = []
    for status in ("negated", "uncertain", "ignored", "affirmed"):
        rows += [
            (p, (status, side)) for side in ("before", "after", "around") for p in part[status].get(side, ())
        ]
    rows += [(p, (None, side)) for side in ("neutral", "stop") for p in part[side]]
    rows.sort(key=lambda row: -len(row[0].split()))
    named = {f"c{number}": kind for number, (_, kind) in enumerate(rows)}
    patterns = (f"(?P<c{number}>{expand(phrase)})" for number, (phrase, _) in enumerate(rows))
    return re.compile(rf"(?<!\w)(?:{'|'.join(patterns)})(?!\w)"), named


class _Expander:
    """Phrases as they are written to regular expressions."""

    def __init__(self, words: dict[str, list[str]], breaks: list[str]) -> None:
        self.words = {name: self._alternatives(map(self, group)) for name, group in words.items()}
        self.gap = rf"(?: (?!(?:{'|'.join(breaks)})\b)[\w\-]+){{0,{_GAP}}}?"

    def any_of(self, given: list[str]) -> re.Pattern[str]:
        return re.compile(rf"(?<!\w){self._alternatives(map(self, given))}(?!\w)")

    def __call__(self, phrase: str) -> str:
        """A blank of the phrase is a blank, a hyphen or a stroke. It belongs to the word behind it; before the first word
        that must be there, to the word in front of it.
        """
        text, begun = "", False
        for token in phrase.split():
            word = self._word(token.removesuffix("?"))
            if token == "...":
                text += self.gap
            elif not begun and token.endswith("?"):
                text += f"(?:{word}{_BLANK})?"
            elif not begun:
                text, begun = text + word, True
            else:
                text += f"(?:{_BLANK}{word})" + ("?" if token.endswith("?") else "")
        return text

    def _word(self, word: str) -> str:
        parts = [word] if word in _WITH_STROKE else word.split("/")
        return self._alternatives(
            self.words[w[1:]] if w.startswith("$") else re.escape(w).replace(r"\*", r"\w*") for w in parts
        )

    @staticmethod
    def _alternatives(patterns: Any) -> str:
        """Longest first, so that the first that fits is the longest."""
        return f"(?:{'|'.join(sorted(patterns, key=len, reverse=True))})"
