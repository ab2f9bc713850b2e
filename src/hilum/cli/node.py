"""`hilum node`: take films by C-STORE."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hilum.cli.clinic_parts import (
    BundleOption,
    DatabaseOption,
    DeliverOption,
    LargestOption,
    MemoryOption,
    SamplesOption,
    StoreOption,
    TimeoutOption,
    TlsCertOption,
    TlsKeyOption,
    WorkersOption,
)


def node(
    store: StoreOption,
    peer: Annotated[
        list[str] | None,
        typer.Option(
            "--peer",
            metavar="TITLE[@ADDRESS]",
            help="Who may send: an AE title, and the address or network it sends from. Repeat it for several. Without any,"
            " only programs on this machine.",
        ),
    ] = None,
    title: Annotated[str, typer.Option(metavar="TITLE", help="This node's AE title.")] = "HILUM",
    host: Annotated[
        str, typer.Option(metavar="ADDRESS", help="The address to listen on; 0.0.0.0 for all.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="The port; 0 for one that is free.")] = 11112,
    tls_cert: TlsCertOption = None,
    tls_key: TlsKeyOption = None,
    tls_clients: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Authorities, PEM: only senders with a certificate that one of them signed are heard.",
        ),
    ] = None,
    database: DatabaseOption = None,
    workers: WorkersOption = 1,
    deliver: DeliverOption = None,
    bundle: BundleOption = None,
    samples: SamplesOption = 30,
    timeout: TimeoutOption = 300.0,
    memory: MemoryOption = 6.0,
    largest: LargestOption = 256,
    connections: Annotated[int, typer.Option(min=1, help="Connections at once.")] = 20,
    idle: Annotated[float, typer.Option(min=1, help="Seconds that a peer may say nothing.")] = 30.0,
) -> None:
    """Take films by C-STORE (and answer C-ECHO), analyse them, and send the results on.

    A film is on the disk and in the ledger before it is answered with success. Unknown senders are refused and noted.

    Examples:

      hilum node --store clinic --host 0.0.0.0 --peer XRAY1@10.1.2.3 --peer PACS@10.1.0.0/16

      hilum node --store clinic --deliver dicom://PACS@10.1.0.5:104

      hilum node --store clinic --tls-cert cert.pem --tls-key key.pem --tls-clients hospital.pem
    """
    if (tls_cert is None) != (tls_key is None) or (tls_clients is not None and tls_cert is None):
        raise typer.BadParameter(
            "give both --tls-cert and --tls-key; --tls-clients goes with them.", param_hint="--tls-cert"
        )
    from dataclasses import replace

    from hilum.cli.clinic_parts import at_work, opened, stopped_by_signals

    there, ledger = opened(store, database)
    from hilum.clinic.intake import Intake
    from hilum.clinic.node import Bounds, Node, Peer
    from hilum.clinic.tls import of_a_node

    peers = [Peer.of(each) for each in peer or ()]
    bounds = replace(Bounds(), film=largest * 2**20, connections=connections, idle_seconds=idle)
    tls = of_a_node(tls_cert, tls_key, tls_clients) if tls_cert is not None and tls_key is not None else None
    with stopped_by_signals() as stop, Intake(there, ledger, bounds.film) as intake:
        door = Node(intake, peers, title, host, port, bounds, tls)
        with at_work(there, ledger, stop, workers, deliver, bundle, samples, timeout, memory):
            port = door.start()
            typer.echo(f"{title} listens on {host}:{port}")
            try:
                while not stop.wait(1.0):
                    pass
            finally:
                door.stop()
