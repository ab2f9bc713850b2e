"""Memory over many films: the resident size of an analysing process early and late.

    python -m benchmarks.flat_memory [--films N] [--bundle NAME_OR_PATH ...]

Analyses N phantoms (1,000 by default) of changing size with the built-in bundles (or stand-ins) and writes their
reports. Prints the resident MiB every tenth of the way, and the growth over the last nine tenths.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
import torch
from benchmarks.full_analysis import stand_ins
from tests.phantom import phantom

from hilum.analysis.analyzer import Analyzer
from hilum.analysis.render import write_report
from hilum.bundles import builtin_names
from hilum.images.radiograph import Radiograph


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--films", type=int, default=1000)
    parser.add_argument("--bundle", action="append")
    options = parser.parse_args()
    torch.set_num_threads(1)
    sizes = over_films(Analyzer(options.bundle or (None if builtin_names() else stand_ins())), options.films)
    for i in range(0, options.films, max(1, options.films // 10)):
        print(f"film {i + 1:5}: {sizes[i]:7.1f} MiB")
    start = sizes[len(sizes) // 10]
    print(f"last film: {sizes[-1]:7.1f} MiB; growth over the last nine tenths {sizes[-1] - start:+.1f} MiB")


def over_films(analyzer: Analyzer, films: int) -> list[float]:
    """Resident MiB after each of `films` films."""
    base = phantom(0, 1024, 896).pixels
    rng = np.random.default_rng(0)
    sizes = []
    with tempfile.TemporaryDirectory() as out:
        for _ in range(films):
            height, width = rng.integers(600, 1024), rng.integers(600, 896)
            film = Radiograph(np.ascontiguousarray(base[:height, :width]), path=Path("film.png"))
            write_report(analyzer.analyze(film), Path(out), "film")
            sizes.append(resident())
    return sizes


def resident() -> float:
    """This process's resident memory, MiB (Linux)."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / 2**20


if __name__ == "__main__":
    main()
