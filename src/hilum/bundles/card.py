"""The card: what a bundle is, what it was made from, how well it does, and where it must not be used."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from hilum.bundles.info import Info, Ran
from hilum.images.preparation import Body, Letters, NearLungs

PRIVACY = (
    "Synthetic films may resemble films of the patients that the generator learnt from. Neither they nor the weights are for"
    " release without a check of that, and no film of it is to be taken for a patient's."
)
MEMORISED = "nearer to a training film"
"""How the facts begin that say how near synthetic films come to training films."""
SHOWN = 12

RESEARCH_USE = "Research use only. Not a medical device. A radiologist must check every result."


def card(info: Info) -> str:
    """The card of a bundle in Markdown."""
    parts = [
        f"# {info.title}",
        f"`{info.name}` {info.version} · {info.task} · {_kind(info)}",
        f"**{RESEARCH_USE}**",
        _section("Limits", _bullets(info.limits)),
        _section("Privacy", _privacy(info)),
        _section("For which films", info.applies.note or ("" if info.conditions else _ages(info))),
        _section("Made from", _made_from(info)),
        _section("Members", _members(info)),
        _section("Preparation", _preparation(info)),
        _section("Makes films of", _conditions(info)) or _section("Outputs", _outputs(info)),
        _section("Also as", _exports(info)),
        _section("Tuned", _tuned(info)),
        _section("Drift is measured against", _reference(info)),
        *(_section(f"Measured: {name}", measured(result)) for name, result in info.metrics.items()),
    ]
    return "\n\n".join(p for p in parts if p) + "\n"


def table(rows: Iterable[Mapping[str, Any]]) -> str:
    """Rows of the same keys as a Markdown table."""
    rows = list(rows)
    if not rows:
        return ""
    heads = list(rows[0])
    lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    lines += ["| " + " | ".join(_cell(row.get(h)) for h in heads) + " |" for row in rows]
    return "\n".join(lines)


def _cell(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, Mapping) and "value" in value:
        return interval(value)
    return f"{value:.3f}" if isinstance(value, float) else str(value).replace("|", "\\|")


def interval(estimate: Mapping[str, Any]) -> str:
    """An estimate as `0.812 (0.771–0.853)`; `–` where it is undefined."""
    value, low, high = estimate["value"], estimate.get("low"), estimate.get("high")
    if value is None:
        return "–"
    return f"{value:.3f}" + (
        f" ({low:.3f}–{high:.3f})" if low is not None and high is not None else " (no interval)"
    )


def _kind(info: Info) -> str:
    return "embeddings, no outputs" if info.task == "encode" else _counted(len(info.labels), "output")


def _section(title: str, body: str) -> str:
    return f"## {title}\n\n{body}" if body else ""


def _bullets(lines: Iterable[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)


def _ages(info: Info) -> str:
    if info.applies.ages is None:
        return "Frontal chest films."
    low, high = info.applies.ages
    return f"Frontal chest films of people aged {low:g} to {high:g} years."


def _made_from(info: Info) -> str:
    made = info.provenance
    lines = [f"Data: {', '.join(made.data)}", f"Licence of the weights: {made.licence}"]
    lines += [
        f"{part}: {made.films[part]} films of {made.patients.get(part, 0)} patients" for part in made.films
    ]
    if made.imported is not None:
        lines += [f"Not trained by Hilum: the weights are those of {made.imported}"]
        return _bullets([*lines, f"Made into a bundle by Hilum {made.hilum} on {made.created}"])
    lines += [
        f"Split: {made.split}, SHA-256 `{made.split_digest[:16]}`",
        f"Recipe: SHA-256 `{made.recipe_digest[:16]}`",
    ]
    lines += [f"Started from: {made.start}"] if made.start else []
    lines += [f"Made by Hilum {made.hilum} on {made.created}"]
    return _bullets(lines)


def _reference(info: Info) -> str:
    known = info.reference
    return (
        "" if known is None else f"Scores and grey values of {_counted(known.films, 'film')}: {known.note}."
    )


def _members(info: Info) -> str:
    """The bundles that an ensemble was made of."""
    if info.model.name != "ensemble":
        return ""
    rows = [
        {"member": m.get("name"), "version": m.get("version"), "SHA-256": f"`{m.get('digest', '')[:16]}`"}
        for m in info.model.options.get("members", ())
    ]
    return f"The probability is the mean of the members' calibrated probabilities.\n\n{table(rows)}"


def _preparation(info: Info) -> str:
    steps = info.preparation
    height, width = steps.size
    lines = [
        f"{height} x {width} pixels, {steps.aspect}, {steps.bits} bit, {_counted(steps.channels, 'channel')}"
    ]
    if steps.focus is not None:
        lines.append(
            f"of the smallest square around the lungs, margin {steps.focus.margin:g}, as the bundle"
            f" `{steps.focus.segmenter}` finds them (`{(steps.focus.digest or '')[:16]}`)"
        )
    if steps.masking is not None:
        lines.append(_masked(steps.masking))
    for name in ("denoise", "normalise", "clahe"):
        step = getattr(steps, name)
        if step is not None:
            lines.append(f"{name}: {_step(step.model_dump())}")
    return _bullets(lines)


def _masked(step: Body | NearLungs | Letters) -> str:
    text = ", and burnt-in text" if getattr(step, "letters", False) else ""
    match step:
        case Body():
            what = "what lies outside the body"
        case NearLungs(margin=margin, segmenter=name, digest=digest):
            found = f"as the bundle `{name}` finds them (`{(digest or '')[:16]}`)"
            what = f"what lies far from the lungs, margin {margin:g}, {found}"
        case Letters():
            what = "burnt-in text"
    return f"hidden by the mean of the rest: {what}{text}"


def _step(values: dict[str, Any]) -> str:
    """A step's kind and settings: `percentile (low 0.5, high 99.5)`."""
    kind = str(values.pop("kind", "")).replace("_", " ")
    settings = ", ".join(f"{name} {value:g}" for name, value in values.items())
    return f"{kind} ({settings})" if kind else settings


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _outputs(info: Info) -> str:
    if info.task == "encode":
        return (
            "An embedding of each film, and no finding: by itself it finds nothing. Classifiers start from it"
            " (`model.pretrained`)."
        )
    rows = []
    for label in info.labels:
        cut = label.threshold
        rows.append(
            {
                "output": label.name,
                "code": f"{label.code.scheme} {label.code.value}" if label.code else None,
                "threshold": cut.value if cut else None,
                "chosen for": cut.note or cut.rule if cut else None,
            }
        )
    calibrated = f"Probabilities are calibrated by {info.calibration.kind}.\n\n" if info.calibration else ""
    return calibrated + table(rows)


def _privacy(info: Info) -> str:
    """Of a bundle that makes films: that they may show a training patient, and what was measured of it."""
    if info.task != "generate":
        return ""
    found = [
        f"{name}: {fact}, {_cell(value)}"
        for name, result in info.metrics.items()
        for fact, value in result.get("facts", {}).items()
        if fact.startswith(MEMORISED)
    ]
    measured = found or ["How near they come to training films was not measured yet: hilum evaluate --record"]
    return f"{PRIVACY}\n\n{_bullets(measured)}"


def _conditions(info: Info) -> str:
    """The findings that stand together most often in what a generator learnt from."""
    if info.task != "generate":
        return ""
    total = sum(condition.films for condition in info.conditions)
    rows = [
        {"findings": ", ".join(condition.findings) or "none", "training films": condition.films}
        for condition in info.conditions[:SHOWN]
    ]
    more = len(info.conditions) - len(rows)
    text = f"{_counted(len(info.labels), 'finding')}: {', '.join(label.name for label in info.labels)}.\n\n{table(rows)}"
    return text + (f"\n\nand {more} rarer sets of findings, of {total} films in all" if more > 0 else "")


def _exports(info: Info) -> str:
    """The forms for other runtimes, and how far each is from torch."""
    lines = []
    for name, form in info.exports.items():
        ranges = f", ranges from {form.calibrated_on} films" if form.calibrated_on else ""
        tried = f"{form.tried_on} films" if form.tried_on else "noise"
        made = ", ".join(f"{package} {number}" for package, number in form.made_with.items())
        lines.append(
            f"`{name}`: ONNX opset {form.opset}{ranges}; probabilities differ from torch by at most {form.drift:.2g} on"
            f" {tried}; made with {made}"
        )
    return _bullets(lines)


def _tuned(info: Info) -> str:
    """What runs it on each machine that it was tuned for, and what was measured there."""
    parts = []
    for name, found in info.tuned.items():
        text = (
            f"On {name}: `{found.chosen}`, by {_counted(found.films, 'film')}; no number of a report may change by more than"
            f" {found.tolerance:g}."
        )
        rows = [{"runtime": runtime, **ran_row(ran)} for runtime, ran in found.runtimes.items()]
        parts.append(f"{text}\n\n{table(rows)}")
    return "\n\n".join(parts)


def ran_row(ran: Ran) -> dict[str, Any]:
    """What a runtime did, as a row of a table."""
    return {
        "ms a film": None if ran.milliseconds is None else round(ran.milliseconds, 1),
        "largest change": ran.change,
        "AUC": ran.auc,
        "Dice": ran.dice,
        "calibration error": ran.calibration_error,
        "refused": ran.refused,
    }


def measured(result: Mapping[str, Any]) -> str:
    """`note`, `facts` (a mapping), and any number of tables (lists of rows) under their own names."""
    parts = [str(result["note"])] if result.get("note") else []
    facts = result.get("facts", {})
    parts.append(_bullets(f"{name}: {_cell(value)}" for name, value in facts.items()))
    for name, rows in result.get("tables", {}).items():
        parts.append(f"### {name}\n\n{table(rows)}" if rows else "")
    return "\n\n".join(p for p in parts if p)
