"""A run's history: one row an epoch in `history.csv`, kept right across kills, and the curves drawn from it."""

from __future__ import annotations

import csv
import importlib.util
import logging
import math
import time
from pathlib import Path
from typing import Any

from hilum.errors import MissingExtraError
from hilum.learning.writing import whole

logger = logging.getLogger(__name__)

FIELDS = (
    "phase",
    "epoch",
    "training_loss",
    "validation_loss",
    "training_score",
    "validation_score",
    "rate",
    "seconds",
)
"""Columns of every history; what else a task measures comes after them, such as `probe_knn`."""

_OWN = ("training/loss", "validation/loss", "training/score", "validation/score")


class History:
    """Rows of `FIELDS`, `training_score` of classifiers alone, and of what else a task measures.

    `tensorboard`: write the same numbers for TensorBoard too (MissingExtraError without it).
    """

    def __init__(self, folder: Path, tensorboard: bool = False) -> None:
        self.folder, self.path = folder, folder / "history.csv"
        self.tensorboard = tensorboard
        if tensorboard and importlib.util.find_spec("tensorboard") is None:
            raise MissingExtraError.named("train", "--tensorboard")
        self.rows: list[dict[str, Any]] = _read(self.path)
        self._since = time.monotonic()

    def add(self, phase: str, epoch: int, rate: float, values: dict[str, float]) -> None:
        """One finished epoch."""
        now = time.monotonic()
        row = {
            "phase": phase,
            "epoch": epoch,
            "training_loss": values.get("training/loss"),
            "validation_loss": values.get("validation/loss"),
            "training_score": values.get("training/score"),
            "validation_score": values.get("validation/score"),
            "rate": rate,
            "seconds": round(now - self._since, 1),
            **{_column(name): _known(value) for name, value in sorted(values.items()) if name not in _OWN},
        }
        self._since = now
        self.rows.append(row)
        self._write()
        logger.info(
            "%s, epoch %d: training loss %.4f, validation loss %.4f, score %.4f, %.0f s",
            phase, epoch + 1, row["training_loss"], row["validation_loss"], row["validation_score"], row["seconds"],
        )  # fmt: skip

    def forget(self, phase: str, from_epoch: int) -> None:
        """Drop epochs that a killed run wrote down but had not yet kept a checkpoint of."""
        self.rows = [r for r in self.rows if r["phase"] != phase or int(r["epoch"]) < from_epoch]
        self._since = time.monotonic()
        self._write()

    def loggers(self, phase: str) -> Any:
        """Lightning's loggers."""
        if not self.tensorboard:
            return False
        from lightning.pytorch.loggers import TensorBoardLogger

        return TensorBoardLogger(self.folder, "tensorboard", version=phase)

    def draw(self) -> Path:
        """`curves.png`: losses, score and what else was measured over all epochs, with the phases marked."""
        from hilum.evaluation.plots import plot_training

        def column(name: str) -> list[float]:
            return [float(row.get(name) or "nan") for row in self.rows]

        scored = {"train": column("training_score"), "validation": column("validation_score")}
        curves = {
            "loss": {"train": column("training_loss"), "validation": column("validation_loss")},
            "score": {name: values for name, values in scored.items() if not all(map(math.isnan, values))},
        }
        for name in self._extra():
            kind, _, what = name.partition("_")  # a loss's part by side, or one of several measures of a kind
            sides = {"training": "train", "validation": "validation"}
            panel, series = (what, sides[kind]) if kind in sides else (kind, what)
            curves.setdefault(panel, {})[series] = column(name)
        starts = [i for i in range(1, len(self.rows)) if self.rows[i]["phase"] != self.rows[i - 1]["phase"]]
        return plot_training(curves, self.folder / "curves.png", phases=starts)

    def _extra(self) -> list[str]:
        """Columns beside `FIELDS`, in the order in which they came."""
        return [
            name for name in dict.fromkeys(name for row in self.rows for name in row) if name not in FIELDS
        ]

    def _write(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        with whole(self.path) as work, work.open("w", newline="") as file:
            out = csv.DictWriter(file, [*FIELDS, *self._extra()])
            out.writeheader()
            out.writerows(self.rows)


def _column(name: str) -> str:
    return name.replace("/", "_")


def _known(value: float) -> float | None:
    """None, which is written as an empty field, for what was not measured."""
    return None if math.isnan(value) else value


def _read(path: Path) -> list[dict[str, Any]]:
    if not path.is_file():
        return []
    with path.open(newline="") as file:
        return list(csv.DictReader(file))
