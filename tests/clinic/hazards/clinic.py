"""A clinic of running processes on one store: `hilum serve`, `hilum node`, `hilum watch` of an archive, `hilum worker`."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from typing import Any

import psutil

from hilum.bundles import save
from hilum.clinic.ledger import Ledger, Pulls, Queue, Tokens, Trail
from hilum.clinic.ledger.trail import Entry
from tests.bundles_for_tests import classifier_bundle
from tests.clinic.archives import Small, small_archive
from tests.clinic.helpers import wait_until

from .tight import FILM, WAIT

ROOT = Path(__file__).resolve().parents[3]
TITLE = "XRAY"  # who may send by C-STORE
SETTLED = 1200.0  # seconds until everything must have come to an end


@dataclass
class Clinic:
    """`place` holds all there is: `store`, `films` and `out` of the command line, `logs`, and `a/b`, where the processes
    stand. `token` may do everything. `broken`: studies that the archive sends as none should. `largest`: bytes that any of
    the processes, or one that they started, ever had in memory."""

    place: Path
    archive: Small
    ledger: Ledger
    token: str
    bundle: Path
    processes: dict[str, subprocess.Popen[str]] = field(default_factory=dict)
    ports: dict[str, int] = field(default_factory=dict)
    broken: set[str] = field(default_factory=set)
    largest: int = 0

    @property
    def store(self) -> Path:
        return self.place / "store"

    def hilum(self, *words: object, name: str, module: bool = False) -> subprocess.Popen[str]:
        """Start a command; what it says goes to `logs`, its first line to whoever asks `port`."""
        run = ["-m", "tests.clinic.hazards.tight"] if module else ["-c", "from hilum.cli import main; main()"]
        env = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]),
            "PYTHONUNBUFFERED": "1",
            "OMP_NUM_THREADS": "1",
            "COLUMNS": "500",
        }
        log = self.place / "logs" / f"{name}.err"
        with log.open("w") as errors:
            started = subprocess.Popen(
                [sys.executable, *run, "--verbose", *map(str, words)],
                stdout=subprocess.PIPE, stderr=errors, text=True, env=env, cwd=self.place / "a" / "b",
            )  # fmt: skip
        self.processes[name] = started
        return started

    def ask(
        self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None,
        token: str | None = None, chunked: bool = False,
    ) -> tuple[int, dict[str, str], bytes]:  # fmt: skip
        """A request to the service: status, headers, body."""
        there = HTTPConnection("127.0.0.1", self.ports["serve"], timeout=120)
        sent = {"Authorization": f"Bearer {token or self.token}", **(headers or {})}
        try:
            there.request(method, path, body, sent, encode_chunked=chunked)
            answer: HTTPResponse = there.getresponse()
            return answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read()
        finally:
            there.close()

    def get(self, path: str) -> Any:
        status, _, body = self.ask("GET", path)
        assert status == 200, body
        return json.loads(body)

    def trail(self, event: str | None = None) -> list[Entry]:
        """What the audit trail holds by now, of one kind or all of it."""
        return [entry for entry in Trail(self.ledger).entries() if event in (None, entry.event)]

    def logs(self) -> str:
        return "".join(path.read_text() for path in sorted((self.place / "logs").iterdir()))

    def _watch_memory(self, over: threading.Event) -> None:
        while not over.wait(0.5):
            for process in psutil.Process().children(recursive=True):
                try:
                    status = Path(f"/proc/{process.pid}/status").read_text()
                except OSError:
                    continue
                if peak := re.search(r"VmHWM:\s+(\d+) kB", status):
                    self.largest = max(self.largest, int(peak[1]) * 1024)


@contextmanager
def running(place: Path) -> Iterator[Clinic]:
    """The processes from start to end; they must end by themselves, with 0, when they are told to."""
    for name in ("store", "films", "out", "logs", "a/b", "bundles"):
        (place / name).mkdir(parents=True)
    with ExitStack() as stack:
        archive = stack.enter_context(small_archive())
        ledger = Ledger.open(place / "store" / "ledger.sqlite3")
        stack.callback(ledger.close)
        token = Tokens(ledger).make("me", ("submit", "read", "review", "admin"))
        bundle = save(classifier_bundle(), place / "bundles" / "toy")
        clinic = Clinic(place, archive, ledger, token, bundle)
        over = threading.Event()
        memory = threading.Thread(target=clinic._watch_memory, args=(over,), daemon=True)
        memory.start()
        stack.callback(over.set)
        stack.callback(_stop, clinic)
        _start(clinic)
        yield clinic


def _start(clinic: Clinic) -> None:
    store = ("--store", clinic.store)
    alone = (*store, "--workers", 0)
    largest = ("--largest", FILM // 2**20)
    clinic.hilum("serve", *alone, *largest, "--port", 0, name="serve", module=True)
    clinic.hilum(
        "node", *alone, *largest, "--port", 0, "--peer", f"{TITLE}@127.0.0.1", "--idle", WAIT,
        name="node", module=True,
    )  # fmt: skip
    clinic.hilum("worker", *store, "--bundle", clinic.bundle, "--samples", 0, name="worker")
    for name in ("serve", "node"):
        said = clinic.processes[name].stdout
        assert said is not None
        found = re.search(r":(\d+)$", said.readline().strip())
        assert found is not None, clinic.logs()
        clinic.ports[name] = int(found[1])


def start_watch(clinic: Clinic) -> None:
    """The archive must hold its films by now: they are fetched in the first round."""
    clinic.hilum(
        "watch", clinic.archive.url, "--store", clinic.store, "--workers", 0, "--since", "all", "--interval", 1,
        name="watch", module=True,
    )  # fmt: skip


def _stop(clinic: Clinic) -> None:
    for name in ("watch", "node", "serve", "worker"):
        if name in clinic.processes:
            clinic.processes[name].send_signal(signal.SIGTERM)
    for process in clinic.processes.values():
        with suppress(subprocess.TimeoutExpired):
            process.wait(60)
        process.kill()  # one that did not end has another code than 0 by this
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


def settle(clinic: Clinic) -> None:
    """Wait until nothing waits: every study of the archive was fetched or put off, every film was analysed or set apart."""
    pulls, queue = Pulls(clinic.ledger), Queue(clinic.ledger)

    def quiet() -> bool:
        waiting = [
            pull
            for pull in pulls.all("waiting", 1000)
            if pull["attempts"] == 0 or pull["study_uid"] not in clinic.broken
        ]
        counts = queue.counts()
        return not waiting and counts["queued"] + counts["running"] == 0

    wait_until(lambda: bool(pulls.all()), SETTLED)
    wait_until(quiet, SETTLED)
    time.sleep(1.5)  # another round of the watch finds nothing more
    wait_until(quiet, SETTLED)
