"""Numbers and facts of a report in words: one wording for the page, the overlay and the index."""

from __future__ import annotations

import math

from hilum.analysis.report import FindingResult, Report

METHODS = {
    "none": "no uncertainty estimate",
    "mc_dropout": "MC dropout",
    "ensemble": "ensemble",
    "mc_dropout+ensemble": "MC dropout and ensemble",
}
VIEWS = {"PA": "PA view", "AP": "AP view", "LATERAL": "lateral view", "OTHER": "other view"}
SEXES = {"F": "female", "M": "male"}
CAVEAT = "A heatmap shows what the model used, not where disease is."


def percent(value: float | None) -> str:
    """A share as a percentage without its sign: `71`, `3.4` under ten, `<0.1`, `>99.9`; `–` where there is no number."""
    if value is None or not math.isfinite(value):
        return "–"
    if value < 0.001:
        return "<0.1" if value > 0 else "0"
    if value > 0.999:
        return ">99.9" if value < 1 else "100"
    return f"{value * 100:.1f}" if value < 0.0995 or value > 0.9905 else f"{value * 100:.0f}"


def interval(bounds: tuple[float, float] | None) -> str:
    """`62–79`; empty where there is none."""
    return f"{percent(bounds[0])}–{percent(bounds[1])}" if bounds else ""


def verdict(finding: FindingResult) -> str:
    """What the probability means beside its threshold or within its group."""
    if finding.threshold is None:
        return "most probable" if finding.positive else "less probable"
    return "above" if finding.positive else "below"


def method(finding: FindingResult) -> str:
    """How sure the model is of itself, and by which method that was estimated."""
    name = METHODS.get(finding.method, finding.method)
    return name if finding.std is None else f"SD {percent(finding.std)}, {name}"


def lung_share(finding: FindingResult) -> str:
    """Where the heat lies, with what that means for this finding; empty where it was not measured."""
    share = finding.lung_share
    if share is None or not math.isfinite(share):
        return ""
    text = f"{share * 100:.0f} % of the heat in the lungs"
    return f"{text} (lies partly outside them by nature)" if finding.outside_lungs else text


def strays(finding: FindingResult) -> bool:
    """Does most of the heat lie outside the lungs, though the finding should not?"""
    return finding.lung_share is not None and finding.lung_share < 0.5 and not finding.outside_lungs


def summary(report: Report) -> str:
    """One sentence over the findings that have thresholds."""
    judged = [f for f in report.findings if f.threshold is not None]
    above = sorted((f for f in judged if f.positive), key=lambda f: -f.probability)
    if not judged:
        return ""
    if not above:
        return f"None of {len(judged)} findings above its threshold. This does not exclude disease."
    names = list(dict.fromkeys(f.name for f in above))
    return f"{len(above)} of {len(judged)} findings above threshold: {', '.join(names)}."


def age(years: float | None) -> str | None:
    """`54 years`, `7 months` under two years, None where unknown."""
    if years is None:
        return None
    return f"{years:.0f} years" if years >= 2 else f"{years * 12:.0f} months"
