"""Memory stays flat: nothing of a film outlives its report. `benchmarks/thousand_films.py` does it over 1,000 films."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from hilum.analysis.analyzer import Analyzer
from hilum.analysis.render import write_report
from hilum.images.radiograph import Radiograph
from tests.bundles_for_tests import classifier_bundle, dark_lungs_bundle
from tests.phantom import phantom


def resident() -> float:
    """This process's resident memory, MiB."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 2**20


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_sixty_films_leave_nothing_behind(tmp_path):
    """A film takes 2 MiB and its report 5: were one array of each film kept, forty films would add 80 MiB."""
    analyzer = Analyzer([classifier_bundle(), dark_lungs_bundle()], samples=5)
    base = phantom(0, 800, 700).pixels
    sizes = []
    for i in range(60):
        pixels = np.ascontiguousarray(base[: 760 + i % 7, : 660 + i % 5])
        write_report(analyzer.analyze(Radiograph(pixels)), tmp_path, "film")
        sizes.append(resident())
    assert np.median(sizes[-5:]) - np.median(sizes[18:23]) < 30
