from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from hilum.evaluation import plots, plots_uncertainty
from tests.evaluation.samples import labelled


def figures(folder):
    """Every figure, some on labels that have nothing to draw."""
    truth, scores, _ = labelled(200, 3, unknown=0.1)
    truth[:, 2] = 0
    curves = {
        "loss": {"train": [0.7, 0.6, 0.5], "validation": [0.7, np.nan, 0.6]},
        "AUC": {"validation": [0.6, 0.7]},
    }
    return {
        "roc": lambda p: plots.plot_roc(truth, scores, p, ["a", "b", "c_d"]),
        "pr": lambda p: plots.plot_precision_recall(truth, scores, p),
        "reliability": lambda p: plots.plot_reliability(truth, scores, scores**2, p),
        "confusion": lambda p: plots.plot_confusion([[5, 1], [0, 0]], p, ["no", "yes"]),
        "training": lambda p: plots.plot_training(curves, p, phases=[1], chosen=2),
        "counts": lambda p: plots.plot_label_counts({"a": 3, "b_c": 12, "d": 0}, p, total=20),
        "intervals": lambda p: plots.plot_intervals(
            [("a", 0.7, 0.6, 0.8), ("b", 0.9, np.nan, np.nan)], p, "AUC", 0.5
        ),
        "risk": lambda p: plots_uncertainty.plot_risk_coverage(
            truth[:, 0], {"score": scores[:, 0], "other": scores[:, 1]}, p
        ),
    }


@pytest.mark.parametrize(
    "name", ["roc", "pr", "reliability", "confusion", "training", "counts", "intervals", "risk"]
)
def test_each_figure_is_drawn_and_drawn_the_same_again(tmp_path, name):
    path = tmp_path / "new" / f"{name}.png"
    draw = figures(tmp_path)[name]
    assert draw(path) == path
    first = path.read_bytes()
    draw(path)
    assert path.read_bytes() == first
    with Image.open(path) as image:
        assert min(image.size) > 200
        grey = np.asarray(image.convert("L"))
    assert (grey == 255).mean() > 0.2
    assert (grey < 200).mean() > 0.005
    assert (grey[[0, -1]] == 255).all(), "something is cut off at the edge"


def test_matplotlib_is_imported_only_to_draw():
    code = "import sys; from hilum.evaluation import plots, plots_uncertainty, summary; print(*sys.modules)"
    imported = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert "hilum.evaluation.plots" in imported.stdout.split()
    assert not {"matplotlib", "sklearn", "torch", "lightning"} & set(imported.stdout.split())
