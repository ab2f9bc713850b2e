"""kill -9 of node, server and workers at random times: has every study one result at the end?

    python -m benchmarks.kill_clinic [--studies 1000] [--kills 60] [--pace 0.1] [--seed 0]

Studies of one film (48 x 64 pixels, made here) come by turns by C-STORE to `hilum node` and by HTTP to `hilum serve`, each
again until it is answered with success, as a modality does, `--pace` seconds apart. Node, server and one of two workers are
killed by turns of random order at random times, and started again; the workers write a one-line report of each film, so
that the queue and not a network is under test. Prints how often each was killed, what had to be sent again, and what the
ledger and the store hold at the end, as a table; ends with 1 where a study is lost, doubled, or without its one result.
"""

from __future__ import annotations

import argparse
import http.client
import io
import json
import random
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from pydicom import dcmread
from pynetdicom import AE
from tests.clinic.helpers import a_film, free_port

from hilum.clinic.ledger import Ledger, Queue, Tokens
from hilum.clinic.store import Store

HILUM = ("-c", "from hilum.cli import main; main()")
WORKERS = 2
FIRST = 10_000  # past the UIDs for which the stand-in crashes on purpose


class Mortal:
    """A process that is started again whenever it ends, and killed when told."""

    def __init__(self, *words: str) -> None:
        self.words, self.killed = words, 0
        self.start()

    def start(self) -> None:
        silent = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        self.process = subprocess.Popen([sys.executable, *self.words], **silent)  # type: ignore[call-overload]

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        self.killed += 1
        self.start()

    def keep(self) -> None:
        if self.process.poll() is not None:
            self.start()

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()


def send_all(
    send: Callable[[bytes], bool], seeds: range, pace: float, again: Counter[str], name: str
) -> None:
    """Each film until it is answered with success."""
    for seed in seeds:
        time.sleep(pace)
        film = a_film(FIRST + seed)
        while not send(film):
            again[name] += 1
            time.sleep(0.2)


def by_c_store(port: int, film: bytes) -> bool:
    dataset = dcmread(io.BytesIO(film))
    entity = AE(ae_title="XRAY")
    entity.add_requested_context(dataset.SOPClassUID, dataset.file_meta.TransferSyntaxUID)
    entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = 30
    association = entity.associate("127.0.0.1", port, ae_title="HILUM")
    if not association.is_established:
        return False
    try:
        return association.send_c_store(dataset).get("Status") == 0x0000
    except (RuntimeError, OSError):
        return False
    finally:
        association.release()


def by_http(port: int, secret: str, film: bytes) -> bool:
    headers = {"Authorization": f"Bearer {secret}", "Content-Type": "application/dicom"}
    asked = urllib.request.Request(f"http://127.0.0.1:{port}/api/v1/films", film, headers)
    try:
        with urllib.request.urlopen(asked, timeout=30) as answer:
            return json.load(answer)["films"][0]["kind"] in ("queued", "known")
    except (OSError, http.client.HTTPException, ValueError):
        return False


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--studies", type=int, default=1000)
    parser.add_argument("--kills", type=int, default=60)
    parser.add_argument("--pace", type=float, default=0.1)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    chance, again = random.Random(options.seed), Counter[str]()
    with tempfile.TemporaryDirectory() as folder:
        root, ports = Path(folder) / "store", (free_port(), free_port())
        ledger = Ledger.open(Store(root).root / "ledger.sqlite3")
        secret = Tokens(ledger).make("a modality", ("submit",))
        node, server = (
            Mortal(*HILUM, door, "--workers", "0", "--store", str(root), "--port", str(port))
            for door, port in zip(("node", "serve"), ports, strict=True)
        )
        workers = [Mortal("-m", "tests.clinic.victim", "work", str(root)) for _ in range(WORKERS)]
        mortals = [node, server, *workers]
        sent = (
            (
                lambda film: by_c_store(ports[0], film),
                range(0, options.studies, 2),
                options.pace,
                again,
                "C-STORE",
            ),
            (
                lambda film: by_http(ports[1], secret, film),
                range(1, options.studies, 2),
                options.pace,
                again,
                "HTTP",
            ),
        )
        senders = [threading.Thread(target=send_all, args=each) for each in sent]
        started = time.monotonic()
        for sender in senders:
            sender.start()
        turns = [
            kind for _ in range(options.kills) for kind in chance.sample(("node", "server", "worker"), 3)
        ]
        turns = turns[: options.kills]
        while any(sender.is_alive() for sender in senders) or _waiting(ledger):
            time.sleep(chance.uniform(0.5, 6.0))
            if turns:
                {"node": node, "server": server, "worker": chance.choice(workers)}[turns.pop()].kill()
            for each in mortals:
                each.keep()
        seconds = time.monotonic() - started
        for each in mortals:
            each.stop()
        killed = {"node": node.killed, "server": server.killed, "workers": sum(w.killed for w in workers)}
        rows = {
            "studies sent": f"{options.studies:,}",
            "time": f"{seconds:.0f} s",
            "killed": ", ".join(f"{name} {times}" for name, times in killed.items()),
            "sent again for want of an answer": ", ".join(f"{n} by {name}" for name, n in again.items())
            or "none",
        }
        found, whole = held(root, ledger, options.studies)
    print("| what | how many |\n| --- | --- |")
    print("\n".join(f"| {name} | {value} |" for name, value in (rows | found).items()))
    sys.exit(int(not whole))


def _waiting(ledger: Ledger) -> bool:
    counts = Queue(ledger).counts()
    return counts["queued"] + counts["running"] > 0


def held(root: Path, ledger: Ledger, studies: int) -> tuple[dict[str, str], bool]:
    """What the ledger and the store hold, as rows, and whether that is one result of each study."""
    store, queue = Store(root), Queue(ledger)
    jobs = queue.jobs(limit=10 * studies)
    results = [queue.results(job["instance_id"]) for job in jobs]
    there = sum((store.result(r["folder"]) / "report.json").is_file() for found in results for r in found)
    distinct = len({job["study_uid"] for job in jobs})
    states = {state: count for state, count in queue.counts().items() if count}
    rows = {
        "studies in the ledger": f"{distinct:,}, of {len(jobs):,} films",
        "their state": ", ".join(f"{count:,} {state}" for state, count in states.items()),
        "results a study: how many studies": _counted(len(found) for found in results),
        "results whose report is on the disk": f"{there:,}",
        "attempts a study: how many studies": _counted(job["attempts"] for job in jobs),
    }
    whole = distinct == len(jobs) == queue.counts()["done"] == there == studies
    return rows, whole and all(len(found) == 1 for found in results)


def _counted(numbers: object) -> str:
    counts = Counter(numbers)  # type: ignore[call-overload]
    return ", ".join(f"{number}: {count:,}" for number, count in sorted(counts.items()))


if __name__ == "__main__":
    main()
