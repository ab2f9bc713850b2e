"""Four numbers of a film's grey values, by which a drift of what comes in is seen."""

from __future__ import annotations

from hilum.images.radiograph import Radiograph


def grey_facts(film: Radiograph) -> dict[str, float]:
    """`mean` and `std` of the values in [0, 1], and the shares that are nearly `black` (< 0.02) and `white` (> 0.98)."""
    pixels = film.pixels[::4, ::4]  # a sixteenth says as much
    return {
        "mean": float(pixels.mean()),
        "std": float(pixels.std()),
        "black": float((pixels < 0.02).mean()),
        "white": float((pixels > 0.98).mean()),
    }
