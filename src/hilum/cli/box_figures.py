"""What `hilum boxes score` shows: tables on the terminal, figures in a folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from hilum.errors import one_line

if TYPE_CHECKING:
    from hilum.datasets.box_sets import Beside
    from hilum.evaluation.detection_summary import DetectionSummary


def show(found: DetectionSummary) -> None:
    """Tables of a score, on the terminal."""
    from rich.console import Console
    from rich.table import Table

    from hilum.evaluation.froc import RATES

    console = Console()
    drawn = "patients" if found.patients != found.films else "films"
    console.print(
        f"{found.predicted:,} predicted and {found.true:,} true boxes on {found.films:,} films; 95 % intervals by {drawn}"
    )
    table = Table(
        "class", "true boxes", f"AP, IoU > {found.iou_threshold:g}", "COCO AP", "film AUC", "film F1"
    )
    for name, ap, whole, label in zip(
        found.names, found.ap.classes, found.coco.by_class, found.as_films.labels, strict=True
    ):
        of_films = [_short(label.metrics[metric]) for metric in ("auc", "f1")]
        table.add_row(one_line(name), f"{ap.positives:,}", _short(ap), _number(whole), *of_films)
    table.add_row(
        "mean",
        f"{found.true:,}",
        _short(found.ap.mean),
        _number(found.coco.ap),
        _short(found.as_films.macro_auc),
        "",
    )
    console.print(table)
    rates = Table("false boxes a film", "sensitivity (FROC)")
    for rate, sensitivity in zip((*(f"{rate:g}" for rate in RATES), "mean"), found.froc, strict=True):
        rates.add_row(rate, _short(sensitivity))
    console.print(rates)
    console.print(f"calibration error of box scores: {_short(found.calibration_error)}")


def draw(both: Beside, folder: Path, iou: float, threshold: float) -> None:
    """Films by class, ROC, FROC and reliability, as pictures in `folder`."""
    from hilum.datasets.box_tables import NO_FINDING
    from hilum.evaluation.detection_films import film_scores
    from hilum.evaluation.plots import plot_roc
    from hilum.evaluation.plots_boxes import plot_box_reliability, plot_class_films, plot_froc

    truth, scores = film_scores(both.boxes)
    predicted = dict(zip(both.names, (int(n) for n in (scores >= threshold).sum(0)), strict=True))
    true = dict(zip(both.names, (int(n) for n in truth.sum(0)), strict=True))
    plot_class_films(predicted, true, folder / "classes.png", len(both.image_ids))
    lesions = both.boxes.of_classes([i for i, name in enumerate(both.names) if name != NO_FINDING])
    plot_roc(truth, scores, folder / "roc.png", both.names)
    plot_froc(lesions, folder / "froc.png", iou)
    if len(lesions.boxes):
        plot_box_reliability(lesions, folder / "reliability.png", iou)


def _short(estimate: Any) -> str:
    if not estimate.defined:
        return "-"
    interval = "" if estimate.low != estimate.low else f" ({estimate.low:.3f}–{estimate.high:.3f})"
    return f"{estimate.value:.3f}{interval}"


def _number(value: float) -> str:
    return "-" if value != value else f"{value:.3f}"
