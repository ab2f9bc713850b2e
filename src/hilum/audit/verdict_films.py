"""What the films themselves say: letters on them, films that stand twice, and where the heat lies on them."""

from __future__ import annotations

from hilum.audit.measures import Heat, Measures
from hilum.audit.statement import Level, Statement, surely_above, unmeasured
from hilum.audit.twins import Twins
from hilum.audit.words import listed, share, short
from hilum.evaluation.estimate import Estimate, finite

LETTERS_TRAP, LETTERS_WATCH = 0.75, 0.6
"""AUC of a label by the number of letters on the film (or by their absence), lower end of its interval."""
INSIDE = 0.5
"""Mean share of heat inside the lungs; below it a finding of the lungs is mostly seen elsewhere."""
HEATED = 10
"""Positive films with heat that a finding must have to be judged by it."""
ONE_PATIENT = "all films are of one patient"
FEWEST_PATIENTS = 10
"""Patients below which covers and letters have no verdict: an interval by patient over a handful holds nothing."""


def letters(found: Measures) -> Statement:
    """Do letters on the film betray a label?"""
    title = "Letters on the film betray the label"
    if found.patients < FEWEST_PATIENTS:
        return unmeasured("letters", title, few_patients(found))
    known = [row for row in found.lettered if row.auc_all.defined]
    if not known:
        return unmeasured("letters", title, "no label has positives and negatives among these films")
    most = max(known, key=lambda row: _away(row.auc_all))
    toward = most.auc_all.value >= 0.5
    sure = most.auc_all if toward else _mirrored(most.auc_all)
    trap, watch = surely_above(sure, LETTERS_TRAP), surely_above(sure, LETTERS_WATCH)
    words = (
        f"Letters or markers were found on {share(found.letters)} of the films. Their number tells"
        f" {most.label} best, with AUC"
        f" {short(most.auc)}: they stand on {share(most.positives)} of its positive and"
        f" {share(most.negatives)} of its negative"
        " films. The detector misses some and takes clips for letters; it compares groups."
    )
    return Statement(
        "letters",
        "trap" if trap else "watch" if watch else "ok",
        title,
        words,
        f"by the number of letters, or their absence, a label's AUC surely above {LETTERS_TRAP}: trap,"
        f" {LETTERS_WATCH}: watch;"
        " intervals hold for all labels at once",
        {"label": most.label, "auc": most.auc_all.as_dict(), "films_with_letters": found.letters.as_dict()},
    )


def few_patients(found: Measures) -> str:
    """Why nothing is said of films of a handful of patients."""
    if found.patients < 2:
        return ONE_PATIENT
    return f"the films are of {found.patients} patients, {FEWEST_PATIENTS} are needed"


def duplicates(twins: Twins | None) -> Statement:
    """Do films stand twice where they must not?"""
    title = "Films stand twice"
    if twins is None:
        return unmeasured("duplicates", title, "not asked for")
    new = [pair for pair in twins.new if pair["crosses"]]
    leaks = (
        twins.across_split
        + twins.with_training
        + sum(bool({"split", "training"} & set(pair["crosses"])) for pair in new)
    )
    other = twins.across_patients + twins.across_labels + len(new)
    level: Level = "trap" if leaks else "watch" if other else "ok"
    words = (
        f"{twins.films:,} films were compared. Groups of one picture with an examined film:"
        f" {twins.examined}; across"
        f" parts of the split: {twins.across_split}; across patients: {twins.across_patients}; across labels:"
        f" {twins.across_labels}; with a film of a patient that the bundle learnt from:"
        f" {twins.with_training}. Among"
        f" {twins.compared:,} films the embedding proposed {twins.alike:,} pairs that look alike: of"
        " one picture"
        f" {twins.confirmed}, of them new {len(twins.new)}."
    )
    return Statement(
        "duplicates",
        level,
        title,
        words,
        "trap: one picture across parts of the split, or beside training; watch: across patients or labels",
        twins.as_dict(),
    )


def heat(found: Measures) -> Statement:
    """Does the heat of findings of the lungs lie inside them?"""
    title = "Heat lies outside the lungs"
    if found.patients < 2:
        return unmeasured("heat", title, ONE_PATIENT)
    judged = [row for row in found.heat if not row.outside_by_nature]
    rows = [row for row in judged if row.inside.defined and row.inside.n >= HEATED]
    if not rows:
        return unmeasured("heat", title, f"no finding of the lungs has {HEATED} positive films with heat")
    astray = [row for row in rows if _astray(row)]
    least = min(rows, key=lambda row: row.inside.value)
    words = (
        f"Of positive films the least heat inside the lungs has {least.label}: {short(least.inside)};"
        " a map of one heat all over"
        f" would have {least.even:.3f}."
    )
    if astray:
        words += (
            f" Surely below {100 * INSIDE:.0f} %, or below the even map:"
            f" {listed([row.label for row in astray])}."
        )
    cold = [f"{row.label} ({row.inside.n})" for row in judged if row not in rows]
    if cold:
        words += f" Not judged, for fewer than {HEATED} positive films have heat: {listed(cold)}."
    nature = [row.label for row in found.heat if row.outside_by_nature]
    if nature:
        words += f" Not judged, for they may lie outside by nature: {listed(nature)}."
    return Statement(
        "heat",
        "watch" if astray else "ok",
        title,
        words,
        f"watch: a finding of the lungs whose share is surely below {INSIDE}, or below that of an even map",
        {row.label: {"inside": row.inside.as_dict(), "even": finite(row.even)} for row in rows},
    )


def _astray(row: Heat) -> bool:
    return row.inside.high < max(INSIDE, row.even)


def _away(e: Estimate) -> float:
    """How far from 0.5 the nearer end of the interval lies; below 0 where the interval holds 0.5, or there is none."""
    if e.low != e.low:
        return 0.5 if surely_above(e, 0.999) or surely_above(_mirrored(e), 0.999) else -1.0
    return max(e.low - 0.5, 0.5 - e.high)


def _mirrored(e: Estimate) -> Estimate:
    return Estimate(1 - e.value, 1 - e.high, 1 - e.low, e.n, e.positives, e.method, e.note)
