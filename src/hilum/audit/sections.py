"""An audit on paper: sections of prose, tables and figures, which the Markdown file and the page both show."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hilum.audit.figures import COVER_NAMES
from hilum.audit.films import Asked
from hilum.audit.measures import Attribute, Measures
from hilum.audit.twins import Twins
from hilum.bundles.card import RESEARCH_USE, interval, table
from hilum.evaluation.estimate import Estimate
from hilum.evaluation.gaps import FEWEST_FILMS, FEWEST_PATIENTS

Rows = list[dict[str, Any]]


@dataclass(frozen=True)
class Section:
    """`prose`: paragraphs. `tables`: (caption, rows of the same keys). `figures`: (caption, file)."""

    title: str
    prose: tuple[str, ...] = ()
    tables: tuple[tuple[str, Rows], ...] = ()
    figures: tuple[tuple[str, Path], ...] = field(default=())


def sections(
    asked: Asked,
    found: Measures,
    twins: Twins | None,
    failures: Sequence[str],
    figures: Sequence[tuple[str, Path]],
) -> list[Section]:
    """All but the verdict, in the report's order."""
    drawn = {path.stem: (caption, path) for caption, path in figures}

    def of(name: str) -> tuple[tuple[str, Path], ...]:
        return (drawn[name],) if name in drawn else ()

    return [
        Section(
            "Parts of the film covered",
            (
                "Covered pixels have the mean of the others. Differences are covered minus whole, on"
                " the same films, paired."
                " Kept: of what is told above chance.",
            ),
            (("", _overall(found)), ("AUC of each output", _each(found))),
            of("covers"),
        ),
        *_attributes(found, of("probes")),
        Section(
            "Subgroups",
            (
                f"Subgroups of at least {FEWEST_FILMS} films of {FEWEST_PATIENTS} patients. A macro AUC"
                " covers only the outputs with"
                " films enough in its subgroup, so compare the rows through the gaps of the verdict.",
                *_too_small(found),
            ),
            (("", _subgroups(found)),),
            of("subgroups"),
        ),
        Section("Films that stand twice", _twins(twins), (("", _named(twins)),)),
        Section(
            "Letters and markers",
            ("Found by their look outside the chest, see the documentation for how often that is right.",),
            (("By output", _letters(found)), ("By subgroup", _letters_by(found))),
            of("letters"),
        ),
        Section(
            "Heat inside the lungs",
            (
                "Of films that are positive, the share of the heatmap's energy inside the lungs, and"
                " how often its hottest point"
                " lies there or near. Even: what a map of one heat all over would have.",
            ),
            (("", _heat(found)),),
            of("heat"),
        ),
        *_left_out(asked, failures),
    ]


def markdown(
    title: str, facts: Sequence[str], headline: str, statements: Rows, parts: Sequence[Section]
) -> str:
    """The report in Markdown; figures are named by file, beside it."""
    lines = [f"# {title}", f"**{RESEARCH_USE}**", "\n".join(f"- {fact}" for fact in facts)]
    lines += [
        "## Verdict",
        headline,
        table([{k: s[k] for k in ("level", "question", "said")} for s in statements]),
    ]
    for part in parts:
        lines += [f"## {part.title}", *part.prose]
        for caption, rows in part.tables:
            lines += [*([f"**{caption}**"] if caption and rows else []), table(rows)]
        lines += [f"![{caption}]({path.name})" for caption, path in part.figures]
    rules = [f"- {s['question']}: {s['rule']}." for s in statements if s["rule"]]
    lines += ["## The rules", "\n".join(dict.fromkeys(rules))]
    return "\n\n".join(line for line in lines if line) + "\n"


def cell(value: Any) -> str:
    """A table's cell as text, as `bundles.card.table` writes it."""
    if value is None:
        return "–"
    if isinstance(value, dict):
        return interval(value)
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def _overall(found: Measures) -> Rows:
    labels = {row.label for row in found.lettered}
    return [
        {
            "films": COVER_NAMES[c.cover],
            "what": c.quantity,
            "value": _plain(c.value),
            "difference": _signed(c.difference),
            "kept": None if c.kept != c.kept else f"{100 * c.kept:.0f} %",
        }
        for c in found.covers
        if c.quantity not in labels
    ]


def _each(found: Measures) -> Rows:
    """A row an output, a column a cover."""
    return [
        {
            "output": row.label,
            "positive": row.auc.positives,
            **{COVER_NAMES[c.cover]: _plain(c.value) for c in found.covers if c.quantity == row.label},
        }
        for row in found.lettered
    ]


def _attributes(found: Measures, figure: tuple[tuple[str, Path], ...]) -> list[Section]:
    prose = [
        "Probe: a linear regression from the embedding, cross-validated by patient. Told: how well the"
        " attribute alone tells the"
        " output. Within: the output's AUC over pairs of films of one value. Carried: what goes.",
        *(f"{name}: not measurable, {why}." for name, why in found.not_asked.items()),
    ]
    tables: list[tuple[str, Rows]] = [("The probe", [_probe(it) for it in found.attributes.values()])]
    for name, it in found.attributes.items():
        tables.append((f"Positive films by {name}", _positives(it)))
        tables.append((f"What the {name} tells and carries", _told(it)))
    return [Section("What the embedding betrays", tuple(prose), tuple(tables), figure)]


def _probe(it: Attribute) -> dict[str, Any]:
    left = ", ".join(f"{value} ({films})" for value, films in it.probe.left_out.items())
    each = "; ".join(f"{value} {e.value:.3f}" for value, e in it.probe.each.items() if e.defined)
    return {
        "attribute": it.name,
        "films": sum(it.films.values()),
        "AUC": _plain(it.probe.auc),
        "each": each or None,
        "left out": left or it.probe.auc.note or None,
    }


def _positives(it: Attribute) -> Rows:
    return [
        {
            it.name: value,
            "films": films,
            **{
                label: f"{100 * hit / n:.0f} %" if n else None
                for label, (hit, n) in it.positives[value].items()
            },
        }
        for value, films in it.films.items()
    ]


def _told(it: Attribute) -> Rows:
    return [
        {
            "output": label,
            "told": _plain(told),
            "model": _plain(it.within[label].overall),
            "within": _plain(it.within[label].within),
            "carried": _signed(it.within[label].carried),
        }
        for label, told in it.told.items()
    ]


def _subgroups(found: Measures) -> Rows:
    return [
        {
            "attribute": part.attribute,
            "value": part.value,
            "films": part.films,
            "patients": part.patients,
            "macro AUC": _plain(part.macro_auc),
            "note": part.macro_auc.note or None,
        }
        for part in found.subgroups
        if part.films >= FEWEST_FILMS and part.patients >= FEWEST_PATIENTS
    ]


def _too_small(found: Measures) -> list[str]:
    small = [
        f"{part.attribute} {part.value} ({part.films})"
        for part in found.subgroups
        if part.films < FEWEST_FILMS or part.patients < FEWEST_PATIENTS
    ]
    return [f"Too small, with their films: {', '.join(small)}."] if small else []


def _twins(twins: Twins | None) -> tuple[str, ...]:
    if twins is None:
        return ("Not asked for.",)
    return (
        f"{twins.films:,} films were compared by a perceptual hash and their detail: {twins.groups}"
        " groups show one picture,"
        f" {twins.examined} of them touch an examined film."
        + (f" {twins.unreadable} films could not be compared." if twins.unreadable else ""),
        f"{twins.compared:,} films were compared by their embeddings; of {twins.alike:,} pairs that are"
        f" alike {twins.confirmed}"
        " show one picture, as it is or mirrored.",
    )


def _named(twins: Twins | None) -> Rows:
    if twins is None:
        return []
    groups = [*twins.named, *({**pair, "of": 2} for pair in twins.new)]
    return [
        {"films": ", ".join(g["films"]), "of": g["of"], "crosses": ", ".join(g["crosses"]) or "nothing"}
        for g in groups
    ]


def _letters(found: Measures) -> Rows:
    return [
        {
            "output": row.label,
            "positive films with letters": _plain(row.positives),
            "negative films": _plain(row.negatives),
            "AUC by their number": _plain(row.auc),
        }
        for row in found.lettered
    ]


def _letters_by(found: Measures) -> Rows:
    return [
        {"attribute": name, "value": value, "films": share.n, "with letters": _plain(share)}
        for name, shares in found.letters_by.items()
        for value, share in shares.items()
    ]


def _heat(found: Measures) -> Rows:
    return [
        {
            "output": row.label,
            "films": row.inside.n,
            "heat inside": _plain(row.inside),
            "hottest point inside": _plain(row.pointing),
            "even": None if row.even != row.even else row.even,
            "note": "may lie outside by nature" if row.outside_by_nature else row.inside.note or None,
        }
        for row in found.heat
    ]


def _left_out(asked: Asked, failures: Sequence[str]) -> list[Section]:
    if not failures:
        return []
    shown = "; ".join(failures[:20]) + (" …" if len(failures) > 20 else "")
    return [Section("Films left out", (f"{len(failures)} of {len(asked.films)}: {shown}",))]


def _plain(e: Estimate) -> dict[str, Any]:
    return {k: v for k, v in e.as_dict().items() if k in ("value", "low", "high")}


def _signed(e: Estimate) -> str | None:
    if not e.defined:
        return None
    return f"{e.value:+.3f}" + ("" if e.low != e.low else f" ({e.low:+.3f} to {e.high:+.3f})")
