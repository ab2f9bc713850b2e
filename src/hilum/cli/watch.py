"""`hilum watch`: fetch new chest films from an archive by DICOMweb."""

from __future__ import annotations

from datetime import date, datetime
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
    WorkersOption,
)


def watch(
    url: Annotated[str, typer.Argument(metavar="URL", help="The archive's DICOMweb address.")],
    store: StoreOption,
    database: DatabaseOption = None,
    since: Annotated[
        str | None,
        typer.Option(
            metavar="DATE",
            help="Studies taken on this day (2026-01-31) or later, or 'all'. Without it: since two days before the first"
            " start.",
        ),
    ] = None,
    modality: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Modalities to look for; CR and DX without it.")
    ] = None,
    study: Annotated[
        list[str] | None,
        typer.Option(metavar="UID", help="Fetch this study, whatever is new; for an archive's webhook."),
    ] = None,
    store_back: Annotated[bool, typer.Option(help="Send DICOM results to the same archive.")] = True,
    interval: Annotated[float, typer.Option(min=1, help="Seconds between two looks.")] = 30.0,
    once: Annotated[
        bool, typer.Option("--once", help="Look once, analyse what was found, send it, and end.")
    ] = False,
    workers: WorkersOption = 1,
    deliver: DeliverOption = None,
    bundle: BundleOption = None,
    samples: SamplesOption = 30,
    timeout: TimeoutOption = 300.0,
    memory: MemoryOption = 6.0,
) -> None:
    """Watch an archive for new CR and DX chest studies, fetch their films, analyse them and store the results back.

    What was seen is in the ledger: it may be stopped at any time, and nothing is analysed twice. A password or token comes
    from HILUM_ARCHIVE_USER and HILUM_ARCHIVE_PASSWORD, or HILUM_ARCHIVE_TOKEN.

    Examples:

      hilum watch http://localhost:8042/dicom-web --store clinic

      hilum watch https://pacs.example/dicom-web --store clinic --since 2026-01-01 --interval 60

      hilum watch http://localhost:8042/dicom-web --store clinic --once --since all --no-store-back
    """
    from hilum.cli.clinic_parts import at_work, opened, stopped_by_signals, user

    from_day = _since(since)
    there, ledger = opened(store, database)
    from hilum.clinic.analysing import dicom_writer
    from hilum.clinic.deliver import Deliverer
    from hilum.clinic.dicomweb import Archive
    from hilum.clinic.intake import Intake
    from hilum.clinic.watch import MODALITIES, Watch

    archive = Archive(url)
    targets = list(deliver or ())
    if store_back and workers and dicom_writer() is not None:
        targets.append(archive.url)
    with stopped_by_signals() as stop, Intake(there, ledger) as intake:
        door = Watch(archive, intake, tuple(modality or MODALITIES), from_day)
        for uid in study or ():
            intake.refer(archive.url, uid, [archive.url], "cli", user())
        if once:
            found = door.once(stop)
            typer.echo(f"{found.studies} new studies; " + _counted(found.outcomes))
            with at_work(
                there, ledger, stop, workers, targets, bundle, samples, timeout, memory, True
            ) as threads:
                for thread in threads:
                    while thread.is_alive():
                        thread.join(0.5)
            deliverer = Deliverer(there, ledger)
            while deliverer.one() is not None:
                pass
            return
        with at_work(there, ledger, stop, workers, targets, bundle, samples, timeout, memory):
            door.run(stop, interval)


def _since(text: str | None) -> date | str | None:
    """As `Watch` takes it: a date, None for all, or that it should decide."""
    if text is None:
        return "start"
    if text == "all":
        return None
    try:
        return datetime.strptime(text, "%Y-%m-%d").date()
    except ValueError:
        raise typer.BadParameter(
            f"'{text}'. Give a day as 2026-01-31, or 'all'.", param_hint="--since"
        ) from None


def _counted(outcomes: dict[str, int]) -> str:
    return ", ".join(f"{count} {kind}" for kind, count in sorted(outcomes.items())) or "no new films"
