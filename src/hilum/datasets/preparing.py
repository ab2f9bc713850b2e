"""Films to prepared rows of a memory map, in this process or in many: the work that builds a pixel store."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import astuple, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hilum.datasets.fingerprint import file_digest, stamp
from hilum.datasets.manifest import Manifest
from hilum.errors import HilumError, ReadError
from hilum.images.crop import Window
from hilum.images.preparation import Preparation
from hilum.images.radiograph import Radiograph

IGNORE = 255
"""The value of mask pixels that say nothing: neither structure nor background."""

Windows = Callable[[Radiograph], Window]
"""Says which part of a film a model sees; it must survive the way to another process."""

_CHUNK = 16  # films a message to a worker: enough to hide the message, few enough for a smooth progress bar


@dataclass(frozen=True)
class Task:
    """One film to prepare. `mask`: a path, `""` for a film that has none, None where no masks are wanted."""

    row: int
    path: str
    mask: str | None = None
    mask_value: int | None = None
    mask_ignore: int | None = None


@dataclass(frozen=True)
class Outcome:
    """What became of a row: the SHA-256 of the film's file and of its mask's, or the fault.

    `stamp`: `fingerprint.stamp` of both files; None in stores of versions that took none. `window`: the fields of the
    `Window` that was prepared, but for what was hidden of it; None of a whole film.
    """

    row: int
    digest: str | None = None
    fault: str | None = None
    stamp: str | None = None
    mask_digest: str | None = None
    window: Sequence[Any] | None = None


def tasks(manifest: Manifest, rows: Iterable[int], masks: bool) -> list[Task]:
    """Tasks for these rows of the manifest, in order."""
    table = manifest.table
    out = []
    for row in map(int, rows):
        path = str(manifest.absolute(table["path"][row]))
        if not masks:
            out.append(Task(row, path))
            continue
        mask = table["mask"][row]
        value, ignore = (table[c][row] if c in table.columns else None for c in ("mask_value", "mask_ignore"))
        out.append(Task(row, path, str(manifest.absolute(mask)) if mask else "", value, ignore))
    return out


def run(
    todo: Sequence[Task],
    preparation: Preparation,
    folder: Path,
    workers: int,
    progress: bool,
    windows: Windows | None = None,
) -> Iterator[Outcome]:
    """Prepare each task into its row of the folder's maps; outcomes come as they are done, in any order."""
    given = preparation, folder, windows
    outcomes = _alone(todo, *given) if workers == 0 else _pooled(todo, workers, *given)
    if not progress:
        yield from outcomes
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("preparing films"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, transient=True) as bar:
        shown = bar.add_task("films", total=len(todo))
        for outcome in outcomes:
            bar.advance(shown)
            yield outcome


def prepare_one(
    task: Task,
    preparation: Preparation,
    images: NDArray,
    masks: NDArray | None,
    windows: Windows | None = None,
) -> Outcome:
    """Read, prepare and write one film, or its window, and its mask; a fault becomes the outcome, not an exception."""
    from hilum.images.read import read

    try:
        taken = stamp(task.path, task.mask)  # before the bytes: a file that changes meanwhile differs from it
        film = read(task.path)
        window = windows(film) if windows is not None else None
        if task.mask is not None and masks is not None:
            masks[task.row] = _prepared_mask(task, preparation, (film.height, film.width), window)
        images[task.row] = preparation.pixels(film.pixels, window)
        mask_digest = file_digest(task.mask) if task.mask else None
    except HilumError as fault:
        return Outcome(task.row, fault=str(fault))
    except (OSError, MemoryError, ValueError) as fault:
        return Outcome(task.row, fault=f"{task.path}: {type(fault).__name__}: {fault}")
    seen = None if window is None else astuple(replace(window, clear=None))[:-1]
    return Outcome(task.row, film.digest, None, taken, mask_digest, seen)


def canonical_mask(mask: NDArray[np.uint8], value: int | None, ignore: int | None) -> NDArray[np.uint8]:
    """A dataset's mask as 0 background, 1 structure, IGNORE; `value` None: all but 0 and `ignore` is
    structure.
    """
    out = ((mask != 0) if value is None else (mask == value)).astype(np.uint8)
    if ignore is not None:
        out[mask == ignore] = IGNORE
    return out


def read_mask(path: str | Path, size: tuple[int, int]) -> NDArray[np.uint8]:
    """The mask (h, w) as its file has it; ReadError where it cannot be read or is not of its film's `size`."""
    import cv2

    try:
        encoded = np.fromfile(path, np.uint8)  # cv2.imread does not raise, and warns on stderr
    except OSError as fault:
        raise ReadError(f"the mask cannot be opened: {fault.strerror}", path=path) from fault
    mask = cv2.imdecode(encoded, cv2.IMREAD_GRAYSCALE) if encoded.size else None
    if mask is None:
        raise ReadError("not a readable mask", path=path)
    if mask.shape != size:
        raise ReadError(f"the mask is {mask.shape} pixels, its film {size}", path=path)
    return mask.astype(np.uint8)


def _prepared_mask(
    task: Task, preparation: Preparation, size: tuple[int, int], window: Window | None
) -> NDArray[np.uint8]:
    if not task.mask:
        return np.full(preparation.size, IGNORE, np.uint8)
    mask = canonical_mask(read_mask(task.mask, size), task.mask_value, task.mask_ignore)
    return preparation.mask(mask, window)


def _open_maps(folder: Path) -> tuple[NDArray, NDArray | None]:
    masks = folder / "masks.npy"
    return np.load(folder / "images.npy", mmap_mode="r+"), np.load(
        masks, mmap_mode="r+"
    ) if masks.is_file() else None


def _alone(
    todo: Sequence[Task], preparation: Preparation, folder: Path, windows: Windows | None
) -> Iterator[Outcome]:
    images, masks = _open_maps(folder)
    for task in todo:
        yield prepare_one(task, preparation, images, masks, windows)


def _pooled(
    todo: Sequence[Task], workers: int, preparation: Preparation, folder: Path, windows: Windows | None
) -> Iterator[Outcome]:
    """Many processes. A film that takes its process down (a crash in a codec, out of memory) is found and
    named.
    """
    chunks = [list(todo[i : i + _CHUNK]) for i in range(0, len(todo), _CHUNK)]
    unsure: list[Task] = []
    while chunks:
        done: set[int] = set()
        try:
            with _pool(workers, preparation, folder, windows) as pool:
                for at, outcomes in _stream(pool, chunks, 4 * workers):
                    done.add(at)
                    yield from outcomes
        except BrokenProcessPool:
            # Which of the chunks under way did it cannot be told: they are done again, film by film.
            left = [chunk for at, chunk in enumerate(chunks) if at not in done]
            suspects, chunks = left[: 4 * workers], left[4 * workers :]
            unsure += [task for chunk in suspects for task in chunk]
        else:
            chunks = []
    while unsure:
        at = 0
        try:
            with _pool(1, preparation, folder, windows) as pool:
                for at, task in enumerate(unsure):  # noqa: B007 (read after the loop breaks)
                    yield from pool.submit(_work, [task]).result()
                unsure = []
        except BrokenProcessPool:
            fault = (
                f"{unsure[at].path}: reading it ended the process (a crash in a decoder, or out of memory)"
            )
            yield Outcome(unsure[at].row, fault=fault)
            unsure = unsure[at + 1 :]


def _stream(
    pool: ProcessPoolExecutor, chunks: Sequence[list[Task]], ahead: int
) -> Iterator[tuple[int, list[Outcome]]]:
    """Results of the chunks as they come, in submission order of at most `ahead` at a time: memory stays
    flat.
    """
    waiting: dict[Future[list[Outcome]], int] = {}
    for at, chunk in enumerate(chunks):
        waiting[pool.submit(_work, chunk)] = at
        while len(waiting) >= ahead:
            yield from _completed(waiting)
    while waiting:
        yield from _completed(waiting)


def _completed(waiting: dict[Future[list[Outcome]], int]) -> list[tuple[int, list[Outcome]]]:
    ready, _ = wait(waiting, return_when=FIRST_COMPLETED)
    return [(waiting.pop(future), future.result()) for future in ready]


def _pool(
    workers: int, preparation: Preparation, folder: Path, windows: Windows | None
) -> ProcessPoolExecutor:
    # Spawned, not forked: a fork would copy the locks of OpenCV's and torch's threads.
    context = multiprocessing.get_context("spawn")
    arguments = (preparation.model_dump_json(), str(folder), windows)
    return ProcessPoolExecutor(workers, mp_context=context, initializer=_start, initargs=arguments)


_worker: dict[str, Any] = {}


def _start(preparation: str, folder: str, windows: Windows | None) -> None:
    """In a worker: one thread for OpenCV and torch, the maps opened once, and an end when the parent ends."""
    import cv2

    cv2.setNumThreads(0)
    if windows is not None:
        import torch

        torch.set_num_threads(1)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    images, masks = _open_maps(Path(folder))
    _worker.update(
        preparation=Preparation.model_validate_json(preparation), images=images, masks=masks, windows=windows
    )


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(
            1
        )  # the parent was killed: nobody waits for this work, and the maps are about to be reopened


def _work(chunk: list[Task]) -> list[Outcome]:
    return [prepare_one(task, **_worker) for task in chunk]
