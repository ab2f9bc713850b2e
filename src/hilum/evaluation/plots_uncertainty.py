"""Figures of uncertainty: what errors are left when the films that a model is least sure of go to a reader."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import cycle
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from hilum.errors import EvaluationError
from hilum.evaluation.plots import COLOURS, GREY, save, single
from hilum.evaluation.selective import aurc, risk_coverage


def plot_risk_coverage(
    errors: ArrayLike,
    uncertainties: Mapping[str, ArrayLike],
    path: str | Path,
    quantity: str = "error rate",
) -> Path:
    """Risk over coverage: the mean error of the films kept when the most uncertain ones go to a reader.

    Parameters
    ----------
    errors: (n,), 1 where the call was wrong (or any loss), NaN where unknown.
    uncertainties: a name to (n,), higher is less sure; a line each, with its AURC.
    """
    if not uncertainties:
        raise EvaluationError("there is no uncertainty to draw")
    figure, axes = single(4.6, 3.4)
    for colour, (name, uncertainty) in zip(cycle(COLOURS), uncertainties.items(), strict=False):
        coverage, risk = risk_coverage(errors, uncertainty)
        area = float(aurc(errors, uncertainty)[0])
        axes.plot(coverage, risk, color=colour, linewidth=1.6, label=f"{name}, AURC {area:.3f}")
    every = float(np.nanmean(np.asarray(errors, np.float64)))
    axes.axhline(every, color=GREY, linewidth=0.8, linestyle=":", label="all films")
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1.3 * axes.get_ylim()[1])  # room for the legend
    axes.set_xlabel("share of films kept, the surest first")
    axes.set_ylabel(quantity)
    axes.legend(frameon=False, fontsize=8)
    return save(figure, path)
