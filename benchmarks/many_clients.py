"""Clients at once on `hilum serve`: errors, answer times, and whether the server's memory is flat.

    python -m benchmarks.many_clients [--clients 20] [--seconds 120]

Each client goes round and round: it hands in a film of its own (1,024 x 1,024 pixels, made here, 2 MiB), asks for its
state until it is done, and fetches its report, its pixels, the worklist and the metrics. The server is `hilum serve` in a
process of its own; a worker beside it writes a report of a line of each film, so that the service and not a network is under
test. Memory is that of the server and the processes it started (proportional set size), each second.

Prints errors, answers a second, answer times by request, and memory in each quarter of the time; ends with 1 where an
answer was no success, a film lacks its one result, or memory in the last quarter is more than a tenth above that of the
second.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from tests.clinic.helpers import StandIn, film_of
from tests.phantom import phantom

from hilum.clinic.ledger import Ledger, Queue, Tokens
from hilum.clinic.store import Store
from hilum.clinic.worker import Worker

SERVE = ("-c", "from hilum.cli import main; main()", "serve", "--workers", "0", "--port", "0")


@dataclass
class Answers:
    """Seconds of each answer by the name of its request, and what was no success."""

    seconds: dict[str, list[float]] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    films: int = 0


class Client:
    """One client with a connection of its own."""

    def __init__(self, port: int, secret: str, answers: Answers) -> None:
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        self.headers = {"Authorization": f"Bearer {secret}", "Content-Type": "application/dicom"}
        self.answers = answers

    def ask(self, name: str, path: str, body: bytes | None = None) -> bytes:
        """The answer's body; empty where it was no success, which is noted."""
        began = time.monotonic()
        try:
            self.connection.request("GET" if body is None else "POST", path, body, self.headers)
            answer = self.connection.getresponse()
            content = answer.read()
        except (OSError, http.client.HTTPException) as error:
            self.connection.close()
            self.answers.faults.append(f"{name}: {error!r}")
            return b""
        self.answers.seconds.setdefault(name, []).append(time.monotonic() - began)
        if answer.status >= 300:
            self.answers.faults.append(f"{name}: {answer.status} {content[:200]!r}")
            return b""
        return content

    def go_round(self, film: bytes) -> None:
        """All that a client asks of one film."""
        taken = self.ask("hand a film in", "/api/v1/films", film)
        if not taken:
            return
        number = json.loads(taken)["films"][0]["id"]
        until = time.monotonic() + 120
        while told := self.ask("ask for its state", f"/api/v1/films/{number}"):
            if json.loads(told)["state"] == "done":
                self.answers.films += 1
                break
            if time.monotonic() > until:
                self.answers.faults.append(f"film {number} was not analysed within two minutes")
                return
            time.sleep(0.2)
        self.ask("fetch its report", f"/api/v1/films/{number}/report.json")
        self.ask("fetch its pixels", f"/api/v1/films/{number}/pixels?form=raw")
        self.ask("list the worklist", "/api/v1/films?order=triage")
        self.ask("scrape the metrics", "/metrics")


def go_round_together(
    port: int, secret: str, clients: int, film: Callable[[int, int], bytes], more: Callable[[int], bool]
) -> list[Answers]:
    """`clients` threads, each going round while `more(rounds done)`; `film(client, round)` is what it hands in."""
    answers = [Answers() for _ in range(clients)]

    def work(own: int) -> None:
        client, done = Client(port, secret, answers[own]), 0
        while more(done):
            client.go_round(film(own, done))
            done += 1

    threads = [threading.Thread(target=work, args=(own,)) for own in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return answers


def memory(root: int) -> int:
    """Proportional set size of a process and all that it started, bytes."""
    total, waiting = 0, [root]
    while waiting:
        pid = waiting.pop()
        try:
            rolled = Path(f"/proc/{pid}/smaps_rollup").read_text()
            total += 1024 * int(re.search(r"^Pss: +(\d+) kB", rolled, re.MULTILINE)[1])  # type: ignore[index]
            for task in Path(f"/proc/{pid}/task").iterdir():
                waiting += map(int, (task / "children").read_text().split())
        except (OSError, TypeError):
            continue
    return total


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--clients", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=120.0)
    options = parser.parse_args()
    stored = np.rint(phantom(0, 1024, 1024).pixels * 4095).astype(np.int64)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "store"
        store = Store(root)
        ledger = Ledger.open(root / "ledger.sqlite3")
        secret = Tokens(ledger).make("clients", ("submit", "read"))
        env = {**os.environ, "PYTHONUNBUFFERED": "1"}
        with subprocess.Popen(
            [sys.executable, *SERVE, "--store", str(root)], stdout=subprocess.PIPE, text=True, env=env
        ) as server:
            assert server.stdout is not None
            port = int(server.stdout.readline().rsplit(":", 1)[1])
            stop, samples = threading.Event(), list[tuple[float, int]]()
            with Worker(store, ledger, StandIn()) as worker:
                working = threading.Thread(target=worker.run, args=(stop,))
                working.start()
                began = time.monotonic()

                def sample() -> None:
                    while not stop.wait(1.0):
                        samples.append((time.monotonic() - began, memory(server.pid)))

                sampling = threading.Thread(target=sample)
                sampling.start()
                answers = go_round_together(
                    port, secret, options.clients,
                    lambda own, done: film_of(stored, 1_000_000 * (own + 1) + done),
                    lambda done: time.monotonic() - began < options.seconds,
                )  # fmt: skip
                seconds = time.monotonic() - began
                stop.set()
                working.join()
                sampling.join()
            server.terminate()
        whole = report(ledger, answers, samples, seconds)
    sys.exit(int(not whole))


def report(ledger: Ledger, answers: list[Answers], samples: list[tuple[float, int]], seconds: float) -> bool:
    """Print what was measured; is all as it must be?"""
    faults = [fault for each in answers for fault in each.faults]
    count = sum(len(took) for each in answers for took in each.seconds.values())
    films, counts = sum(each.films for each in answers), Queue(ledger).counts()
    jobs = Queue(ledger).jobs(limit=100_000)
    once = all(len(Queue(ledger).results(job["instance_id"])) == 1 for job in jobs)
    print(
        f"{len(answers)} clients, {seconds:.0f} s: {count:,} answers ({count / seconds:.0f} a second), ",
        end="",
    )
    print(f"{len(faults)} errors; {films:,} films, {counts['done']:,} with a result")
    print("\n| request | answers | p50 | p95 | longest |\n| --- | --- | --- | --- | --- |")
    for name in answers[0].seconds:
        took = np.array([s for each in answers for s in each.seconds.get(name, ())])
        p50, p95 = np.quantile(took, [0.5, 0.95])
        print(f"| {name} | {len(took):,} | {p50:.2f} s | {p95:.2f} s | {took.max():.2f} s |")
    parts = [[size for at, size in samples if q <= 4 * at / seconds < q + 1] for q in range(4)]
    quarters = [float(np.median(part)) for part in parts if part]
    print("\nmemory by quarter: " + ", ".join(f"{size / 2**20:.0f}" for size in quarters) + " MiB")
    for fault in faults[:10]:
        print(fault)
    flat = len(quarters) == 4 and quarters[3] <= 1.1 * quarters[1]
    return not faults and once and films == counts["done"] == len(jobs) and flat


if __name__ == "__main__":
    main()
