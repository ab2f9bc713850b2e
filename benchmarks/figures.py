"""A figure that a benchmark ends with: said to whoever runs it, and noted for `python -m benchmarks`, which gathers them."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

NOTED = "HILUM_FIGURES"  # names the file that takes a line of JSON a figure


@dataclass(frozen=True)
class Figure:
    """`what` was measured, `beside` whom. `value`: how many times the peer's speed, or in `unit`; `low` and `high` over
    rounds. `goal`: the least that was asked for, or the most (`at_most`). `limit`: the physical limit, in words."""

    what: str
    beside: str
    value: float
    unit: str = "times"
    low: float | None = None
    high: float | None = None
    goal: float | None = None
    at_most: bool = False
    limit: str = ""

    @property
    def reached(self) -> bool | None:
        if self.goal is None:
            return None
        return self.value <= self.goal if self.at_most else self.value >= self.goal

    def value_in_words(self) -> str:
        spread = "" if self.low is None or self.high is None else f" ({_short(self.low)}–{_short(self.high)})"
        return f"{_short(self.value)}{spread} {self.unit}"

    def goal_in_words(self) -> str:
        if self.goal is None:
            return "–"
        bound = "at most" if self.at_most else "at least"
        return f"{bound} {self.goal:g}: {'reached' if self.reached else 'not reached'}"

    def words(self) -> str:
        ending = f"; goal {self.goal_in_words()}" if self.goal is not None else ""
        return f"{self.what}, beside {self.beside}: {self.value_in_words()}{ending}"


def tell(figure: Figure) -> None:
    print(figure.words(), flush=True)
    if path := os.environ.get(NOTED):
        with Path(path).open("a") as file:
            file.write(json.dumps(asdict(figure)) + "\n")


def of_rounds(
    what: str, beside: str, ratios: Sequence[float], goal: float | None = None, limit: str = ""
) -> Figure:
    """The median of what each round gave, with the least and the largest."""
    return Figure(what, beside, median(ratios), low=min(ratios), high=max(ratios), goal=goal, limit=limit)


def read_figures(path: Path) -> list[Figure]:
    return [Figure(**json.loads(line)) for line in path.read_text().splitlines()] if path.exists() else []


def _short(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"
