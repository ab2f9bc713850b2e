"""The quality gate: is this an analysable frontal chest film?

The header is asked first, then simple measures of the pixels, then a learnt look at a thumbnail
(`frontal.py`), and, once lungs are segmented, whether a whole pair of lungs lies in the picture
(`lung_field.py`). The first of them that objects gives the reason; near misses become notices.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from hilum.images import frontal
from hilum.images.body_part import is_chest
from hilum.images.lung_field import LungField, measure
from hilum.images.radiograph import Notice, Radiograph

# DICOM PS3.3 C.7.3.1.1.1: projection radiographs, and what films are exported and captured as.
PROJECTION_MODALITIES = frozenset({"CR", "DX", "DR", "RG", "XR", "OT", "SC"})

SMALLEST_SIDE = 100  # pixels
LONGEST_SHAPE = 2.5  # longer side over shorter; the longest of 9,000 real frontal films has 2.2
COLOURFUL, TINTED = 0.08, 0.01  # mean absolute difference of the channels; arrows stay far below
FLAT_RANGE, LOW_RANGE = 0.004, 0.12  # from the 0.5th to the 99.5th percentile; 12 bits stored in 16 have 0.06
FEWEST_LEVELS = 16

# Read off human masks (1,985 films of V7 and Shenzhen): area 0.08 to 0.71, smaller component over larger
# rarely under 0.3, centroid within 0.28 to 0.69; an edge is covered by more than 0.10 where lungs are
# visibly cut.
NO_LUNGS, SMALL_LUNGS, UNEVEN_LUNGS = 0.03, 0.08, 0.25
CENTRAL = (0.27, 0.73)
CUT, HALF_CUT = 0.10, 0.55

_LOOKS = {
    "lateral": "The picture looks like a lateral view; only frontal (PA or AP) chest films are read.",
    "turned": "The picture looks like a chest film lying on its side or upside down; turn it upright.",
    "inverted": "The film looks inverted, with bone dark and air bright; invert its grey scale.",
    "partial": "The picture looks like a part of a chest, or another part of the body; both lungs must be in it.",
    "other": "The picture does not look like a frontal chest film.",
}


@dataclass(frozen=True)
class Quality:
    """The gate's answer.

    Attributes
    ----------
    analysable: whether a model's scores on this film mean anything.
    reason: why not, in words for a radiographer; None where it is analysable.
    notices: near misses met by the gate (those met while reading stay with the film).
    checks: what was measured, by name; shares and probabilities in [0, 1], sizes in pixels.
    """

    analysable: bool
    reason: str | None
    notices: tuple[Notice, ...]
    checks: dict[str, float | str]


@dataclass(frozen=True)
class _Opinion:
    """What one part of the gate says."""

    refusal: str | None
    notices: tuple[Notice, ...]
    checks: dict[str, float | str]


def assess(
    film: Radiograph, lungs: NDArray[np.uint8] | None = None, before: Quality | None = None
) -> Quality:
    """Whether `film` is an analysable frontal chest film, and why not.

    `lungs`: a mask at any resolution that covers the whole film, 0 none; 1 and 2 the two lungs, or any
    value for lung. Without it the lungs are not judged. `before`: what was said of the film without its lungs, where it
    was asked; it is not looked at again then. Deterministic; the same film gets the same answer
    on every machine up to rounding of the probabilities.
    """
    if before is not None:
        opinions = [_Opinion(before.reason, before.notices, before.checks)]
    else:
        opinions = [_header(film), _plain(film)]
        if opinions[-1].refusal is None:  # a flat or tiny picture has nothing to look at
            opinions.append(_look(film))
    if lungs is not None:
        doubtful = any(notice.code == "doubtful_view" for notice in opinions[-1].notices)
        opinions.append(_lungs(measure(lungs), doubtful))
    reason = next((o.refusal for o in opinions if o.refusal is not None), None)
    checks: dict[str, float | str] = {}
    for opinion in opinions:
        checks |= opinion.checks
    return Quality(reason is None, reason, tuple(n for o in opinions for n in o.notices), checks)


def _header(film: Radiograph) -> _Opinion:
    """Modality, body part, view and presentation intent, where the file states them."""
    modality = film.headers.get("Modality", "").strip().upper()
    chest = is_chest(film.body_part)
    stated = {"modality": modality, "body_part": film.body_part, "view": film.view}
    checks: dict[str, float | str] = {key: text for key, text in stated.items() if text}
    refusal, notices = None, []
    if modality and modality not in PROJECTION_MODALITIES:
        refusal = f"The header says modality {modality}; only projection radiographs (CR, DX) are read."
    elif chest is False:
        refusal = f"The header says the body part is {film.body_part}, not the chest."
    elif film.view == "LATERAL":
        refusal = "The header says the view is lateral; only frontal (PA or AP) chest films are read."
    elif any(notice.code == "for_processing" for notice in film.notices):
        refusal = "The header says FOR PROCESSING: raw detector values. Send the film FOR PRESENTATION."
    if film.body_part and chest is None:
        text = f"The header's body part {film.body_part} says nothing of the chest; the pixels decided."
        notices.append(Notice("unknown_body_part", text))
    if film.view == "OTHER":
        notices.append(
            Notice("unknown_view", "The header names a view other than PA and AP; the pixels decided.")
        )
    return _Opinion(refusal, tuple(notices), checks)


def _plain(film: Radiograph) -> _Opinion:
    """Size, shape, colour, range and number of grey levels."""
    shape = max(film.size) / max(1, min(film.size))
    sample = _sample(film.pixels)
    finite = bool(np.isfinite(sample).all())
    low, high = np.percentile(sample, [0.5, 99.5]) if finite else (0.0, 0.0)
    levels = len(np.unique(sample))
    checks: dict[str, float | str] = {
        "shortest_side_pixels": float(min(film.size)),
        "shape": round(shape, 3),
        "colour": round(film.colour, 4),
        "grey_range": round(float(high - low), 4),
    }
    refusal, notices = None, []
    if min(film.size) < SMALLEST_SIDE:
        refusal = (
            f"The picture has {film.size[0]} x {film.size[1]} pixels; {SMALLEST_SIDE} a side are needed."
        )
    elif not finite:
        refusal = "The picture holds values that are not numbers."
    elif high - low < FLAT_RANGE:
        refusal = "The picture is blank: nearly all pixels have the same value."
    elif levels < FEWEST_LEVELS:
        refusal = f"The picture has only {levels} grey levels: a mask or a drawing, not a film."
    elif film.colour >= COLOURFUL:
        refusal = "The picture is in colour: a photograph or a drawing, not a radiograph."
    elif shape > LONGEST_SHAPE:
        refusal = f"The picture is {shape:.1f} times as long as wide; no chest film is."
    elif high - low < LOW_RANGE:
        notices.append(Notice("low_contrast", f"The film uses {high - low:.1%} of the grey scale."))
    if refusal is None and film.colour >= TINTED:
        notices.append(Notice("tinted", "The file is in colour; it was read in grey."))
    return _Opinion(refusal, tuple(notices), checks)


def _look(film: Radiograph) -> _Opinion:
    """The learnt check on a thumbnail."""
    looks = frontal.looks_like(film.pixels)
    thresholds = frontal.provenance()["thresholds"]
    probability = looks["frontal"]
    checks: dict[str, float | str] = {f"looks_{kind}": round(p, 4) for kind, p in looks.items()}
    likeliest = max(_LOOKS, key=lambda kind: looks[kind])
    if not probability >= thresholds["refuse"]:  # a probability that is no number refuses too
        return _Opinion(_LOOKS[likeliest], (), checks)
    if probability < thresholds["warn"]:
        text = f"It is doubtful whether this is an upright frontal chest film. {_LOOKS[likeliest]}"
        return _Opinion(None, (Notice("doubtful_view", text),), checks)
    return _Opinion(None, (), checks)


def _lungs(field: LungField, doubtful: bool) -> _Opinion:
    """Whether a whole pair of lungs lies in the picture. One lung alone refuses nothing: it may be ill."""
    checks: dict[str, float | str] = {
        "lung_area": round(field.area, 4),
        "lung_balance": round(field.balance, 4),
    }
    checks |= {f"lungs_cut_{edge}": round(share, 4) for edge, share in field.cut.items()}
    notices = []
    if field.area < SMALL_LUNGS:
        notices.append(Notice("small_lungs", f"The lungs found cover {field.area:.0%} of the picture."))
    if field.balance < UNEVEN_LUNGS:
        notices.append(
            Notice("uneven_lungs", "One lung was found much smaller than the other, or not at all.")
        )
    if not all(CENTRAL[0] <= place <= CENTRAL[1] for place in field.centre):
        notices.append(Notice("lungs_off_centre", "The lungs lie far from the middle of the picture."))
    implausible = bool(notices)
    cut = [edge for edge, share in field.cut.items() if share >= CUT]
    if cut:
        notices.append(Notice("lungs_cut", f"The lungs are cut off at the picture's {' and '.join(cut)}."))
    refusal = None
    if field.area < NO_LUNGS:
        refusal = "No lungs were found in the picture."
    elif max(field.cut.values()) >= HALF_CUT:
        refusal = (
            f"The lungs are cut off at the picture's {' and '.join(cut)}; both lungs must be in it whole."
        )
    elif doubtful and implausible:
        refusal = (
            "The picture is a doubtful frontal chest film, and no plausible pair of lungs was found in it."
        )
    return _Opinion(refusal, tuple(notices), checks)


def _sample(pixels: NDArray[np.float32]) -> NDArray[np.float32]:
    """At most 256 x 256 pixels, picked without mixing them, so that grey levels can be counted."""
    size = (min(256, pixels.shape[1]), min(256, pixels.shape[0]))
    return cv2.resize(pixels, size, interpolation=cv2.INTER_NEAREST).astype(np.float32)
