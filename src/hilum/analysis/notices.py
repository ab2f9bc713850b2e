"""What a report warns of beside the film itself: films unlike a bundle's own, bundles left out, heat that strays."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from hilum.analysis.report import FindingResult
from hilum.bundles.info import Info
from hilum.images.crop import Window
from hilum.images.radiograph import Notice, Radiograph

SMALL = 2 / 3
"""A film with fewer pixels a side than this share of what a bundle was trained on is called small."""


def skipped(info: Info) -> Notice:
    """That a bundle for some ages did not run on a film whose age is unknown."""
    return Notice(
        "bundle_skipped",
        f"The bundle '{info.name}' ({info.title}) is for ages {_ages(info)} and did not run: the film's age is unknown. It"
        " runs when asked for by name.",
    )


def mismatches(info: Info, film: Radiograph, window: Window | None = None) -> Iterable[Notice]:
    """What about this film is unlike the films that the bundle was made for; `window`: the part of it that it sees."""
    ages = info.applies.ages
    if ages is not None and not (film.age is not None and ages[0] <= film.age <= ages[1]):
        known = "unknown" if film.age is None else f"{film.age:g}"
        yield Notice(
            "age_outside_bundle",
            f"The bundle '{info.name}' is for ages {_ages(info)}; this person's age is {known}.",
        )
    height, width = info.preparation.size
    down, across = film.size if window is None else (window.height, window.width)
    if min(down / height, across / width) < SMALL:
        where = " around the lungs" if window is not None and (down, across) != window.film else ""
        yield Notice(
            "small_film",
            f"The film has {across} x {down} pixels{where}; the bundle '{info.name}' was trained on {width} x {height}."
            " Fine detail is missing.",
        )
    if info.task in ("multilabel", "detect") and any(label.threshold is None for label in info.labels):
        yield Notice(
            "no_threshold",
            f"The bundle '{info.name}' lacks thresholds for some findings: none is called positive.",
        )


def unfocused(info: Info, window: Window | None) -> Iterable[Notice]:
    """That a bundle which sees films around their lungs saw this one whole."""
    if window is None or window.found:
        return
    if info.preparation.focus is None:
        yield Notice(
            "masking_without_lungs",
            f"No lungs were found; the bundle '{info.name}', which was trained on films that are hidden far from them, saw"
            " the whole film.",
        )
    else:
        yield Notice(
            "focus_without_lungs",
            f"No lungs were found to look at; the bundle '{info.name}', which was trained on the square around them, saw the"
            " whole film.",
        )


def straying(findings: Sequence[FindingResult]) -> Iterable[Notice]:
    """That heat of positive findings of one bundle lies outside the lungs, where they cannot be."""
    strays = [f for f in findings if f.strays]
    if strays:
        shares = ", ".join(f"{f.name} {100 * (f.lung_share or 0):.0f} %" for f in strays)
        yield Notice(
            "heat_outside_lungs",
            f"Only a small part of the heatmap lies inside the lungs ({shares}; bundle '{strays[0].bundle}'): what the model"
            " saw may lie outside them.",
        )


def _ages(info: Info) -> str:
    low, high = info.applies.ages or (0.0, float("inf"))
    return f"{low:g} to {high:g}"
