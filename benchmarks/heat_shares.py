"""Where the heat of positive findings lies, method by method, on real films of ChestX-ray14.

    python -m benchmarks.heat_shares ROOT/nih14 [--films 150] [--score-cam 2]

By each method that costs no further pass: how many positive calls of the built-in `findings` have an empty map, and of the
findings that lie in the lungs the share of the heat inside them, beside the lungs' share of the film.
`--score-cam`: on so many films, how Score-CAM's maps correlate with the features' mean, and those of 128 features with those
of all; medians over films and findings, and the least.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from hilum.analysis.analyzer import Analyzer
from hilum.analysis.explain import CLOSED_FORM, explain
from hilum.analysis.heatmaps import on_film
from hilum.analysis.report import LOW_LUNG_SHARE
from hilum.bundles import Bundle, load
from hilum.datasets import registry
from hilum.images.read import read


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("root", type=Path)
    parser.add_argument("--films", type=int, default=150)
    parser.add_argument("--score-cam", type=int, default=0)
    options = parser.parse_args()
    manifest, bundle = registry.load("nih14", options.root), load("findings")
    chosen = manifest.paths()[:: max(1, len(manifest) // options.films)][: options.films]
    for method in CLOSED_FORM:
        print(method)
        in_lungs(chosen, method)
    if options.score_cam:
        score_cam(bundle, chosen[: options.score_cam])


def in_lungs(paths: list[Path], method: str) -> None:
    """Of the positive calls on these films."""
    analyzer = Analyzer(["findings"], samples=0, heatmap_method=method)
    called = empty = 0
    shares, films, area = [], [], []
    for film, path in enumerate(paths):
        report = analyzer.analyze(path)
        area += [report.lungs.area_share] if report.lungs is not None else []
        for finding in report.findings:
            if not finding.positive or finding.heatmap is None:
                continue
            called += 1
            empty += not finding.heatmap.any()
            if not finding.outside_lungs and finding.lung_share is not None:
                shares.append(finding.lung_share)
                films.append(film)
    found, low = np.array(shares), np.array(shares) < LOW_LUNG_SHARE
    low_films = len(set(np.array(films)[low]))
    quartiles = ", ".join(f"{q:.2f}" for q in np.quantile(found, [0.25, 0.5, 0.75]))
    print(f"  {called} positive calls on {len(paths)} films, {empty} with an empty map")
    print(
        f"  {len(found)} calls of findings that lie in the lungs, with heat: quartiles of its share inside"
        f" {quartiles};"
        f" {low.sum()} below {LOW_LUNG_SHARE} (on {low_films} of {len(set(films))} films);"
        f" the lungs take {np.median(area):.2f} of a film"
    )


def score_cam(bundle: Bundle, paths: list[Path]) -> None:
    """Score-CAM beside what is cheaper."""
    to_mean: list[float] = []
    to_few: list[float] = []
    for path in paths:
        film = read(path)
        whole, few = (explain(bundle, film, "score_cam", channels) for channels in (None, 128))
        with torch.no_grad():
            features, _ = bundle.runtime.features(bundle.prepare(film))
        place = bundle.info.preparation.place((film.height, film.width))
        (mean,) = on_film(features.mean(1), place)
        to_mean += [_correlation(one, mean) for one in whole]
        to_few += [_correlation(one, other) for one, other in zip(whole, few, strict=True)]
    print("score_cam")
    for name, values in (("the features' mean", to_mean), ("128 features", to_few)):
        print(
            f"  all features beside {name}: median {np.nanmedian(values):.2f}, least {np.nanmin(values):.2f}"
        )


def _correlation(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    return float(np.corrcoef(one.ravel(), other.ravel())[0, 1]) if one.any() and other.any() else float("nan")


if __name__ == "__main__":
    main()
