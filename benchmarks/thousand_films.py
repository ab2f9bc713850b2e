"""A folder of many films, a few of them damaged, through `hilum analyze` as a user runs it.

    python -m benchmarks.thousand_films [--films 1000] [--real FOLDER] [--jobs 2] [--format json]

Makes a folder of so many films: those that lie under `--real`, spread evenly over its subfolders, and drawn ones (PNG) where
they are too few; three of them are damaged: cut short, text, empty. Runs the command in a process of its own with the
built-in bundles and prints how many reports there are, each failure by name, the exit code, wall time, the peak memory of
the largest process and, on Linux, how the largest process's memory went from tenth to tenth of the way. Ends with 1 where
other films failed than the three.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import resource
import shutil
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
DAMAGED = ("cut.png", "text.png", "empty.dcm")
COMMAND = (sys.executable, "-c", "from hilum.cli import main; main()", "analyze")
LOOK_EVERY = 0.5  # seconds


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
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        films, out = Path(place) / "films", Path(place) / "reports"
        real = lay_out(films, options.films, options.real)
        print(
            f"{options.films} films: {real} real, {options.films - real - 3} drawn, 3 damaged; {options.jobs} workers"
        )
        code, seconds, sizes = run(films, out, options)
        index = json.loads((out / "index.json").read_text())
        for failure in index["failures"]:
            print(f"failed: {Path(failure['file']).name}: {failure['fault']}")
        found, failed = len(list(out.glob("*.json"))) - 1, {Path(f["file"]).name for f in index["failures"]}
    print(f"{found} reports, {len(failed)} named failures, exit code {code}")
    print(
        f"{seconds:.1f} s wall, {1000 * seconds / options.films:.0f} ms a film; start of the workers included"
    )
    print(f"peak memory of the largest process: {peak():.0f} MiB")
    for tenth, size in sizes.items():
        print(f"  after {tenth / 10:4.0%} of the films: {size:.0f} MiB in the largest process")
    raise SystemExit(not (code == 1 and failed == set(DAMAGED) and found == options.films - len(DAMAGED)))


def lay_out(folder: Path, count: int, real: Path | None) -> int:
    """Write the films; how many of them are real."""
    folder.mkdir()
    wanted = count - len(DAMAGED)
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
    for name, content in zip(DAMAGED, (whole[: len(whole) // 3], b"this is no film\n", b""), strict=True):
        (folder / name).write_bytes(content)
    return len(chosen)


def spread(root: Path) -> list[Path]:
    """The films under a folder, one of each subfolder in turn."""
    folders: dict[Path, list[Path]] = defaultdict(list)
    for path in images(root):
        folders[path.parent].append(path)
    return [path for path in chain.from_iterable(zip_longest(*folders.values())) if path is not None]


def run(films: Path, out: Path, options: argparse.Namespace) -> tuple[int, float, dict[int, float]]:
    """Exit code, seconds, and the largest process's MiB at each tenth of the films."""
    words = [*COMMAND, films, "--out", out, "--format", options.format, "--jobs", str(options.jobs)]
    started, sizes = time.perf_counter(), {}
    with subprocess.Popen([str(word) for word in words], stdout=subprocess.DEVNULL) as process:
        while process.poll() is None:
            tenth = 10 * len(list(out.glob("*.json"))) // options.films
            if tenth and tenth not in sizes and (size := largest(process.pid)):
                sizes[tenth] = size
            time.sleep(LOOK_EVERY)
    return process.returncode, time.perf_counter() - started, sizes


def largest(pid: int) -> float:
    """Resident MiB of the largest process below and with `pid` (Linux; 0 elsewhere)."""
    size = 0.0
    with contextlib.suppress(OSError):  # it may end while we look
        size = int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * resource.getpagesize() / 2**20
        below = Path(f"/proc/{pid}/task").glob("*/children")
        for child in " ".join(path.read_text() for path in below).split():
            size = max(size, largest(int(child)))
    return size


def peak() -> float:
    """MiB that the largest of all ended processes below this one ever held."""
    held = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    return held / 2**20 if sys.platform == "darwin" else held / 2**10


if __name__ == "__main__":
    main()
