"""Turning logits into probabilities that mean what they say, fitted on validation data.

p = sigmoid(slope * logit + intercept), a slope and an intercept a label. Temperature scaling (Guo et al.
2017) is the slope alone (1 / temperature); Platt scaling (Platt 1999) is both. Mutually exclusive classes
take one softmax temperature.

The fit is the posterior mode under a weak prior: log(slope) ~ N(0, 1) and intercept ~ N(0, 3^2). It costs a
slope of e half a nat, as much as one film of p = 0.6 costs: hundreds of films do not feel it, five positives
cannot explode. The slope stays positive, so calibration never changes an AUC.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import minimize
from scipy.special import expit, log_softmax, softmax

from hilum.errors import EvaluationError
from hilum.evaluation.arrays import Floats, as_pair

SLOPE_SPREAD = 1.0
INTERCEPT_SPREAD = 3.0
KINDS = ("none", "temperature", "platt", "softmax_temperature")


@dataclass(frozen=True)
class Calibration:
    """How a bundle's logits become probabilities.

    Attributes
    ----------
    kind: "none", "temperature", "platt" (all three end in a sigmoid) or "softmax_temperature".
    slope, intercept: one number a label; for "softmax_temperature" one slope, and intercept 0.
    n, positives: films, and positives, each label was fitted on; for "softmax_temperature" films alone.
    """

    kind: str
    slope: tuple[float, ...]
    intercept: tuple[float, ...]
    n: tuple[int, ...] = ()
    positives: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise EvaluationError(
                f"no calibration kind '{self.kind}'", mend=f"Use one of {', '.join(KINDS)}."
            )
        if len(self.slope) != len(self.intercept) or not np.all(np.isfinite(self.slope + self.intercept)):
            raise EvaluationError("a calibration needs one finite slope and one finite intercept a label")
        if min(self.slope, default=1.0) <= 0:
            raise EvaluationError("a calibration's slope is not positive: it would turn the ranking around")

    @classmethod
    def none(cls, labels: int) -> Calibration:
        """The plain sigmoid of each of `labels` logits."""
        return cls("none", (1.0,) * labels, (0.0,) * labels)

    @classmethod
    def none_softmax(cls) -> Calibration:
        """The plain softmax."""
        return cls("softmax_temperature", (1.0,), (0.0,))

    def apply(self, logits: ArrayLike) -> Floats:
        """Logits (..., labels) to probabilities of the same shape, float64 in [0, 1]."""
        values = np.asarray(logits, np.float64)
        if self.kind == "softmax_temperature":
            return softmax(values * self.slope[0], axis=-1)
        if values.shape[-1:] != (len(self.slope),):
            raise EvaluationError(f"logits of shape {values.shape} for {len(self.slope)} calibrated labels")
        return expit(values * np.array(self.slope) + np.array(self.intercept))

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "kind": self.kind,
            "slope": list(self.slope),
            "intercept": list(self.intercept),
            "n": list(self.n),
            "positives": list(self.positives),
        }

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Calibration:
        """The inverse of `as_dict`."""
        return cls(
            kind=str(data["kind"]),
            slope=tuple(float(v) for v in data["slope"]),
            intercept=tuple(float(v) for v in data["intercept"]),
            n=tuple(int(v) for v in data.get("n", ())),
            positives=tuple(int(v) for v in data.get("positives", ())),
        )


def fit_temperature(truth: ArrayLike, logits: ArrayLike) -> Calibration:
    """One temperature a label. Truth (n, labels) in {0, 1, NaN}, logits (n, labels).

    A label without positives or without negatives keeps slope 1.
    """
    return _fit_labels("temperature", truth, logits, _temperature)


def fit_platt(truth: ArrayLike, logits: ArrayLike) -> Calibration:
    """One slope and one intercept a label: also mends the shift that weighted losses and balanced batches
    leave.

    Truth (n, labels) in {0, 1, NaN}, logits (n, labels). A label without positives or without negatives keeps
    slope 1 and intercept 0.
    """
    return _fit_labels("platt", truth, logits, _platt)


def fit_softmax_temperature(truth: ArrayLike, logits: ArrayLike) -> Calibration:
    """One temperature for exclusive classes. Truth (n,) class numbers, -1 unknown; logits (n, classes)."""
    classes, values = np.asarray(truth, np.int64), np.asarray(logits, np.float64)
    if values.ndim != 2 or classes.shape != values.shape[:1] or classes.max(initial=-1) >= values.shape[1]:
        raise EvaluationError(f"classes {classes.shape} do not fit logits {values.shape}")
    known = classes >= 0
    classes, values = classes[known], values[known]
    if not len(classes):
        return Calibration("softmax_temperature", (1.0,), (0.0,), (0,))
    own = values[np.arange(len(classes)), classes]

    def cost(parameters: Floats) -> tuple[float, Floats]:
        slope = np.exp(parameters[0])
        log_p = log_softmax(values * slope, axis=1)
        expected = (np.exp(log_p) * values).sum(1)
        loss = -log_p[np.arange(len(classes)), classes].sum() + _prior(parameters)
        return float(loss), np.array([slope * (expected - own).sum() + parameters[0] / SLOPE_SPREAD**2])

    slope = float(np.exp(_minimum(cost, 1)[0]))
    return Calibration("softmax_temperature", (slope,), (0.0,), (len(classes),))


def _fit_labels(
    kind: str, truth: ArrayLike, logits: ArrayLike, fit: Callable[[Floats, Floats], tuple[float, float]]
) -> Calibration:
    labels, values = as_pair(truth, logits)
    pairs = []
    for label, value in zip(labels.T, values.T, strict=True):
        known = ~np.isnan(label)
        both_seen = len(np.unique(label[known])) == 2
        pairs.append(fit(label[known], value[known]) if both_seen else (1.0, 0.0))
    return Calibration(
        kind,
        tuple(slope for slope, _ in pairs),
        tuple(intercept for _, intercept in pairs),
        tuple(int(c) for c in (~np.isnan(labels)).sum(0)),
        tuple(int(c) for c in (labels == 1).sum(0)),
    )


def _temperature(truth: Floats, logits: Floats) -> tuple[float, float]:
    def cost(parameters: Floats) -> tuple[float, Floats]:
        loss, gradient = _cost(np.array([parameters[0], 0.0]), truth, logits)
        return loss, gradient[:1]

    return float(np.exp(_minimum(cost, 1)[0])), 0.0


def _platt(truth: Floats, logits: Floats) -> tuple[float, float]:
    log_slope, intercept = _minimum(lambda parameters: _cost(parameters, truth, logits), 2)
    return float(np.exp(log_slope)), float(intercept)


def _cost(parameters: Floats, truth: Floats, logits: Floats) -> tuple[float, Floats]:
    """Negative log posterior of (log slope, intercept) and its gradient."""
    slope, intercept = np.exp(parameters[0]), parameters[1]
    value = slope * logits + intercept
    loss = (np.logaddexp(0, value) - truth * value).sum() + _prior(parameters)
    residual = expit(value) - truth
    return float(loss), np.array(
        [
            slope * (residual @ logits) + parameters[0] / SLOPE_SPREAD**2,
            residual.sum() + intercept / INTERCEPT_SPREAD**2,
        ]
    )


def _prior(parameters: Floats) -> float:
    spreads = np.array([SLOPE_SPREAD, INTERCEPT_SPREAD])[: len(parameters)]
    return float(((parameters / spreads) ** 2).sum() / 2)


def _minimum(cost: Callable[[Floats], tuple[float, Floats]], size: int) -> Floats:
    # The bounds only keep exp() finite on the way; the prior keeps the answer far from them.
    bounds = [(-7.0, 7.0), (-50.0, 50.0)][:size]
    return minimize(cost, np.zeros(size), jac=True, method="L-BFGS-B", bounds=bounds).x
