"""Counts of answers since the start, by method, route and status."""

from __future__ import annotations

import threading
from collections import Counter


class Counts:
    def __init__(self) -> None:
        self._answers: Counter[tuple[str, str, int]] = Counter()
        self._lock = threading.Lock()

    def add(self, method: str, route: str, status: int) -> None:
        with self._lock:
            self._answers[method, route, status] += 1

    def all(self) -> dict[tuple[str, str, int], int]:
        with self._lock:
            return dict(self._answers)
