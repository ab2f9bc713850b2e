"""kill -9 of a node and of workers at random times: has every film one result at the end?

    python -m benchmarks.kill_clinic [--films 1000] [--kills 40] [--seed 0]

Films (48 x 64 pixels, made here) are sent by C-STORE, each again until it is answered with success, to a node that is
killed and started again; two workers, killed and started again, write a one-line report of each, so that the queue and not
a network is under test. Prints how often each was killed, what had to be sent again, and what the ledger and the store
hold at the end; ends with 1 where a film is lost, doubled, or without its one result.
"""

from __future__ import annotations

import argparse
import io
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

from pydicom import dcmread
from pynetdicom import AE
from tests.clinic.helpers import a_film, free_port

from hilum.clinic.ledger import Ledger, Queue
from hilum.clinic.store import Store

NODE = ("-c", "from hilum.cli import main; main()", "node", "--workers", "0")


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


def send_all(port: int, films: int, again: Counter[str]) -> None:
    """Each film until it is answered with success, as a modality does."""
    for seed in range(films):
        dataset = dcmread(io.BytesIO(a_film(seed)))
        while not _sent(port, dataset):
            again["sent again"] += 1
            time.sleep(0.2)


def _sent(port: int, dataset: object) -> bool:
    entity = AE(ae_title="XRAY")
    entity.add_requested_context(dataset.SOPClassUID, dataset.file_meta.TransferSyntaxUID)  # type: ignore[attr-defined]
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


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--films", type=int, default=1000)
    parser.add_argument("--kills", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    chance, again = random.Random(options.seed), Counter[str]()
    with tempfile.TemporaryDirectory() as folder:
        root, port = Path(folder) / "store", free_port()
        ledger = Ledger.open(Store(root).root / "ledger.sqlite3")
        node = Mortal(*NODE, "--store", str(root), "--port", str(port))
        workers = [Mortal("-m", "tests.clinic.victim", "work", str(root)) for _ in range(2)]
        sender = threading.Thread(target=send_all, args=(port, options.films, again))
        started = time.monotonic()
        sender.start()
        left = options.kills
        while sender.is_alive() or Queue(ledger).counts()["queued"] + Queue(ledger).counts()["running"]:
            time.sleep(chance.uniform(0.5, 3.0))
            if left and chance.random() < 0.8:
                chance.choice([node, *workers]).kill()
                left -= 1
            for each in (node, *workers):
                each.keep()
        seconds = time.monotonic() - started
        for each in (node, *workers):
            each.stop()
        print(f"{options.films:,} films in {seconds:.0f} s; killed: node {node.killed}, ", end="")
        print(f"workers {sum(w.killed for w in workers)}; sent again {again['sent again']}")
        sys.exit(int(not _whole(root, ledger, options.films)))


def _whole(root: Path, ledger: Ledger, films: int) -> bool:
    store, queue = Store(root), Queue(ledger)
    jobs = queue.jobs(limit=10 * films)
    results = [queue.results(job["instance_id"]) for job in jobs]
    there = [(store.result(r["folder"]) / "report.json").is_file() for found in results for r in found]
    attempts = Counter(job["attempts"] for job in jobs)
    print(f"instances {len(jobs):,}, distinct {len({job['sop_uid'] for job in jobs}):,}; states ", end="")
    print({state: count for state, count in queue.counts().items() if count})
    print(
        f"results an instance {dict(Counter(len(found) for found in results))}, written {sum(there):,}; ",
        end="",
    )
    print(f"attempts {dict(sorted(attempts.items()))}")
    done = queue.counts()["done"] == len(jobs) == films
    return done and all(len(found) == 1 for found in results) and all(there)


if __name__ == "__main__":
    main()
