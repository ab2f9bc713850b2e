"""A process beside this one that does what damaged or hostile files may break: bounded in memory, bounded in time, replaced
when it dies. What it answers is a result or a `Failed`; the caller lives on either way.
"""

from __future__ import annotations

import math
import signal
import sys
import threading
from collections.abc import Callable
from functools import partial
from typing import Any, Generic, TypeVar

from hilum.analysis.workers import Failed, Single

Item = TypeVar("Item")
Result = TypeVar("Result")

_GRACE = 10  # seconds after its limit in which the parent should have killed it; then it ends itself


class Companion(Generic[Item, Result]):
    """`make` runs in the process, once, and returns the function that answers items; it and the items must pickle.

    Parameters
    ----------
    memory: bytes that the process may take beyond what it has when it is ready; None for no limit (and where the system
    has none). Past it, it gets a MemoryError or dies, and the item is `Failed`.
    timeout: seconds an item; then it is killed.

    Threads take turns. The process dies with this one: at once where it is idle, at its time limit where it is busy.
    """

    def __init__(
        self, make: Callable[[], Callable[[Item], Result]], timeout: float, memory: int | None
    ) -> None:
        self._process = Single(partial(_bounded, make, timeout, memory), timeout)
        self._turn = threading.Lock()

    def ask(self, item: Item) -> Result | Failed:
        """The answer to one item. Raises HilumError where the process cannot be made ready."""
        with self._turn:
            return self._process.ask(item)

    def close(self) -> None:
        with self._turn:
            self._process.stop()


def _bounded(
    make: Callable[[], Callable[[Any], Any]], timeout: float, memory: int | None
) -> Callable[[Any], Any]:
    """Runs in the process: get ready first, then take the limits on."""
    work = make()
    if memory is not None and sys.platform == "linux":
        import resource

        # Data, heap, private maps: what an attacker can make grow. Address space would count libraries too.
        with open("/proc/self/status", encoding="ascii") as status:
            now = next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmData"))
        resource.setrlimit(resource.RLIMIT_DATA, (now + memory, now + memory))
    return partial(_timed, work, math.ceil(timeout) + _GRACE)


def _timed(work: Callable[[Any], Any], seconds: int, item: Any) -> Any:
    """The parent kills what runs too long; the alarm is for a parent that was itself killed."""
    if hasattr(signal, "alarm"):
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(seconds)
    try:
        return work(item)
    finally:
        if hasattr(signal, "alarm"):
            signal.alarm(0)
