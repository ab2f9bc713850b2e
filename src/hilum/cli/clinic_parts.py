"""What the commands of the clinic share: the store and its ledger, workers beside a door, a clean stop."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hilum.errors import ClinicError

if TYPE_CHECKING:
    from hilum.clinic.ledger import Ledger
    from hilum.clinic.store import Store

StoreOption = Annotated[
    Path,
    typer.Option(
        "--store", "-s", metavar="DIR", envvar="HILUM_STORE", help="Where films, results and the ledger lie."
    ),
]
DatabaseOption = Annotated[
    str | None,
    typer.Option(
        "--database",
        metavar="URL",
        envvar="HILUM_DATABASE",
        help="The ledger's database, such as postgresql://user:password@host/hilum. Without it: SQLite in the store.",
    ),
]
WorkersOption = Annotated[
    int,
    typer.Option(
        "--workers", "-j", min=0, help="Workers that analyse, in this command; 0 leaves it to `hilum worker`."
    ),
]
DeliverOption = Annotated[
    list[str] | None,
    typer.Option(
        "--deliver",
        metavar="ADDRESS",
        help="Send DICOM results there: http(s)://HOST/dicom-web, or dicom://AETITLE@HOST:PORT (dicoms:// by TLS)."
        " Repeat it for several.",
    ),
]
BundleOption = Annotated[
    list[str] | None,
    typer.Option(
        "--bundle", "-b", metavar="NAME|PATH", help="Bundles to analyse with; without it all built-in ones."
    ),
]
SamplesOption = Annotated[int, typer.Option(min=0, help="Monte Carlo dropout samples; 0 for no uncertainty.")]
TimeoutOption = Annotated[float, typer.Option(min=1, help="Seconds that analysing a film may take.")]
MemoryOption = Annotated[
    float, typer.Option(min=0.1, help="GiB that an analysis may take beyond its bundles.")
]
TlsCertOption = Annotated[Path | None, typer.Option(metavar="FILE", help="A certificate, PEM.")]
TlsKeyOption = Annotated[Path | None, typer.Option(metavar="FILE", help="Its key, PEM.")]
LargestOption = Annotated[int, typer.Option(min=1, help="MiB that a film may have.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON, for machines.")]


def opened(store: Path, database: str | None) -> tuple[Store, Ledger]:
    """The store and its ledger, made where they are absent."""
    try:
        from hilum.clinic.ledger import Ledger
    except ImportError:
        from hilum.errors import MissingExtraError

        raise MissingExtraError.named("clinic", "the clinic") from None
    from hilum.clinic.store import Store

    there = Store(store)
    return there, Ledger.open(database or there.root / "ledger.sqlite3")


def user() -> str:
    """Who gives this command, for the trail."""
    import getpass

    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid {os.getuid()}"


@contextmanager
def stopped_by_signals() -> Iterator[threading.Event]:
    """An event that SIGTERM and SIGINT set; what is in hand is finished. A second signal ends at once."""
    stop = threading.Event()

    def on_signal(number: int, frame: object) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()

    before = {number: signal.signal(number, on_signal) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def at_work(
    store: Store,
    ledger: Ledger,
    stop: threading.Event,
    workers: int,
    deliver: list[str] | None,
    bundles: list[str] | None,
    samples: int,
    timeout: float,
    memory: float,
    until_empty: bool = False,
) -> Iterator[list[threading.Thread]]:
    """Workers and a deliverer in threads, until the block ends; each worker analyses in a process of its own.

    The threads of the workers are given; with `until_empty` they end once nothing waits. A worker that cannot start (its
    bundle is not there) sets `stop`, and its error is raised at the end.
    """
    from hilum.clinic.analysing import Analysing, dicom_writer
    from hilum.clinic.deliver import Deliverer, Target
    from hilum.clinic.worker import Worker

    targets = tuple(Target(address).address for address in deliver or ())
    writer = dicom_writer()
    if targets and writer is None:
        raise ClinicError(
            "this Hilum writes no DICOM results, so there is nothing to deliver", mend="Leave --deliver out."
        )
    threads = max(1, (os.cpu_count() or 1) // max(1, workers))
    make = Analysing(tuple(bundles) if bundles else None, samples, threads=threads, dicom=writer)
    faults: list[BaseException] = []

    def work() -> None:
        try:
            with Worker(store, ledger, make, targets, timeout, int(memory * 2**30)) as worker:
                worker.run(stop, until_empty)
        except BaseException as error:
            faults.append(error)
            stop.set()

    running = [threading.Thread(target=work, name=f"worker {n + 1}") for n in range(workers)]
    if workers or targets:
        running.append(threading.Thread(target=Deliverer(store, ledger).run, args=(stop,), name="deliverer"))
    for thread in running:
        thread.start()
    try:
        yield running[:workers]
    finally:
        stop.set()
        for thread in running:
            thread.join()
    if faults:
        raise faults[0]
