"""Run everything and write the table into the documentation: `python -m tests.clinic.hazards`."""

from __future__ import annotations

import signal
import sys
import tempfile
import warnings
from pathlib import Path

from .clinic import running
from .entries import HAZARDS, Want
from .run import observe
from .table import PAGE, page_with, table


def main() -> int:
    warnings.simplefilter("ignore")  # pydicom warns of what is bad on purpose
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that no process is left behind
    with tempfile.TemporaryDirectory() as folder, running(Path(folder) / "clinic") as clinic:
        seen = observe(clinic)
    PAGE.write_text(page_with(table(seen)))
    wrong = [
        f"{hazard.name}, {door}: {seen.get((hazard.name, door))}, not {want}"
        for hazard in HAZARDS
        for door, want in hazard.wants.items()
        if isinstance(want, Want) and not want.holds(seen.get((hazard.name, door)))
    ]
    sys.stdout.write(
        "".join(f"{line}\n" for line in wrong) + f"{PAGE}; {clinic.largest // 2**20} MiB at most\n"
    )
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
