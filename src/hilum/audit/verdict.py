"""What the figures mean, in words: each statement has a level, the figures behind it, and the rule that gave the level.

The cut-offs are choices, named here and printed with each statement. They say where to look, not whether a model is good: a
`trap` is a way to be right for the wrong reason that these films offer and the model is seen to be able to take.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from hilum.audit.measures import Attribute, Measures
from hilum.audit.statement import LEVELS, Level, Statement, surely_above, surely_falls, unmeasured
from hilum.audit.twins import Twins
from hilum.audit.verdict_films import FEWEST_PATIENTS, duplicates, few_patients, heat, letters
from hilum.audit.words import difference, listed, percent, short, signed
from hilum.bundles.info import Info
from hilum.evaluation.covers import ACCURACY, MACRO, Covered
from hilum.evaluation.estimate import Estimate

KEPT_TRAP, KEPT_WATCH = 0.5, 0.2
"""Of what the model tells above chance, the share that it still tells without the lungs."""
NEEDED = 0.5
"""Of what it tells above chance, the share that it must keep when only the lungs are left."""
BORDER_WATCH, BORDER_TRAP = 0.02, 0.1
"""How much the macro AUC may fall when the border is covered."""
TOLD_TRAP, NAMED_TRAP = 0.9, 0.9
"""AUC of a label by the attribute alone, and of the attribute by the probe."""
TOLD_WATCH, NAMED_WATCH = 0.6, 0.7
"""The same, for the lower ends of their intervals."""
CARRIED_TRAP = 0.05
"""Of a label's AUC, what goes when only films of one value are compared."""
GAP_WATCH = 0.1
"""Best less worst subgroup, macro AUC."""
NOUNS = {"age": "age band", "view": "view", "sex": "sex", "source": "source", "collection": "collection"}


def verdict(info: Info, found: Measures, twins: Twins | None) -> tuple[Statement, ...]:
    """Every statement, worst level first, within a level in the order of the report's sections."""
    statements = [
        *_covers(found),
        *(_attribute(info, found, name) for name in _all(found)),
        *_subgroups(found),
    ]
    statements += [letters(found), duplicates(twins), heat(found)]
    return tuple(sorted(statements, key=lambda s: LEVELS.index(s.level)))


def headline(statements: tuple[Statement, ...]) -> str:
    """The count of each level, worst first, with the titles of the traps."""
    counts = {level: [s for s in statements if s.level == level] for level in LEVELS}
    said = [f"{len(of)} {level}" for level, of in counts.items() if of]
    traps = "; ".join(s.title for s in counts["trap"])
    return f"{', '.join(said)}." + (f" Traps: {traps}." if traps else " No trap was found by these rules.")


def _covers(found: Measures) -> Iterator[Statement]:
    whole = _macro(found.inside or found.covers, "none")
    of = " over findings of the lungs" if found.inside else ""
    few = found.patients < FEWEST_PATIENTS
    if few or not surely_above(whole.value, 0.5):
        nothing = f"the model's macro AUC{of} on whole films is {whole.value}: there is nothing to lose"
        why = few_patients(found) if few else nothing
        for code, title in (
            ("lungs_covered", "Reads outside the lungs"),
            ("lungs_alone", "Needs what lies outside the lungs"),
            ("border_covered", "Reads the border"),
        ):
            yield unmeasured(code, title, why)
        return
    yield _lungs_covered(found, whole, of)
    yield _lungs_alone(found, whole, of)
    yield _border(found)


def _lungs_covered(found: Measures, whole: Covered, of: str) -> Statement:
    left = _macro(found.inside or found.covers, "lung_box")
    outline = _macro(found.inside or found.covers, "lungs")
    known = surely_above(left.value, 0.5)
    level: Level = (
        "trap" if known and left.kept >= KEPT_TRAP else "watch" if known and left.kept >= KEPT_WATCH else "ok"
    )
    words = (
        f"With a rectangle over both lungs the macro AUC{of} is {short(left.value)}, on whole films"
        f" {short(whole.value)}:"
        f" {percent(left.kept)} of what the model tells above chance is told without the lungs. With"
        " only the lungs' outline"
        f" covered, which leaves their shape, it is {short(outline.value)}.{_calls(found, 'lung_box')}"
    )
    return Statement(
        "lungs_covered",
        level,
        "Reads outside the lungs",
        words,
        f"trap: at least {100 * KEPT_TRAP:.0f} % kept under the rectangle and its AUC surely above 0.5; watch:"
        f" {100 * KEPT_WATCH:.0f} %",
        {"whole": whole.as_dict(), "lung_box": left.as_dict(), "lungs": outline.as_dict()},
    )


def _lungs_alone(found: Measures, whole: Covered, of: str) -> Statement:
    left = _macro(found.inside or found.covers, "outside_lungs")
    level: Level = "watch" if left.kept < NEEDED and surely_falls(left.difference) else "ok"
    words = (
        f"With all but the lungs covered the macro AUC{of} is {short(left.value)},"
        f" {percent(left.kept)} of what it tells above"
        f" chance on whole films, {difference(left)}. Such films are unlike any it learnt from, so a"
        " loss alone proves little."
    )
    return Statement(
        "lungs_alone",
        level,
        "Needs what lies outside the lungs",
        words,
        f"watch: less than {100 * NEEDED:.0f} % kept, and the difference surely below 0",
        {"whole": whole.as_dict(), "outside_lungs": left.as_dict()},
    )


def _border(found: Measures) -> Statement:
    left = _macro(found.covers, "border")
    drop = -left.difference.value
    sure = surely_falls(left.difference)
    level: Level = (
        "trap" if sure and drop >= BORDER_TRAP else "watch" if sure and drop >= BORDER_WATCH else "ok"
    )
    words = f"With the border covered the macro AUC is {short(left.value)}, {difference(left)}.{_calls(found, 'border')}"
    return Statement(
        "border_covered",
        level,
        "Reads the border",
        words,
        f"watch: a fall of {BORDER_WATCH} or more that is surely one; trap: of {BORDER_TRAP}",
        {"border": left.as_dict()},
    )


def _all(found: Measures) -> list[str]:
    return [name for name in NOUNS if name in found.attributes or name in found.not_asked]


def _attribute(info: Info, found: Measures, name: str) -> Statement:
    noun, title = NOUNS[name], f"Could read the {NOUNS[name]}"
    if name not in found.attributes:
        why = found.not_asked[name]
        made = info.provenance.data
        if name == "source" and len(made) > 1:
            why += f". The bundle learnt from {', '.join(made)}: films of all of them would show whether it tells them apart"
        return unmeasured(name, title, why)
    it = found.attributes[name]
    named = it.probe.auc
    told = _strongest(it.told_all)
    carried = _strongest(it.carried_all)
    if not named.defined or told is None:
        return unmeasured(name, title, named.note if not named.defined else "no label could be told by it")
    nameable = surely_above(named, NAMED_WATCH)
    hints = surely_above(it.told_all[told], TOLD_WATCH)
    by_source = hints and it.told_all[told].value >= TOLD_TRAP and named.value >= NAMED_TRAP
    rests = (
        carried is not None
        and it.carried_all[carried].value >= CARRIED_TRAP
        and it.carried_all[carried].low > 0
    )
    uneven = it.gap.gap.value >= GAP_WATCH and it.gap.gap.low > 0
    some = hints or rests or uneven
    level: Level = "trap" if by_source or (rests and nameable) else "watch" if nameable and some else "ok"
    words = (
        f"A linear probe names the {noun} from the embedding with AUC {short(named)} on held-out"
        " patients (0.5 is chance)."
        f" Known alone, it tells {told} best, with AUC {short(it.told[told])}."
    )
    if carried is not None:
        inside = it.within[carried]
        words += (
            f" Of the model's AUC for {carried}, {short(inside.overall)}, {signed(inside.carried)}"
            " goes when only films of one"
            f" {noun} are compared."
        )
    if uneven:
        words += f" It does worse for {it.gap.worst} than for {it.gap.best}: gap {signed(it.gap.gap)}."
    return Statement(
        name,
        level,
        title,
        words,
        f"trap: the {noun} alone tells a label with AUC {TOLD_TRAP} and the probe names it with"
        f" {NAMED_TRAP}, or the probe names"
        f" it (surely above {NAMED_WATCH}) and {CARRIED_TRAP} or more of a label's AUC surely rests on"
        " it; watch: the probe names"
        f" it so and it alone tells a label (surely above {TOLD_WATCH}), carries one, or parts better"
        " from worse subgroups. Intervals hold"
        " for all labels at once",
        _figures(it, told, carried),
    )


def _figures(it: Attribute, told: str, carried: str | None) -> dict[str, Any]:
    figures: dict[str, Any] = {
        "probe": it.probe.auc.as_dict(),
        "label": told,
        "told": it.told_all[told].as_dict(),
    }
    if carried is not None:
        figures |= {"carried_label": carried, "carried": it.carried_all[carried].as_dict()}
    return figures


def _subgroups(found: Measures) -> Iterator[Statement]:
    title = "Does worse for some"
    if not found.attributes:
        yield unmeasured("subgroups", title, "nothing tells the films apart: there is one subgroup")
        return
    gaps = {name: it.gap for name, it in found.attributes.items()} | found.gaps
    known = {name: gap for name, gap in gaps.items() if gap.gap.defined}
    if not known:
        why = "; ".join(f"{name}: {gap.gap.note}" for name, gap in gaps.items())
        yield unmeasured("subgroups", title, why)
        return
    for name, gap in known.items():
        sure = gap.gap.value >= GAP_WATCH and gap.gap.low > 0
        words = (
            f"Macro AUC over {listed(gap.labels)}: best {gap.best} {gap.macro[gap.best]:.3f}, worst {gap.worst}"
            f" {gap.macro[gap.worst]:.3f}; gap {signed(gap.gap)}."
        )
        if gap.too_small:
            words += f" Too small to compare: {', '.join(f'{v} ({n})' for v, n in gap.too_small.items())}."
        rule = (
            f"watch: a gap of {GAP_WATCH} or more that is surely above 0, allowing for all pairs of subgroups"
        )
        level: Level = "watch" if sure else "ok"
        yield Statement(f"subgroups:{name}", level, f"Does worse by {name}", words, rule, gap.as_dict())


def _calls(found: Measures, cover: str) -> str:
    """What becomes of the accuracy, where classes exclude each other: calls can shift while the ranking holds."""
    at = {c.cover: c for c in found.covers if c.quantity == ACCURACY}
    if cover not in at:
        return ""
    return f" The accuracy goes from {short(at['none'].value)} to {short(at[cover].value)}."


def _macro(table: tuple[Covered, ...], cover: str) -> Covered:
    return next(c for c in table if c.cover == cover and c.quantity == MACRO)


def _strongest(estimates: dict[str, Estimate]) -> str | None:
    """The label with the highest lower end; a complete separation first; where none has an interval the highest value."""
    known = {name: e for name, e in estimates.items() if e.defined}
    if not known:
        return None
    return max(known, key=lambda name: (_floor(known[name]), known[name].value))


def _floor(estimate: Estimate) -> float:
    if math.isnan(estimate.low):
        return 1.0 if surely_above(estimate, 0.999) else -1.0
    return estimate.low
