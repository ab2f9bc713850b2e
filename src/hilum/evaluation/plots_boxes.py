"""Figures of scored boxes: FROC and what box scores mean. ROC of whole films: `plots.plot_roc` of `detection_films`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from hilum.evaluation.detection import Detections
from hilum.evaluation.detection_films import box_truth
from hilum.evaluation.froc import RATES, froc, sensitivity_at
from hilum.evaluation.plots import BLUE, GREY, save, single
from hilum.evaluation.reliability import expected_calibration_error, reliability_curve


def plot_froc(boxes: Detections, path: str | Path, iou_threshold: float = 0.4) -> Path:
    """Sensitivity over false boxes a film, on a logarithmic axis, with a point at each of `froc.RATES`."""
    curve, at = froc(boxes, iou_threshold), sensitivity_at(boxes, iou_threshold)
    figure, axes = single(4.6, 3.4)
    axes.step(curve.false_per_film, curve.sensitivity, where="post", color=BLUE, linewidth=1.4)
    axes.plot(RATES, at, "o", color=BLUE, markersize=4)
    axes.set_xscale("log", base=2)
    axes.set_xticks(RATES, ["1/8", "1/4", "1/2", "1", "2", "4", "8"])
    axes.set(xlim=(RATES[0] / 2, RATES[-1] * 2), ylim=(0, 1), xlabel="false boxes a film")
    axes.set_ylabel(f"sensitivity, IoU > {iou_threshold:g}")
    axes.set_title(f"mean {at.mean():.3f}; {len(boxes.true_boxes):,} true boxes", fontsize=9)
    return save(figure, path)


def plot_box_reliability(
    boxes: Detections, path: str | Path, iou_threshold: float = 0.4, bins: int = 10
) -> Path:
    """The share of boxes that find something over their score, a point a bin; the larger, the more boxes."""
    truth = box_truth(boxes, iou_threshold)
    curve = reliability_curve(truth, boxes.scores, bins)
    figure, axes = single(3.6, 3.4)
    axes.plot([0, 1], [0, 1], color=GREY, linewidth=0.8, linestyle=":")
    axes.plot(curve.predicted, curve.observed, color=BLUE, linewidth=1, alpha=0.4)
    size = 6 + 60 * (curve.count / max(1, curve.count.sum())) ** 0.5
    axes.scatter(curve.predicted, curve.observed, s=size, c=BLUE, linewidths=0)
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal", xlabel="score of a box")
    axes.set_ylabel(f"share that finds, IoU > {iou_threshold:g}")
    error = expected_calibration_error(truth, boxes.scores)[0]
    axes.set_title(f"ECE {error:.3f}; {len(truth):,} boxes", fontsize=9)
    return save(figure, path)


def plot_class_films(
    predicted: Mapping[str, int], true: Mapping[str, int], path: str | Path, films: int
) -> Path:
    """Films with a box of each class, predicted beside true, the most frequent true class first; of `films` in all."""
    names = sorted({*predicted, *true}, key=lambda name: (true.get(name, 0), predicted.get(name, 0), name))
    figure, axes = single(6.4, 1.1 + 0.36 * max(1, len(names)))
    for shift, counts, colour, label in ((0.2, true, GREY, "true"), (-0.2, predicted, BLUE, "predicted")):
        values = [counts.get(name, 0) for name in names]
        places = [place + shift for place in range(len(names))]
        bars = axes.barh(places, values, color=colour, height=0.38, label=label)
        axes.bar_label(bars, [f"{value:,}" for value in values], padding=3, fontsize=7)
    axes.set_yticks(range(len(names)), names)
    axes.tick_params(axis="y", length=0)
    axes.margins(x=0.12, y=0.01)
    axes.set_xlabel(f"films with a box of the class, of {films:,}")
    axes.legend(frameon=False, fontsize=8, loc="lower right", bbox_to_anchor=(1, 1), ncols=2)
    return save(figure, path)
