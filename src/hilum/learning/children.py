"""Processes that train for this one: they end when it does, write a log, and take their share of the machine."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any

from hilum.errors import HilumError

logger = logging.getLogger(__name__)


def in_processes(count: int, work: Callable[..., Any], *given: Any) -> Any:
    """`work(rank, count, *given)` in `count` new processes; what the first gives back, or the first error of any.

    Where one fails or dies the others are ended.
    """
    spawn = multiprocessing.get_context("spawn")
    running: dict[int, tuple[SpawnProcess, Connection]] = {}
    given_back: Any = None
    try:
        for rank in range(count):
            answer, theirs = spawn.Pipe(duplex=False)
            process = spawn.Process(target=_answer, args=(theirs, work, rank, count, *given))
            process.start()
            theirs.close()
            running[rank] = process, answer
        while running:
            wait([answer for _, answer in running.values()])
            for rank in [rank for rank, (_, answer) in running.items() if answer.poll()]:
                process, answer = running.pop(rank)
                result = _heard(rank, process, answer)
                given_back = result if rank == 0 else given_back
        return given_back
    finally:
        for process, _ in running.values():
            process.kill()
        for process, _ in running.values():
            process.join()


def _heard(rank: int, process: SpawnProcess, answer: Connection) -> Any:
    try:
        result, error = answer.recv()
    except EOFError:
        process.join()
        raise HilumError(
            f"process {rank} of those that trained together ended with {process.exitcode} without a word",
            mend="It may have run out of memory. The same command goes on after the last whole epoch",
        ) from None
    if error is not None:
        raise error
    return result


def _answer(answer: Connection, work: Callable[..., Any], *given: Any) -> None:
    result: Any = None
    fault: HilumError | None = None
    try:
        result = work(*given)
    except HilumError as error:
        fault = error
    except Exception as error:
        logger.exception("one of the processes that train together failed")
        fault = HilumError(f"{type(error).__name__}: {error}")
    answer.send((result, fault))


def settle(place: int, of: int, log: Path | None) -> None:
    """What a child does first: it is number `place` of `of` that work at a time. What it prints goes to `log`, where one is
    given.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent hears Ctrl-C and ends its children
    threading.Thread(target=_end_with_parent, daemon=True).start()
    if log is not None:
        _log_to(log)
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("hilum").setLevel(logging.INFO)
    _share(place, max(1, (os.cpu_count() or 1) // of))


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _log_to(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
        os.dup2(log, stream.fileno())


def _share(place: int, threads: int) -> None:
    """This process's threads, and its CUDA device where there are several."""
    import cv2
    import torch

    torch.set_num_threads(threads)
    cv2.setNumThreads(threads)
    devices = torch.cuda.device_count()  # asks without starting CUDA, which reads the variable when it starts
    if devices > 1:
        visible = os.environ.get("CUDA_VISIBLE_DEVICES") or ",".join(map(str, range(devices)))
        os.environ["CUDA_VISIBLE_DEVICES"] = visible.split(",")[place % devices]
