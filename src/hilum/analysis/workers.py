"""Work on many items in processes of their own, so that an item that crashes or hangs costs only itself.

`concurrent.futures` gives up its whole pool when one process dies; here the item at fault becomes a `Failed` and a fresh
process goes on. Every item runs in a worker, with one job too: the parent stays small and outlives any decoder.
"""

from __future__ import annotations

import multiprocessing
import signal
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import Any, Generic, TypeVar

from hilum.errors import HilumError, one_line

Item = TypeVar("Item")
Result = TypeVar("Result")

START_LIMIT = 300.0  # seconds for a worker to load its bundles
_READY = "ready"


@dataclass(frozen=True)
class Failed:
    """What came of an item that has no result: `fault` and `mend` for people, `trace` for the log. `died`: its process did,
    or was killed for taking too long, and another try may end otherwise."""

    fault: str
    mend: str | None = None
    trace: str | None = None
    died: bool = False


def run_each(
    make: Callable[[], Callable[[Item], Result]],
    items: Sequence[Item],
    jobs: int,
    timeout: float | None,
) -> Iterator[tuple[int, Result | Failed]]:
    """(index, result or `Failed`) of each item, in the order in which they finish.

    `make` runs once in each of `jobs` processes and returns the function that works on an item; both it and the items must
    pickle. `timeout`: seconds an item. What `make` raises is raised here. The caller's module must be importable without
    side effects (`if __name__ == "__main__":`), as with every spawned process.
    """
    waiting = list(range(len(items)))[::-1]
    workers = [_Worker(make, timeout) for _ in range(min(jobs, len(items)))]
    try:
        while waiting or any(w.busy for w in workers):
            for worker in workers:
                if worker.free and waiting and worker.give(waiting[-1], items[waiting[-1]]):
                    waiting.pop()
            for worker in _heard_of(workers):
                finished = worker.hear()
                if finished is not None:
                    yield finished
    finally:
        for worker in workers:
            worker.stop()


class Single(Generic[Item, Result]):
    """One process that answers items as they come, for a caller that has no list of them; otherwise as `run_each`."""

    def __init__(self, make: Callable[[], Callable[[Item], Result]], timeout: float | None) -> None:
        self._worker = _Worker(make, timeout)

    def ask(self, item: Item) -> Result | Failed:
        """The answer, or a `Failed`. What `make` raises is raised here."""
        while not (self._worker.free and self._worker.give(0, item)):
            self._hear()
        while (answered := self._hear()) is None:
            pass
        return answered[1]

    def _hear(self) -> tuple[int, Any] | None:
        for worker in _heard_of([self._worker]):
            return worker.hear()
        return None

    def stop(self) -> None:
        self._worker.stop()


def failure(error: Exception) -> Failed:
    """An exception as a `Failed`: Hilum's own say what is wrong; any other is named, and its trace kept for the log."""
    if isinstance(error, HilumError):
        return Failed(one_line(error.fault), error.mend)
    fault = f"unexpected {type(error).__name__}: {one_line(str(error))[:500]}"
    return Failed(fault, "This is a fault of Hilum: please report it with the log", traceback.format_exc())


class _Worker:
    """One process and what it is doing: starting, free, or busy with an item until a deadline."""

    def __init__(self, make: Callable[[], Callable[[Any], Any]], timeout: float | None) -> None:
        self.make, self.timeout = make, timeout
        self.index: int | None = None
        self.start()

    def start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs, self.make), daemon=True)
        self.process.start()
        theirs.close()
        self.ready, self.index = False, None
        self.deadline = time.monotonic() + START_LIMIT

    @property
    def busy(self) -> bool:
        return self.index is not None

    @property
    def free(self) -> bool:
        return self.ready and not self.busy

    def give(self, index: int, item: Any) -> bool:
        """Hand over an item; False where the process died while it was idle, which is no fault of this item."""
        try:
            self.connection.send(item)
        except OSError:
            self.replace()
            return False
        self.index = index
        self.deadline = time.monotonic() + self.timeout if self.timeout is not None else float("inf")
        return True

    def hear(self) -> tuple[int, Any] | None:
        """What the process says, or its death or lateness, as the outcome of its item; None where it only got ready."""
        index = self.index
        if not self.connection.poll():
            if time.monotonic() < self.deadline:
                return None
            self.replace()
            if index is None:
                raise HilumError(f"a worker did not start within {START_LIMIT:g} seconds")
            mend = "Give it more time with --timeout, or leave it out"
            return index, Failed(f"its analysis took longer than {self.timeout:g} seconds", mend, died=True)
        try:
            message = self.connection.recv()
        except (EOFError, OSError):
            fault = self.death()
            if index is None and not self.ready:
                raise HilumError(f"a worker could not start: {fault}") from None
            self.replace()
            mend = "It may need more memory, or be damaged"
            return None if index is None else (index, Failed(fault, mend, died=True))
        if index is None:
            if message != _READY:
                raise message
            self.ready, self.deadline = True, float("inf")
            return None
        self.index, self.deadline = None, float("inf")
        return index, message

    def death(self) -> str:
        self.process.join(5)
        code = self.process.exitcode
        if code is not None and code < 0:
            return f"the process that analysed it was killed ({signal.Signals(-code).name})"
        return f"the process that analysed it ended (exit code {code})"

    def replace(self) -> None:
        self.stop()
        self.start()

    def stop(self) -> None:
        self.process.kill()
        self.process.join()
        self.process.close()
        self.connection.close()


def _heard_of(workers: list[_Worker]) -> list[_Worker]:
    """Workers that have something to say (a dead one's connection is at its end) or are late; waits for the first."""
    soonest = min(w.deadline for w in workers)
    patience = None if soonest == float("inf") else max(0.0, soonest - time.monotonic())
    speaking = set(wait([w.connection for w in workers], patience))
    now = time.monotonic()
    return [w for w in workers if w.connection in speaking or w.deadline <= now]


def _serve(connection: Connection, make: Callable[[], Callable[[Any], Any]]) -> None:
    """The worker's side: get ready, then an answer for each item until the parent closes the connection."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what an interrupt means
    try:
        work = make()
    except Exception as error:
        connection.send(error if isinstance(error, HilumError) else HilumError(failure(error).fault))
        return
    connection.send(_READY)
    while True:
        try:
            item = connection.recv()
        except EOFError:
            return
        try:
            answer: Any = work(item)
        except Exception as error:
            answer = failure(error)
        connection.send(answer)
