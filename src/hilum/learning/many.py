"""Many runs as one job: folds, arms and seeds, one after another or several at once, each resumable by itself.

A run that fails is named and loses no other; one that has ended is not touched; Ctrl-C stops all, and the same call goes
on where they were.
"""

from __future__ import annotations

import csv
import logging
import multiprocessing
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path

from hilum.errors import HilumError, RecipeError
from hilum.learning.children import settle
from hilum.learning.recipe import Recipe

LOOK_EVERY = 1.0  # seconds between two looks at how far the runs are

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Job:
    """A recipe and the folder of its run."""

    recipe: Recipe
    folder: Path


@dataclass(frozen=True)
class Outcome:
    """What became of a job: its bundle, or the fault that it ended with."""

    job: Job
    bundle: Path | None = None
    fault: str | None = None


def carry_out(jobs: Sequence[Job], at_once: int = 1, device: str = "auto") -> list[Outcome]:
    """Train every job; outcomes in the order of `jobs`.

    `at_once`: how many runs at a time, each in a process of its own with its share of the processor's threads, and of the
    CUDA devices in turn; what such a run says goes to `train.log` in its folder. 1: in this process. A script that asks
    for more than 1 calls this under `if __name__ == "__main__":`. RecipeError where two jobs share a folder.
    """
    _refuse_shared([job.folder for job in jobs])
    outcomes: dict[int, Outcome] = {}
    if at_once > 1:
        with _shown(jobs, outcomes) as look:
            _several(jobs, at_once, device, outcomes, look)
    else:  # each run shows its own progress
        for number, job in enumerate(jobs):
            logger.info("run %d of %d: %s", number + 1, len(jobs), job.folder)
            outcomes[number] = _alone(job, device)
            _tell(outcomes[number])
    return [outcomes[number] for number in range(len(jobs))]


def _refuse_shared(folders: Sequence[Path]) -> None:
    places = [Path(folder).resolve() for folder in folders]
    twice = sorted({str(place) for place in places if places.count(place) > 1})
    if twice:
        raise RecipeError(
            "two runs share this folder", path=twice[0], mend="Give each run a folder of its own"
        )


def _alone(job: Job, device: str) -> Outcome:
    from hilum.learning.run import train

    try:
        return Outcome(job, train(job.recipe, job.folder, device=device))
    except HilumError as error:
        return Outcome(job, fault=str(error))
    except Exception as error:  # a fault of ours, or memory: the other runs go on
        logger.exception("%s", job.folder)
        return Outcome(job, fault=f"{type(error).__name__}: {error}")


def _tell(outcome: Outcome) -> None:
    if outcome.fault is not None:
        logger.error("%s: %s", outcome.job.folder, outcome.fault)


@dataclass
class _Running:
    """A job in its process; `place` is its share of the machine, a number below `at_once`."""

    number: int
    place: int
    process: SpawnProcess
    answer: Connection


def _several(
    jobs: Sequence[Job], at_once: int, device: str, outcomes: dict[int, Outcome], look: Callable[[], None]
) -> None:
    """Keep `at_once` processes busy until every job has an outcome; end them all where this one is stopped."""
    todo = list(range(len(jobs)))
    running: list[_Running] = []
    try:
        while todo or running:
            while todo and len(running) < at_once:
                place = min(set(range(at_once)) - {run.place for run in running})
                running.append(_start(todo[0], jobs[todo.pop(0)], place, at_once, device))
            wait([run.process.sentinel for run in running], timeout=LOOK_EVERY)
            for run in [run for run in running if not run.process.is_alive()]:
                running.remove(run)
                outcomes[run.number] = _outcome(jobs[run.number], run)
                _tell(outcomes[run.number])
            look()
    finally:
        for run in running:
            run.process.kill()  # and no less: Lightning puts SIGTERM off to the end of the epoch
        for run in running:
            run.process.join()


def _start(number: int, job: Job, place: int, at_once: int, device: str) -> _Running:
    spawn = multiprocessing.get_context("spawn")
    answer, theirs = spawn.Pipe(duplex=False)
    process = spawn.Process(target=_work, args=(job, device, place, at_once, theirs))
    process.start()
    theirs.close()
    return _Running(number, place, process, answer)


def _outcome(job: Job, run: _Running) -> Outcome:
    try:
        return run.answer.recv() if run.answer.poll() else _died(job, run)
    except EOFError:
        return _died(job, run)
    finally:
        run.process.join()
        run.answer.close()


def _died(job: Job, run: _Running) -> Outcome:
    log = job.folder / "train.log"
    return Outcome(job, fault=f"its process ended with {run.process.exitcode} without a word; see {log}")


def _work(job: Job, device: str, place: int, at_once: int, answer: Connection) -> None:
    """The child's side: what it prints goes to the run's log, and it ends when its parent does."""
    try:
        settle(place, at_once, job.folder / "train.log")
        answer.send(_alone(job, device))
    except Exception as error:  # the log's folder cannot be made, say
        answer.send(Outcome(job, fault=f"{type(error).__name__}: {error}"))


@contextmanager
def _shown(jobs: Sequence[Job], outcomes: dict[int, Outcome]) -> Iterator[Callable[[], None]]:
    """A bar of all epochs where a person looks on; gives a function to call whenever there may be something new."""
    if not sys.stderr.isatty():
        yield lambda: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    wanted = [sum(phase.epochs for phase in job.recipe.phases) for job in jobs]
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        shown = bar.add_task("epochs", total=sum(wanted))

        def look() -> None:
            done = [
                total if i in outcomes else min(total, _epochs(jobs[i].folder))
                for i, total in enumerate(wanted)
            ]
            bar.update(shown, completed=sum(done), description=f"{len(outcomes)} of {len(jobs)} runs; epochs")

        yield look


def _epochs(folder: Path) -> int:
    """Epochs that a run has written down."""
    try:
        with (folder / "history.csv").open(newline="") as file:
            return sum(1 for _ in csv.DictReader(file))
    except OSError:
        return 0
