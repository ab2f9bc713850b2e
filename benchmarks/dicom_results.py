"""Time to make and write the four DICOM results of a film of 2,048 pixels, and their sizes.

    python -m benchmarks.dicom_results

The film is drawn, its report is made by hand (two findings with heatmaps, both lungs, two boxes): what is timed is reading
the header again, making the datasets, drawing the picture, and writing. Processor time of one thread, the best of a few.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
from tests.images.films import film, save
from tests.phantom import phantom

from hilum.analysis.report import BoxResult, BundleUsed, FindingResult, LungsResult, Report
from hilum.clinic.results import results_of, write_results
from hilum.clinic.results.source import read_source
from hilum.clinic.results.write import as_bytes
from hilum.images.read import read

SIDE, ROUNDS = 2048, 3


def report_on(path: Path) -> Report:
    """A report with one of everything that is written."""
    seen = read(path)
    lungs = cv2.resize(phantom(0, 512, 512).lungs, (SIDE, SIDE), interpolation=cv2.INTER_NEAREST)
    left, right = (lungs == 2).astype(np.uint8), (lungs == 1).astype(np.uint8)
    heat = np.random.default_rng(0).random((384, 384)).astype(np.float32)
    findings = tuple(
        FindingResult(name, None, "toy", None, 0.7, 0.1, (0.5, 0.8), "mc_dropout", 0.5, True, heatmap=heat)
        for name in ("Mass", "Nodule")
    )
    boxes = tuple(BoxResult("Mass", 0.8, (x, 300.0, x + 200, 600.0), "toy") for x in (400.0, 1200.0))
    used = BundleUsed("toy", "1", "0" * 64, "Toy", (), "Apache-2.0")
    both = LungsResult(left | right, left, right, 0.2, "toy")
    return Report(seen, True, None, (), (used,), findings, both, boxes)


def main() -> None:
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        grey = cv2.resize(phantom(0, 512, 512).pixels, (SIDE, SIDE))
        path = save(film(np.rint(grey * 4095).astype(np.int64)), folder / "film.dcm")
        report = report_on(path)
        results_of(report, read_source(path))  # imports
        spent = []
        for _ in range(ROUNDS):
            start = time.process_time()
            write_results(report, folder, "film")
            spent.append(time.process_time() - start)
        sizes = {kind: len(as_bytes(made)) for kind, made in results_of(report, read_source(path)).items()}
    print(f"{SIDE} x {SIDE} pixels, all four: {min(spent):.2f} s of processor time")
    for kind, size in sizes.items():
        print(f"{kind:5s} {size / 1e6:8.3f} MB")


if __name__ == "__main__":
    main()
