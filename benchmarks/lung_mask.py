"""The lung mask of one film by the built-in lungs, in torch and in its exported forms.

    python -m benchmarks.lung_mask [FILM] [--bundle lungs] [--cores 2] [--rounds N]

FILM: any film; without it RG1, the chest film of pydicom-data (1955 x 1841 pixels). The bundle is exported into a
temporary folder, the process held to so many cores, and rounds are taken in turn. Two figures a runtime, wall time,
median: the network alone on the prepared film, and all of it, from the film in memory to left and right lung at the
film's own pixels (resize, network, cleaning, sides). The masks of every form are held to torch's before anything is
timed; the goal for all of it, in an exported form, is 100 ms.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from benchmarks.figures import Figure, tell
from pydicom.data import get_testdata_file

from hilum.analysis.analyzer import prepared, segment_lungs
from hilum.bundles import Bundle, load
from hilum.bundles.export import export
from hilum.bundles.speed import latencies
from hilum.evaluation.overlap import dice
from hilum.images.read import read

SAME = 0.999  # Dice of a form's mask with torch's


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("film", nargs="?", type=Path)
    parser.add_argument("--bundle", default="lungs")
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, set(sorted(os.sched_getaffinity(0))[: options.cores]))
    torch.set_num_threads(options.cores)
    path = options.film or Path(get_testdata_file("RG1_UNCR.dcm"))
    film = read(path)
    network: dict[str, Callable[[], object]] = {}
    whole: dict[str, Callable[[], object]] = {}
    with tempfile.TemporaryDirectory() as folder, torch.inference_mode():
        bundles = forms(options.bundle, Path(folder) / "lungs")
        wanted = segment_lungs(bundles["torch"], film).mask
        for name, bundle in bundles.items():
            overlap = dice(segment_lungs(bundle, film).mask, wanted)
            assert overlap >= SAME, f"{name} gives another mask (Dice {overlap:.4f})"
            ready = prepared(bundle, film)
            network[name] = lambda bundle=bundle, ready=ready: bundle(ready)  # type: ignore[misc]
            whole[name] = lambda bundle=bundle: segment_lungs(bundle, film)  # type: ignore[misc]
        alone, all_of_it = latencies(network, options.rounds), latencies(whole, options.rounds)
    height, width = bundles["torch"].info.preparation.size
    print(
        f"{path.name}, {film.width} x {film.height} pixels, lungs at {width} x {height}, {options.cores} cores, median of"
        f" {options.rounds} rounds, ms; lungs cover {np.mean(wanted):.0%}\n"
    )
    print(f"{'':12}{'network':>12}{'all of it':>12}{'torch / it':>12}")
    for name in bundles:
        print(
            f"{name:12}{alone[name]:12.1f}{all_of_it[name]:12.1f}{all_of_it['torch'] / all_of_it[name]:12.2f}"
        )
    best = min(all_of_it[name] for name in bundles if name != "torch")
    what, beside = "lungs of a film, best exported form", f"torch, {all_of_it['torch']:.0f} ms"
    tell(Figure(what, beside, best, "ms", goal=100, at_most=True))


def forms(name: str, place: Path) -> dict[str, Bundle]:
    """The bundle in torch and in each float32 form, ready to run."""
    export(name, "onnx", place)
    export(place, "openvino", place)
    bundles = {runtime: load(place, runtime) for runtime in ("torch", "onnx", "openvino")}
    for bundle in bundles.values():
        bundle.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # as analysis does
    return bundles


if __name__ == "__main__":
    main()
