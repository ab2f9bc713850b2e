"""Processes that fail, die, hang or never start cost only their own item."""

from __future__ import annotations

import os
import signal
import time
from functools import partial

import pytest

from hilum.analysis.workers import Failed, run_each
from hilum.errors import HilumError, ReadError


def work(item: object) -> object:
    match item:
        case "die":
            os.kill(os.getpid(), signal.SIGKILL)
        case "leave":
            raise SystemExit(3)
        case "hang":
            time.sleep(60)
        case "refuse":
            raise ReadError("it is empty", path="a\nb", mend="Send it again")
        case "break":
            raise ZeroDivisionError("by\nzero")
        case "memory":
            raise MemoryError
    return item, os.getpid()


def make_worker(start_fault: str | None = None):
    if start_fault == "die":
        os._exit(7)
    if start_fault is not None:
        raise HilumError(start_fault)
    return work


def outcomes(items: list, jobs: int, timeout: float | None = 20) -> dict:
    return dict(run_each(make_worker, items, jobs, timeout))


def test_each_fault_costs_its_own_item():
    items = [1, "refuse", 2, "die", "break", 3, "leave", "memory", 4]
    done = outcomes(items, jobs=2)
    assert sorted(done) == list(range(len(items)))
    assert [done[i][0] for i in (0, 2, 5, 8)] == [1, 2, 3, 4]
    assert done[1] == Failed("it is empty", "Send it again")
    assert "SIGKILL" in done[3].fault
    assert done[4].fault == "unexpected ZeroDivisionError: by\\nzero"
    assert "Traceback" in done[4].trace
    assert "exit code 3" in done[6].fault
    assert done[7].fault.startswith("unexpected MemoryError")


def test_an_item_that_hangs_is_given_up_and_the_others_finish():
    started = time.monotonic()
    done = outcomes(["hang", 1, 2], jobs=1, timeout=1.5)
    assert "longer than 1.5 seconds" in done[0].fault
    assert [done[1][0], done[2][0]] == [1, 2]
    assert time.monotonic() - started < 40


def test_work_is_shared_by_as_many_processes_as_asked_for():
    done = outcomes(list(range(12)), jobs=2)
    assert len({pid for _, pid in done.values()}) <= 2
    assert outcomes([], jobs=2) == {}


@pytest.mark.parametrize(
    ("fault", "words"), [("no such bundle", "no such bundle"), ("die", "could not start.*exit code 7")]
)
def test_workers_that_cannot_start_are_an_error_of_the_call(fault, words):
    with pytest.raises(HilumError, match=words):
        list(run_each(partial(make_worker, fault), [1, 2], 2, None))


def test_no_process_outlives_the_call():
    running = run_each(make_worker, list(range(5)), 2, None)
    _, (_, pid) = next(running)
    running.close()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
