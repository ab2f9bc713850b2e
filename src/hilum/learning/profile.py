"""Where a training step's time goes: input, augmentation, forward, backward, optimiser, and what lies between steps."""

from __future__ import annotations

import csv
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import torch
from lightning.pytorch.profilers import Profiler

from hilum.learning.tasks.task import AUGMENTATION
from hilum.learning.writing import whole

FILE = "profile.csv"
STEP = ("input", AUGMENTATION, "forward", "backward", "optimiser")
"""Parts of a step; what comes after them in a table is of an epoch."""

PARTS = (*STEP, "validation", "logging and checkpoints", "rest")

_ACTIONS = {
    "train_dataloader_next": "input",
    "batch_to_device": "input",
    f" {AUGMENTATION}": AUGMENTATION,
    ".training_step": "forward",
    ".backward": "backward",
    ".optimizer_step": "optimiser",
    "run_training_batch": "rest",
    "save_checkpoint": "logging and checkpoints",
    "on_train_epoch_end": "logging and checkpoints",
    "on_train_batch_end": "logging and checkpoints",
}


@dataclass(frozen=True)
class Row:
    """`seconds` of one part over a phase, its `share` of the phase's time, and `per_step` milliseconds."""

    phase: str
    part: str
    seconds: float
    share: float
    per_step: float


class StepProfiler(Profiler):
    """Lightning tells it when each action begins and ends; time counts for the innermost action that has a name here.

    On a GPU it waits for the device at each of them, so that a part's time is its own: a profiled run is slower.
    """

    def __init__(self) -> None:
        super().__init__()
        self.seconds: dict[str, float] = defaultdict(float)
        self.steps = 0
        self._open: list[tuple[str, str]] = []
        self._since: float | None = None
        self._between = "rest"

    def start(self, action_name: str) -> None:
        if action_name.endswith(".on_validation_start") and self._between == "rest":
            self._spend()
            self._between = "validation"
        part = self._part(action_name)
        if part is None:
            return
        self._spend()
        self._open.append((action_name, part))

    def stop(self, action_name: str) -> None:
        if action_name.startswith("[Strategy]") and action_name.endswith(".on_validation_end"):
            self._spend()
            self._between = "rest"
        if not self._open or self._open[-1][0] != action_name:
            return
        self._spend()
        self._open.pop()
        if action_name == "run_training_batch":
            self.steps += 1

    def rows(self, phase: str) -> list[Row]:
        """A row for each of `PARTS`; the rest is Lightning's own."""
        total = sum(self.seconds.values())
        return [
            Row(phase, part, s, s / total if total else 0.0, 1000 * s / max(1, self.steps))
            for part, s in ((part, self.seconds[part]) for part in PARTS)
        ]

    def _spend(self) -> None:
        if torch.cuda.is_initialized():
            torch.cuda.synchronize()
        now = time.perf_counter()
        if self._since is not None:
            self.seconds[self._open[-1][1] if self._open else self._between] += now - self._since
        self._since = now

    def _part(self, action: str) -> str | None:
        if self._between == "validation":
            return None  # all that is done in it is it
        return next((part for end, part in _ACTIONS.items() if f" {action}".endswith(end)), None)


def write(folder: Path, rows: list[Row]) -> None:
    """`profile.csv` in the run's folder: those of `rows` take the place of their phase's."""
    phases = {row.phase for row in rows}
    kept = [row for row in read(folder) if row.phase not in phases]
    with whole(folder / FILE) as work, work.open("w", newline="") as file:
        out = csv.writer(file)
        out.writerow(("phase", "part", "seconds", "share", "ms_per_step"))
        out.writerows(
            (r.phase, r.part, f"{r.seconds:.3f}", f"{r.share:.4f}", f"{r.per_step:.3f}")
            for r in (*kept, *rows)
        )


def read(folder: Path) -> list[Row]:
    """What `write` wrote; empty where nothing was."""
    if not (folder / FILE).is_file():
        return []
    with (folder / FILE).open(newline="") as file:
        return [
            Row(
                row["phase"],
                row["part"],
                float(row["seconds"]),
                float(row["share"]),
                float(row["ms_per_step"]),
            )
            for row in csv.DictReader(file)
        ]
