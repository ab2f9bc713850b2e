"""`hilum worker`: analyse what waits in the queue."""

from __future__ import annotations

from typing import Annotated

import typer

from hilum.cli.clinic_parts import (
    BundleOption,
    DatabaseOption,
    DeliverOption,
    MemoryOption,
    SamplesOption,
    StoreOption,
    TimeoutOption,
)


def worker(
    store: StoreOption,
    database: DatabaseOption = None,
    workers: Annotated[
        int, typer.Option("--workers", "-j", min=1, help="How many, each with a process of its own.")
    ] = 1,
    deliver: DeliverOption = None,
    bundle: BundleOption = None,
    samples: SamplesOption = 30,
    timeout: TimeoutOption = 300.0,
    memory: MemoryOption = 6.0,
    once: Annotated[bool, typer.Option("--once", help="End once nothing waits in the queue.")] = False,
) -> None:
    """Analyse the films that wait in the queue of a store, until it is stopped.

    Several may run, on several machines where the database is PostgreSQL and the store is shared. One that is killed loses
    nothing: its film is analysed by another.

    Examples:

      hilum worker --store clinic

      hilum worker --store clinic --once --bundle findings

      hilum worker --store clinic --deliver http://localhost:8042/dicom-web
    """
    from hilum.cli.clinic_parts import at_work, opened, stopped_by_signals

    there, ledger = opened(store, database)
    with (
        stopped_by_signals() as stop,
        at_work(there, ledger, stop, workers, deliver, bundle, samples, timeout, memory, once) as threads,
    ):
        for thread in threads:
            while thread.is_alive():
                thread.join(0.5)  # short, so that signals are heard
