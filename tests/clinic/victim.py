"""A process to be killed: `python -m tests.clinic.victim work|take STORE [FILM...]`."""

from __future__ import annotations

import sys
import threading
from pathlib import Path

from hilum.clinic.intake import Intake
from hilum.clinic.ledger import Ledger
from hilum.clinic.store import Store
from hilum.clinic.worker import Worker
from tests.clinic.helpers import StandIn


def main() -> None:
    what, root, *films = sys.argv[1:]
    store, ledger = Store(root, reserve=0), Ledger.open(Path(root) / "ledger.sqlite3")
    if what == "work":
        with Worker(store, ledger, StandIn(), lease=1.0) as worker:
            sys.stdout.write("ready\n")
            sys.stdout.flush()
            worker.run(threading.Event(), until_empty=True)
    else:
        with Intake(store, ledger) as intake:
            for film in films:
                outcome = intake.accept(Path(film), "cli", "me")
                assert outcome.accepted, outcome
                sys.stdout.write(f"{film}\n")
                sys.stdout.flush()


if __name__ == "__main__":
    main()
