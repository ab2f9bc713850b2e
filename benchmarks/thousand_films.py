"""A folder of many films, some of them damaged, through `hilum analyze` as a user runs it, while its workers are killed.

    python -m benchmarks.thousand_films [--films 1000] [--real FOLDER] [--jobs 2] [--format json] [--damaged 3] [--kills 0]

Makes a folder of so many films: those that lie under `--real` (masks left out), spread evenly over its subfolders, and
drawn ones (PNG) where they are too few; `--damaged` of them are cut short, text or empty, in turn. Runs the command in a
process of its own with the built-in bundles, kills one of its workers (SIGKILL, Linux) `--kills` times, evenly over the
way, and prints how many reports there are, failures by name, the exit code, wall time, films a second, share of the cores in
use, the peak memory of the largest process and, on Linux, how speed and the largest process's memory went from tenth to
tenth of the way.
Ends with 1 where a film failed that was neither damaged nor in a killed worker, or one has neither report nor failure.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from itertools import chain, zip_longest
from pathlib import Path

import cv2
import numpy as np
from tests.phantom import phantom

from hilum.datasets.disk import images

PEOPLE = 12  # drawn ones; each of their films is cut to another size
NAMED = 10  # failures that are printed
COMMAND = (sys.executable, "-c", "from hilum.cli import main; main()", "analyze")
LOOK_EVERY = 0.5  # seconds
LOADED = 250  # MiB: a worker with its bundles


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--films", type=int, default=1000)
    parser.add_argument(
        "--real", type=Path, metavar="FOLDER", help="a folder that holds real films, at any depth"
    )
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--format", default="json")
    parser.add_argument("--damaged", type=int, default=3)
    parser.add_argument("--kills", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        films, out = Path(place) / "films", Path(place) / "reports"
        real = lay_out(films, options.films, options.real, options.damaged)
        drawn = options.films - real - options.damaged
        print(
            f"{options.films} films: {real} real, {drawn} drawn, {options.damaged} damaged; {options.jobs} workers"
        )
        before = cpu_seconds()
        code, seconds, sizes, kills = run(films, out, options)
        used = cpu_seconds() - before
        index = json.loads((out / "index.json").read_text())
        faults = {Path(f["file"]).name: f["fault"] for f in index["failures"]}
        damaged = {path.name for path in films.glob("damaged-*")}
        found = len(list(out.glob("*.json"))) - 1
    for name, fault in list(faults.items())[:NAMED]:
        print(f"failed: {name}: {fault}")
    lost = {name for name, fault in faults.items() if "was killed" in fault}
    print(
        f"{found} reports, {len(faults)} named failures, exit code {code}; {kills} workers killed, {len(lost)} films lost"
    )
    print(
        f"{seconds:.1f} s wall, {options.films / seconds:.2f} films/s, {1000 * seconds / options.films:.0f} ms a film, start"
        f" of the workers included; {used / seconds / (os.cpu_count() or 1):.0%} of the cores"
    )
    print(f"peak memory of the largest process: {peak():.0f} MiB")
    then = 0.0
    for tenth, (size, at) in sizes.items():
        speed = options.films / 10 / (at - then)
        print(
            f"  after {tenth / 10:4.0%} of the films: {size:.0f} MiB in the largest process, {speed:.2f} films/s"
        )
        then = at
    whole = found + len(faults) == options.films
    raise SystemExit(not (whole and set(faults) == damaged | lost and len(lost) <= kills))


def lay_out(folder: Path, count: int, real: Path | None, damaged: int) -> int:
    """Write the films; how many of them are real."""
    folder.mkdir()
    wanted = count - damaged
    chosen = spread(real)[:wanted] if real else []
    for number, path in enumerate(chosen):
        shutil.copyfile(path, folder / f"real-{number:05}{path.suffix}")
    people = [phantom(seed, 640, 560, lesions=seed % 3).pixels for seed in range(PEOPLE)]
    drawn = np.random.default_rng(0)
    for number in range(wanted - len(chosen)):
        height, width = drawn.integers(560, 640), drawn.integers(500, 560)
        film = np.rint(people[number % PEOPLE][:height, :width] * 255).astype(np.uint8)
        cv2.imwrite(str(folder / f"drawn-{number:05}.png"), film)
    whole = cv2.imencode(".png", np.rint(people[0] * 255).astype(np.uint8))[1].tobytes()
    contents = whole[: len(whole) // 3], b"this is no film\n", b""
    for number in range(damaged):
        (folder / f"damaged-{number:05}.png").write_bytes(contents[number % len(contents)])
    return len(chosen)


def spread(root: Path) -> list[Path]:
    """The films under a folder, one of each subfolder in turn."""
    folders: dict[Path, list[Path]] = defaultdict(list)
    for path in images(root):
        if "mask" in str(path.relative_to(root)).lower():
            continue
        folders[path.parent].append(path)
    return [path for path in chain.from_iterable(zip_longest(*folders.values())) if path is not None]


def run(
    films: Path, out: Path, options: argparse.Namespace
) -> tuple[int, float, dict[int, tuple[float, float]], int]:
    """Exit code, seconds, the largest process's MiB and the seconds passed at each tenth of the films, workers killed."""
    words = [*COMMAND, films, "--out", out, "--format", options.format, "--jobs", str(options.jobs)]
    started, sizes, kills = time.perf_counter(), {}, 0
    with subprocess.Popen([str(word) for word in words], stdout=subprocess.DEVNULL) as process:
        while process.poll() is None:
            done = sum(entry.name.endswith(".json") for entry in os.scandir(out)) if out.is_dir() else 0
            tenth = 10 * done // options.films
            if tenth and tenth not in sizes and (size := largest(process.pid)):
                sizes[tenth] = size, time.perf_counter() - started
            if kills < options.kills and done > (kills + 0.5) * options.films / options.kills:
                kills += kill_one(process.pid)
            time.sleep(LOOK_EVERY)
    return process.returncode, time.perf_counter() - started, sizes, kills


def kill_one(pid: int) -> bool:
    """Kill a worker below `pid`, of those that have loaded their bundles; was there one?"""
    workers = [child for child in children(pid) if largest(child) > LOADED]
    if not workers:
        return False
    with contextlib.suppress(ProcessLookupError):
        os.kill(random.choice(workers), signal.SIGKILL)
    return True


def largest(pid: int) -> float:
    """Resident MiB of the largest process below and with `pid` (Linux; 0 elsewhere)."""
    size = 0.0
    with contextlib.suppress(OSError):  # it may end while we look
        size = int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * resource.getpagesize() / 2**20
        for child in children(pid):
            size = max(size, largest(child))
    return size


def children(pid: int) -> list[int]:
    """Processes that `pid` started (Linux; none elsewhere)."""
    below = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(child) for path in below for child in path.read_text().split()]


def cpu_seconds() -> float:
    """Processor seconds of all ended processes below this one."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def peak() -> float:
    """MiB that the largest of all ended processes below this one ever held."""
    held = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    return held / 2**20 if sys.platform == "darwin" else held / 2**10


if __name__ == "__main__":
    main()
