"""What a sentence says of each finding in it: how far a negation or a doubt reaches.

The idea is NegEx's (Chapman et al., J Biomed Inform 34, 2001): a cue reaches from where it stands to the end of its
clause, forward or backward, unless a word such as "but" ends its scope; words that only look like a cue reach nowhere.
Uncertainty beside negation is the CheXpert labeler's (Irvin et al., AAAI 2019). Clauses are found by commas, "and" and
verbs, without a parser.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from hilum.datasets.report_phrases import Cue, Mention, Status, phrases

_JOINT = re.compile(r",(?: and\b| or\b| nor\b)?|\band\b")
_VERB = re.compile(
    r"\b(?:is|are|was|were|has|have|appears?|remains?|demonstrates?|shows?|represents?|reflects?|suggests?)\b"
)
_OF_EXISTENCE = re.compile(
    r"\b(?:is|are|was|were|has been|have been) (?:\w+ )?(?:seen|identified|noted|present|evident|visualized|appreciated"
    r"|demonstrated|detected|observed|found|apparent|visible|suggested|suspected|excluded|recognized)\b"
)
_SIZE = re.compile(
    r"^ ?(?:there (?:is|are)|stable|unchanged|small|tiny|trace|mild|minimal|moderate|severe|marked|increased"
    r"|persistent|chronic|new|bibasilar|patchy)\b"
)
_OR_LATER = re.compile(r"\bn?or\b|/")
_BESIDE = r"(?: (?!(?:no|not|without|with|and|but)\b)[\w\-]+){0,3}"
_OR = re.compile(rf"{_BESIDE},? or{_BESIDE} ")


@dataclass(frozen=True)
class Statement:
    """What a sentence says of some findings: `status`, by the words `phrase`, changed by the words `cue` ("" for none)."""

    findings: tuple[str, ...]
    status: Status
    phrase: str
    cue: str
    sentence: str


def statements(sentence: str) -> list[Statement]:
    """Every statement on a finding that a sentence makes, in order.

    `sentence` is as `report_sections.sentences` gives it. Statements on another time ("history of pneumonia") have the
    status `ignored`. Normal statements ("lungs are clear") are negated statements on what they exclude.
    """
    known = phrases()
    mentions = known.mentions_in(sentence)
    if not mentions:
        return []
    cues = _not_covered(known.cues_in(sentence), mentions)
    borders = _borders(sentence, cues)
    found = []
    for place, mention in enumerate(mentions):
        status, cue = _status(sentence, mention, cues, borders)
        if status == "affirmed" and _alternative(sentence, mentions, place):
            status, cue = "uncertain", "or"
        said = _told(mention, status)
        if said is not None:
            found.append(
                Statement(mention.findings, said, sentence[mention.start : mention.end], cue, sentence)
            )
    return found


def _told(mention: Mention, status: Status) -> Status | None:
    """What the phrase and its cues say together; None for nothing."""
    match mention.said:
        case "finding":
            return status
        case "perhaps":
            return "uncertain" if status == "affirmed" else status
        case "denial":
            return "negated" if status == "negated" else None
        case "normal":
            return "negated" if status == "affirmed" else None


def _status(
    sentence: str, mention: Mention, cues: Sequence[Cue], borders: Sequence[int]
) -> tuple[Status, str]:
    start = max((b for b in borders if b <= mention.start), default=0)
    end = min((b for b in borders if b >= mention.end), default=len(sentence))
    status: Status = "affirmed"
    last: Cue | None = None
    for cue in cues:
        if cue.status is None or cue.side not in ("before", "around"):
            continue
        if start <= cue.start < mention.end:
            between = sentence[last.end : cue.start] if last is not None else ""
            # "no finding suggestive of pneumonia" denies it; "no effusion, possible pneumonia" does not.
            if status == "negated" and cue.status == "uncertain" and not _JOINT.search(between):
                continue
            if cue.status == "affirmed" and status != "ignored":
                continue
            status, last = cue.status, cue
    for cue in cues:
        if cue.status is None or cue.side not in ("after", "around"):
            continue
        if mention.end <= cue.start < end and (
            (status == "affirmed" and cue.status != "affirmed")
            or (status == "ignored" and cue.status in ("negated", "affirmed"))
            or (status == "uncertain" and cue.status == "negated")
        ):
            status, last = cue.status, cue
            break
    return status, sentence[last.start : last.end] if last is not None else ""


def _not_covered(cues: Sequence[Cue], mentions: Sequence[Mention]) -> list[Cue]:
    """Without the cues inside a phrase that speaks for itself ("borderline cardiomegaly"); a denial inside one stays one
    ("lungs are not clear").
    """
    own = [m for m in mentions if m.said in ("perhaps", "normal")]
    return [
        c
        for c in cues
        if c.status == "negated" or not any(m.start <= c.start and c.end <= m.end for m in own)
    ]


def _borders(sentence: str, cues: Sequence[Cue]) -> list[int]:
    """Where a new clause begins: behind words that end a scope, and at a comma or an "and" with a clause of its own behind.

    "No effusion, and the heart is enlarged" has two clauses; "no effusion, pneumothorax, or consolidation is seen" has one:
    nothing but existence is said of all of the list. A list without "or" ends at a word of size: "no pneumothorax, small
    effusion".
    """
    stops = [cue.end for cue in cues if cue.side == "stop"]
    joints = list(_JOINT.finditer(sentence))
    edges = [*stops, *(j.start() for j in joints), len(sentence)]
    found: list[int] = []
    for joint in joints:
        if joint.group().endswith(("or", "nor")):
            continue
        left_at = max(found, default=0)
        left = sentence[left_at : joint.start()]
        right = sentence[joint.end() : min(e for e in edges if e >= joint.end())]
        denied = any(
            c.status == "negated" and c.side == "before" and left_at <= c.start < joint.start() for c in cues
        )
        own = _VERB.search(right) and (_VERB.search(left) or (denied and not _OF_EXISTENCE.search(right)))
        if own or (denied and _SIZE.match(right) and not _OR_LATER.search(sentence, joint.end())):
            found.append(joint.end())
    return sorted((*stops, *found))


def _alternative(sentence: str, mentions: Sequence[Mention], place: int) -> bool:
    """Whether "or" stands between this finding and another: one of the two, nobody knows which."""
    mention = mentions[place]
    for other in mentions[max(0, place - 1) : place + 2]:
        if other is mention or other.said != "finding" or mention.said != "finding":
            continue
        first, second = sorted((mention, other), key=lambda m: m.start)
        if set(first.findings) != set(second.findings) and _OR.fullmatch(sentence[first.end : second.start]):
            return True
    return False
