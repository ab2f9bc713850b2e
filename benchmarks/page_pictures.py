"""What the pictures of a page cost: heat over a film by a table or by arithmetic, and PNG at each level of compression.

    python -m benchmarks.page_pictures [FILM ...] [--rounds 5]

FILM: DICOM, PNG, JPEG or TIFF; RG1, the film that pydicom-data carries, by itself. Each film's overlay, as analysis draws
it, is packed as PNG: milliseconds, medians of rounds taken in turn, and kB, both the mean over films. One thread.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch
from benchmarks.figures import Figure, tell
from pydicom.data import get_testdata_file
from rich.console import Console
from rich.table import Table

from hilum import Analyzer
from hilum.analysis.render import pictures
from hilum.analysis.render.overlay import OPACITY, heated, overlay
from hilum.bundles.speed import latencies

LEVELS = (1, 2, 3, 6)


def by_arithmetic(grey: pictures.Grey, heat: np.ndarray) -> np.ndarray:
    """What `heated` says, pixel by pixel."""
    layer = pictures.heat_layer(heat, max(heat.shape))
    alpha = layer[..., 3:].astype(np.float32) * (OPACITY / 255)
    return np.rint(grey[..., None] * (1 - alpha) + layer[..., :3] * alpha).astype(np.uint8)


def packed(picture: np.ndarray, level: int) -> Callable[[], np.ndarray]:
    return lambda: cv2.imencode(".png", picture, [cv2.IMWRITE_PNG_COMPRESSION, level])[1]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("films", nargs="*", type=Path, metavar="FILM")
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    analyzer = Analyzer()
    films = given.films or [Path(str(get_testdata_file("RG1_UNCR.dcm")))]
    drawn = [overlay(analyzer.analyze(film)) for film in films]
    table = Table("PNG level", "ms", "kB", box=None, pad_edge=False)
    taken = [latencies({str(n): packed(picture, n) for n in LEVELS}, given.rounds) for picture in drawn]
    for level in LEVELS:
        size = np.mean([len(packed(picture, level)()) for picture in drawn]) / 1000
        milliseconds = np.mean([each[str(level)] for each in taken])
        table.add_row(str(level), f"{milliseconds:.0f}", f"{size:.0f}")
    Console().print(f"overlays of {len(films)} films", table)
    chance = np.random.default_rng(0)
    grey, heat = chance.integers(0, 256, (1600, 1400), np.uint8), chance.random((1600, 1400), np.float32)
    assert np.abs(heated(grey, heat).astype(int) - by_arithmetic(grey, heat)).max() <= 1
    work = {"table": lambda: heated(grey, heat), "arithmetic": lambda: by_arithmetic(grey, heat)}
    blends = latencies(work, given.rounds)
    tell(Figure("heat over a film by table", "arithmetic", blends["arithmetic"] / blends["table"]))


if __name__ == "__main__":
    main()
