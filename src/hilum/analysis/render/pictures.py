"""What of a report is a picture, as arrays and encoded bytes: masks, heatmaps, outlines, the film itself."""

from __future__ import annotations

import base64
import zlib
from dataclasses import dataclass
from functools import cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from hilum.analysis.heatmaps import heatmap_on_film
from hilum.analysis.render.words import standing
from hilum.analysis.report import NOTHING_FOUND, FindingResult, Report

Grey = NDArray[np.uint8]

DISPLAY_SIDE = 1600  # pixels of the page's film and of the overlay: more than a reading column shows
HEAT_SIDE = 224  # class activation maps are 7 to 32 cells a side, so more holds nothing more
PNG_LEVEL = 1  # higher ones take much longer for little (benchmarks/page_pictures.py)
CLEAR, SOLID = 0.2, 0.65  # heat below the first is not drawn, above the second it hides most of the film


def shown(report: Report) -> list[FindingResult]:
    """The findings whose heat speaks for the film: the positive ones, most above their threshold first; where
    there is none, the one that comes nearest to its own. An empty heatmap speaks for nothing."""
    mapped = [
        f for f in report.findings if f.heatmap is not None and not f.empty and f.name not in NOTHING_FOUND
    ]
    ranked = sorted(mapped, key=standing, reverse=True)
    return [f for f in ranked if f.positive] or ranked[:1]


def fitted(image: NDArray[Any], side: int) -> NDArray[Any]:
    """The image with its long side at most `side` pixels, averaged over area; never enlarged."""
    height, width = image.shape[:2]
    scale = side / max(height, width)
    if scale >= 1:
        return image
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA)


def to_grey(values: NDArray[Any]) -> Grey:
    """Values in [0, 1] as uint8, 0 to 255; what is not a number is 0."""
    return np.rint(np.fmin(np.fmax(values, 0), 1) * 255).astype(np.uint8)


def mask_png(mask: NDArray[np.uint8]) -> bytes:
    """A mask as 8-bit greyscale PNG, 0 and 255, on its own grid."""
    return png(np.where(mask > 0, 255, 0).astype(np.uint8))


def heat_png(heat: NDArray[np.float32], size: tuple[int, int]) -> bytes:
    """A heatmap as 8-bit greyscale PNG on the film's grid, `size` (height, width), for machines to read: value / 255
    is the map's own value."""
    return png(to_grey(heatmap_on_film(heat, size)))


def heat_layer(heat: NDArray[np.float32], side: int = HEAT_SIDE) -> NDArray[np.uint8]:
    """A heatmap as RGBA (h, w, 4), coloured by `inferno` (perceptually even, readable without red-green vision)
    and clear where it is low."""
    return np.take(level_colours(), to_grey(fitted(heat, side)), axis=0)


@cache
def level_colours() -> NDArray[np.uint8]:
    """The colour of each of the 256 levels of heat, RGBA (256, 4)."""
    level = np.arange(256)
    bgr = cv2.applyColorMap(level.astype(np.uint8)[:, None], cv2.COLORMAP_INFERNO)[:, 0]
    alpha = (level / 255 - CLEAR) / (SOLID - CLEAR)
    return np.column_stack([bgr[:, ::-1], to_grey(alpha)])


def colour_scale(steps: int = 128) -> NDArray[Any]:
    """The colours of `heat_layer` from low to high, RGB (1, steps, 3)."""
    return level_colours()[None, np.linspace(0, 255, steps).astype(np.uint8), :3]


def contours(mask: NDArray[Any], tolerance: float = 1.0) -> list[NDArray[Any]]:
    """Closed outlines (n, 2) as x, y in pixels, simplified within `tolerance` pixels; no specks under 0.05 %."""
    found, _ = cv2.findContours((mask > 0).astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    large = [c for c in found if cv2.contourArea(c) >= 5e-4 * mask.size]
    return [cv2.approxPolyDP(c, tolerance, True)[:, 0] for c in large]


def svg_path(mask: NDArray[np.uint8]) -> str:
    """The outlines of a mask as the `d` of an SVG path, in the mask's pixels."""
    tolerance = max(1.0, max(mask.shape) / 1000)
    return " ".join("M" + "L".join(f"{x} {y}" for x, y in c) + "Z" for c in contours(mask, tolerance))


def png(image: NDArray[Any]) -> bytes:
    """Greyscale, RGB or RGBA as PNG."""
    if image.ndim == 3:
        image = cv2.cvtColor(image, cv2.COLOR_RGB2BGR if image.shape[2] == 3 else cv2.COLOR_RGBA2BGRA)
    return _encode(".png", image, [cv2.IMWRITE_PNG_COMPRESSION, PNG_LEVEL])


def jpeg(image: NDArray[Any]) -> bytes:
    """RGB as JPEG, for the picture that stands in where no script runs."""
    return _encode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 86])


def _encode(kind: str, image: NDArray[Any], options: list[int]) -> bytes:
    done, data = cv2.imencode(kind, np.ascontiguousarray(image), options)
    if not done:
        raise ValueError(f"cannot encode a picture of shape {image.shape} as {kind}")
    return data.tobytes()


def data_uri(content: bytes, kind: str) -> str:
    """Bytes as a `data:` address of the media type `kind`."""
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"


@dataclass(frozen=True)
class PackedFilm:
    """A film for the page's viewer: `depth` bits a pixel, packed by `pack`, base64."""

    width: int
    height: int
    depth: int
    data: str


def pack_film(film: NDArray[np.float32], bits: int | None, side: int = DISPLAY_SIDE) -> PackedFilm:
    """The film's true greyscale for window and level in a browser: 12 bits a pixel, or 8 where the file has no more.

    Not a PNG: browsers decode those to 8 bits, and some alter what a script reads back from a canvas. Each pixel
    is foretold by the mean of its upper and left neighbours (rounded down), the rest folded to non-negative, low
    bytes then high bytes, deflated. A 1,600 px film takes about 2 MB; nothing is lost at the depth given.
    """
    depth = 8 if bits is not None and bits <= 8 else 12
    small = np.clip(np.nan_to_num(fitted(film, side)), 0, 1)
    values = np.rint(small * (2**depth - 1)).astype(np.int32)
    foretold = np.zeros_like(values)
    foretold[1:, 0] = values[:-1, 0]
    foretold[0, 1:] = values[0, :-1]
    foretold[1:, 1:] = (values[1:, :-1] + values[:-1, 1:]) >> 1
    rest = values - foretold
    folded = (rest << 1) ^ (rest >> 31)
    planes = (folded & 255).astype(np.uint8).tobytes() + (folded >> 8).astype(np.uint8).tobytes()
    # Runs and Huffman codes alone: the rest is noise, where a search for repeats takes twice as long and finds none.
    packer = zlib.compressobj(6, zlib.DEFLATED, zlib.MAX_WBITS, 9, zlib.Z_RLE)
    data = packer.compress(planes) + packer.flush()
    return PackedFilm(values.shape[1], values.shape[0], depth, base64.b64encode(data).decode("ascii"))
