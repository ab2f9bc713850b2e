"""One film's full analysis, warm, beside one plain forward pass of the same backbone, and where the time goes.

    python -m benchmarks.full_analysis [FILM] [--rounds N] [--samples 25]

FILM: any film; without it RG1, the chest film of pydicom-data (1955 x 1841 pixels). The bundles are the built-in ones;
where there is none, a MobileNetV2 at 224 px and a U-Net at 256 px with random weights, which cost the same. Rounds of both
are taken in turn and the median is printed, as CPU milliseconds of one thread: on a busy machine that repeats better than
the clock on the wall. Last comes the whole report on two threads, by the clock on the wall: lungs, samples of the head and
heatmaps included, the goal is 500 ms.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import torch
from benchmarks.figures import Figure, tell
from pydicom.data import get_testdata_file
from tests.bundles_for_tests import classifier_bundle, dark_lungs_bundle
from tests.phantom import phantom
from torch import Tensor, nn

from hilum.analysis.analyzer import Analyzer, prepared, segment_lungs
from hilum.analysis.heatmaps import heatmaps, lung_shares
from hilum.analysis.uncertainty import uncertainty
from hilum.bundles import Bundle, builtin_names
from hilum.bundles.info import Architecture
from hilum.bundles.speed import latencies
from hilum.images.preparation import Preparation
from hilum.images.quality import assess
from hilum.images.radiograph import Radiograph
from hilum.images.read import read
from hilum.models import build


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("film", nargs="?", type=Path)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--samples", type=int, default=25, help="Monte Carlo dropout samples")
    options = parser.parse_args()
    torch.set_num_threads(1)
    path = options.film or Path(get_testdata_file("RG1_UNCR.dcm"))
    film = read(path)
    analyzer = Analyzer(None if builtin_names() else stand_ins(), samples=options.samples)
    report = analyzer.analyze(film)
    if not report.analysable:
        raise SystemExit(f"no full analysis to time: {report.reason}")
    assert report.lungs is not None
    assert all(f.heatmap is not None and f.interval is not None for f in report.findings)
    parts = steps(analyzer, film, path)
    taken: dict[str, list[float]] = {name: [] for name in parts}
    with torch.inference_mode():
        for work in parts.values():  # warm
            work()
        for _ in range(options.rounds):
            for name, work in parts.items():
                started = time.process_time()
                work()
                taken[name].append(1000 * (time.process_time() - started))
    print(
        f"{path.name}, {film.width} x {film.height} pixels, {torch.get_num_threads()} thread, {options.rounds} rounds,"
        " CPU ms\n"
    )
    for name, times in taken.items():
        print(f"{name:48}{median(times):9.1f}")
    plain, whole = (
        median(taken[k]) for k in ("one forward pass (prepared film)", "full analysis (film in memory)")
    )
    print(f"\nfull analysis / one forward pass: {whole / plain:.1f}")
    torch.set_num_threads(2)
    wall = latencies({"report": lambda: analyzer.analyze(film)}, options.rounds)["report"]
    what = "full analysis of a film, two threads, wall"
    tell(Figure(what, f"one forward pass of {plain:.0f} ms", wall, "ms", goal=500, at_most=True))


def steps(analyzer: Analyzer, film: Radiograph, path: Path) -> dict[str, Callable[[], object]]:
    """What is timed, by name. Each step does its own share of the analysis and nothing else."""
    bundle, first = analyzer.finders[0], prepared(analyzer.finders[0], film)
    model, place = bundle.model, bundle.info.preparation.place((film.height, film.width))
    with torch.inference_mode():
        features = model.feature_map(first)
        embedding = model.pool(features)
        maps = heatmaps(features, model.class_weights(embedding), place)
    parts: dict[str, Callable[[], object]] = {
        "one forward pass (prepared film)": lambda: bundle(first),
        "full analysis (film in memory)": lambda: analyzer.analyze(film),
        "  quality gate, header and pixels": lambda: assess(film),
        "  prepare": lambda: prepared(bundle, film),
        f"  {analyzer.samples} samples of the head": lambda: uncertainty(
            bundle, embedding, analyzer.samples, 0
        ),
        f"  {len(maps)} heatmaps": lambda: heatmaps(features, model.class_weights(embedding), place),
    }
    if analyzer.segmenters:
        segmenter = analyzer.segmenters[0]
        with torch.inference_mode():
            lungs, ready = segment_lungs(segmenter, film), prepared(segmenter, film)
        parts["  lungs, all of it"] = lambda: segment_lungs(segmenter, film)
        parts["    of which the network"] = lambda: segmenter(ready)
        parts["  quality gate again, with lungs"] = lambda: assess(film, lungs.right + 2 * lungs.left)
        parts[f"  lung share of {len(maps)} heatmaps"] = lambda: lung_shares(maps, lungs.mask)
    parts["read (not in the analysis above)"] = lambda: read(path)
    return parts


def stand_ins() -> list[Bundle]:
    """Random weights of the size that the built-in bundles have."""
    base = classifier_bundle("findings").info
    options = {"name": "mobilenetv2_100", "channels": 3}
    info = base.model_copy(
        update={
            "model": Architecture(name="timm", options=options),
            "preparation": Preparation(size=(224, 224)),
        }
    )
    unet = {"encoder": "mobilenetv2_100"}
    lungs = dark_lungs_bundle("lungs").info.model_copy(
        update={"model": Architecture(name="unet", options=unet), "preparation": Preparation(size=(256, 256))}
    )
    findings = Bundle(info, build("timm", outputs=3, **options))
    return [findings, Bundle(lungs, Shaped(build("unet", outputs=1, **unet)))]  # type: ignore[arg-type]


class Shaped(nn.Module):
    """A U-Net's work with the lungs of the phantom for its answer, so that the film passes the gate."""

    def __init__(self, unet: nn.Module) -> None:
        super().__init__()
        self.unet = unet
        self.lungs = torch.from_numpy(20.0 * (phantom(0, 256, 256).lungs > 0) - 10).float()

    def forward(self, images: Tensor) -> Tensor:
        return 0 * self.unet(images) + self.lungs


if __name__ == "__main__":
    main()
