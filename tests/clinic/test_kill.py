"""kill -9 at random times: at the end every film is there once, with one result."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from hilum.bundles import save
from hilum.clinic.ledger import Instances, Ledger, Queue
from hilum.clinic.store import Store
from tests.bundles_for_tests import classifier_bundle
from tests.phantom import phantom

from .helpers import a_film, files_under, film_of

ROOT = Path(__file__).resolve().parents[2]
FILMS = 30


def start(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, *arguments], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )


def killed(process: subprocess.Popen[str], seconds: float) -> list[str]:
    """What the process said in a second more or less from its first word; it is killed then, unless it ended before."""
    assert process.stdout is not None
    first = process.stdout.readline()
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
        process.wait()
    return [line.strip() for line in (first, *process.stdout) if line.endswith("\n")]


def write_films(folder: Path, count: int) -> list[Path]:
    folder.mkdir()
    for seed in range(count):
        (folder / f"{seed}.dcm").write_bytes(a_film(seed))
    return sorted(folder.iterdir())


def check(root: Path, count: int) -> None:
    """Each instance once, with one result whose folder is whole; no folder that no result names, no film missing."""
    store, ledger = Store(root, reserve=0), Ledger.open(root / "ledger.sqlite3")
    queue = Queue(ledger)
    jobs = queue.jobs(limit=10_000)
    assert len({job["sop_uid"] for job in jobs}) == len(jobs) == count
    assert {job["state"] for job in jobs} == {"done"}, [j for j in jobs if j["state"] != "done"]
    for job in jobs:
        (result,) = queue.results(job["instance_id"])
        assert (store.result(result["folder"]) / "report.json").is_file()
    # What a kill left between a rename and its row is no result; it is swept when it is old.
    for path in (*store.results.glob("*/*"), *store.work.iterdir()):
        os.utime(path, (0, 0))
    instances = Instances(ledger)
    store.sweep(instances.files(), queue.folders())
    assert {p.name for p in store.results.glob("*/*")} == queue.folders()
    assert not files_under(store.work)
    assert {p.name for p in files_under(store.films)} == instances.files()
    ledger.close()


def test_doors_and_workers_killed_at_random_lose_and_double_nothing(tmp_path: Path) -> None:
    chance = random.Random(7)
    films, root = write_films(tmp_path / "films", FILMS), tmp_path / "store"
    waiting = [str(film) for film in films]
    for kill in range(3):
        taken = killed(
            start("-m", "tests.clinic.victim", "take", str(root), *waiting), chance.uniform(0, 0.5)
        )
        assert kill or taken
        # Who got no answer sends again; the film in hand at the kill may or may not be in.
        waiting = [film for film in waiting if film not in taken] + waiting[:1]
    last = start("-m", "tests.clinic.victim", "take", str(root), *waiting)
    assert last.wait(120) == 0
    for _ in range(4):
        killed(start("-m", "tests.clinic.victim", "work", str(root)), chance.uniform(0.0, 1.5))
    assert start("-m", "tests.clinic.victim", "work", str(root)).wait(120) == 0
    check(root, FILMS)


@pytest.mark.slow
def test_the_real_worker_is_killed_and_finishes(tmp_path: Path) -> None:
    bundle, root = save(classifier_bundle(), tmp_path / "toy"), tmp_path / "store"
    films = tmp_path / "films"
    films.mkdir()
    for seed in range(2):
        pixels = np.rint(phantom(seed, 160, 144).pixels * 4095).astype(np.int64)
        (films / f"{seed}.dcm").write_bytes(film_of(pixels, seed))
    hilum = ["-c", "from hilum.cli import main; main()"]
    added = start(*hilum, "queue", "add", *map(str, sorted(films.iterdir())), "--store", str(root))
    assert added.wait(120) == 0
    work = [*hilum, "worker", "--store", str(root), "--bundle", str(bundle), "--samples", "0", "--once"]
    ledger = Ledger.open(root / "ledger.sqlite3")
    first = start(*work)
    until = time.monotonic() + 60
    while not Queue(ledger).counts()["running"] and time.monotonic() < until:
        time.sleep(0.1)
    first.kill()
    first.wait()
    assert Queue(ledger).counts()["running"] == 1, "killed with a job in hand"
    ledger.close()
    assert start(*work).wait(180) == 0
    check(root, 2)


@pytest.mark.slow
def test_node_server_and_workers_are_killed_while_senders_send_again() -> None:
    """`benchmarks.kill_clinic` in short form; in full it is 1,000 studies."""
    command = ["-m", "benchmarks.kill_clinic", "--studies", "24", "--kills", "6", "--pace", "1"]
    process = start(*command)
    told, _ = process.communicate(timeout=600)
    assert process.returncode == 0, told
    assert "| killed | node 2, server 2, workers 2 |" in told
    assert "| results a study: how many studies | 1: 24 |" in told
