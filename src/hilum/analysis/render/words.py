"""Numbers and facts of a report in words: one wording for the page, the overlay and the index."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np

from hilum.analysis.report import DetectionResult, FindingResult, LungsResult, NormalResult, Report

METHODS = {
    "mc_dropout": "MC dropout",
    "ensemble": "ensemble",
    "mc_dropout+ensemble": "MC dropout and ensemble",
}
HEATMAPS = {
    "cam": "class activation mapping",
    "cam_above_threshold": "class activation mapping above the threshold",
    "grad_cam_plus_plus": "Grad-CAM++",
    "score_cam": "Score-CAM",
    "attention": "gradient-weighted attention",
    "attention_rollout": "attention rollout, one map for all findings",
}
VIEWS = {"PA": "PA view", "AP": "AP view", "LATERAL": "lateral view", "OTHER": "other view"}
SEXES = {"F": "female", "M": "male"}
CAVEAT = "A heatmap shows what the model used, not where disease is."


def percent(value: float | None) -> str:
    """A share as a percentage without its sign: `71`, `3.4` under ten, `<0.1`, `>99.9`; `–` for no number."""
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


def lung_share(finding: FindingResult) -> str:
    """Where the heat lies, with what that means for this finding; empty where it was not measured."""
    if finding.empty:
        return "heatmap empty"
    share = finding.lung_share
    if share is None or not math.isfinite(share):
        return ""
    text = f"{share * 100:.0f} % of heat in lungs"
    if finding.outside_lungs:
        return f"{text}, may lie outside"
    return f"only {text}" if finding.strays else text


def called(report: Report) -> list[str]:
    """How many boxes there are, and of what; empty where nothing detects."""
    if report.detection is None:
        return []
    if not report.boxes:
        return ["No box reaches its threshold."]
    names = Counter(box.name for box in report.boxes)
    told = ", ".join(name if count == 1 else f"{count} {name}" for name, count in names.most_common())
    return [f"{len(report.boxes)} box{'es' * (len(report.boxes) > 1)}: {told}."]


def boxes(found: DetectionResult) -> list[str]:
    """How the boxes were made, and what a filter says of the film, a sentence each."""
    told = []
    if found.method is not None:
        mirrored = " and mirrored" if any(flipped for _, flipped in found.views) else ""
        views = f", each on {len(found.views)} scales{mirrored}" if len(found.views) > 1 else ""
        # The Gaussian kind lowers scores by every overlap.
        where = (
            "" if found.method == "soft-nms" else f" where they overlap by more than {found.iou_threshold:g}"
        )
        told.append(f"Boxes of {', '.join(found.bundles)}{views}, fused by {found.method}{where}.")
    if found.normal is not None:
        normal = found.normal
        by = ", ".join(normal.by)
        told.append(
            f"Normal with {percent(normal.probability)} %, says the filter ({by}): {_effect(normal)}."
        )
    return told


def _effect(normal: NormalResult) -> str:
    if normal.how == "soft":
        return f"scores of boxes are multiplied by {1 - normal.probability:.2g}"
    limit = f"{percent(normal.threshold)} %"
    return f"at {limit} or more all boxes are dropped" if normal.dropped else f"below {limit} boxes stay"


def lungs(found: LungsResult) -> str:
    """Which lungs were found and what they take of the film."""
    right, left = (100 * np.count_nonzero(side) / side.size for side in (found.right, found.left))
    by = f"outlined by the bundle '{found.bundle}'"
    if right and left:
        return f"Of the film the right lung takes {right:.0f} % and the left {left:.0f} %, {by}."
    if not (right or left):
        return f"No lung was found, {by}: there are no shares of heat."
    side, other, share = ("right", "left", right) if right else ("left", "right", left)
    return f"Only the {side} lung was found ({by}); it takes {share:.0f} % of the film, the {other} none."


def standing(finding: FindingResult) -> float:
    """How the probability stands to its threshold, for sorting: their ratio; within a group the probability."""
    return finding.probability / max(finding.threshold if finding.threshold is not None else 1.0, 1e-6)


def counts(report: Report) -> list[str]:
    """How many of the findings that have thresholds are above them; empty where none has one."""
    judged = [f for f in report.findings if f.group is None]
    above = sum(f.positive for f in judged)
    if not judged:
        return []
    if not above:
        return [f"None of {len(judged)} findings above its threshold"]
    return [f"{above} of {len(judged)} findings above threshold"]


def summary(report: Report) -> list[str]:
    """A sentence over the findings that have thresholds, and one a group."""
    above = [f for f in report.findings if f.positive and f.group is None]
    names = ", ".join(dict.fromkeys(f.name for f in sorted(above, key=standing, reverse=True)))
    ending = f": {names}." if above else ". This does not exclude disease."
    classes = [f for f in report.findings if f.positive and f.group is not None]
    return [count + ending for count in counts(report)] + [
        f"{(f.group or '').capitalize()}: most probably {f.name}, {percent(f.probability)} %."
        for f in classes
    ]


def age(years: float | None) -> str | None:
    """`54 years`, `7 months` under two years, None where unknown."""
    if years is None:
        return None
    return f"{years:.0f} years" if years >= 2 else f"{years * 12:.0f} months"
