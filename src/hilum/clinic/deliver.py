"""Results to an archive, by STOW-RS or C-STORE, until they have arrived. Sent twice is stored once, by its UID."""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hilum.clinic.dicomweb import Archive
from hilum.clinic.ledger import Deliveries, Ledger
from hilum.clinic.ledger.deliveries import Parcel
from hilum.clinic.ledger.retries import FIRST_WAIT
from hilum.clinic.store import Store
from hilum.clinic.tls import of_a_sender
from hilum.errors import ClinicError, HilumError, MissingExtraError, one_line

logger = logging.getLogger(__name__)

PAUSE = 2.0  # seconds between looks where nothing is due
SECONDS = 60.0  # that an archive may take for an answer
_NODE = re.compile(r"(dicoms?)://([!-~ ]{1,16})@([\w.\-]+|\[[0-9a-fA-F:]+\]):(\d{1,5})/?")


@dataclass(frozen=True)
class Target:
    """Where results go: `http(s)://.../dicom-web` by STOW-RS, or `dicom://AETITLE@HOST:PORT` by C-STORE, `dicoms://` by TLS.

    Raises ClinicError for any other address.
    """

    address: str

    def __post_init__(self) -> None:
        if self.is_web:
            Archive(self.address).close()
        elif not _NODE.fullmatch(self.address) or int(self._node()[3]) > 65535:
            raise ClinicError(
                f"'{self.address}' is no archive's address",
                mend="Give http(s)://HOST/PATH or dicom://AETITLE@HOST:PORT.",
            )

    @property
    def is_web(self) -> bool:
        return self.address.startswith(("http://", "https://"))

    def send(self, paths: Sequence[Path], calling: str = "HILUM") -> None:
        """Send DICOM files. Raises ClinicError where one of them did not arrive."""
        if self.is_web:
            archive = Archive(self.address)
            try:
                archive.store(paths)
            finally:
                archive.close()
        else:
            scheme, title, host, port = self._node()
            _c_store(paths, title, host.strip("[]"), int(port), calling, scheme == "dicoms")

    def _node(self) -> tuple[str, str, str, str]:
        found = _NODE.fullmatch(self.address)
        assert found is not None
        return found[1], found[2], found[3], found[4]


class Deliverer:
    """Sends what is due. Several may run, on several machines that share store and ledger."""

    def __init__(
        self, store: Store, ledger: Ledger, calling: str = "HILUM", first_wait: float = FIRST_WAIT
    ) -> None:
        self.store, self.deliveries = store, Deliveries(ledger)
        self.calling, self.first_wait = calling, first_wait

    def run(self, stop: threading.Event) -> None:
        """Deliver until `stop` is set."""
        while not stop.is_set():
            try:
                if self.one() is None:
                    stop.wait(PAUSE)
            except Exception as error:  # a lost database; what was not written down is due again later
                logger.error("deliveries wait: %s", one_line(str(error))[:300])
                stop.wait(PAUSE)

    def one(self) -> bool | None:
        """Try the delivery that has waited longest: whether it arrived, or None where none is due."""
        parcel = self.deliveries.due()
        if parcel is None:
            return None
        try:
            Target(parcel.target).send(self._paths(parcel), self.calling)
        except Exception as error:
            # An archive can answer in more ways than its protocol has; each costs a try.
            fault = error.fault if isinstance(error, HilumError) else type(error).__name__
            logger.warning("delivery %d, attempt %d: %s", parcel.id, parcel.attempt, fault)
            self.deliveries.failed(parcel, fault, first=self.first_wait)
            return False
        self.deliveries.delivered(parcel)
        return True

    def _paths(self, parcel: Parcel) -> list[Path]:
        folder = self.store.result(parcel.folder)
        missing = [name for name in parcel.files if not (folder / name).is_file()]
        if missing:
            raise ClinicError(f"{len(missing)} of its files are not in the store any more")
        return [folder / name for name in parcel.files]


def _c_store(paths: Sequence[Path], title: str, host: str, port: int, calling: str, tls: bool) -> None:
    try:
        from pynetdicom import AE
    except ImportError:
        raise MissingExtraError.named("clinic", "C-STORE") from None
    from pydicom import dcmread

    entity = AE(ae_title=calling)
    entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = entity.connection_timeout = SECONDS
    datasets = [dcmread(path) for path in paths]
    for kind in {(d.SOPClassUID, d.file_meta.TransferSyntaxUID) for d in datasets}:
        entity.add_requested_context(*kind)
    secured = (of_a_sender(), host) if tls else None
    association = entity.associate(host, port, ae_title=title, tls_args=secured)
    if not association.is_established:
        raise ClinicError(f"{title} at {host}:{port} does not take a connection")
    try:
        for dataset in datasets:
            try:
                answer = association.send_c_store(dataset)
            except ValueError as error:  # no presentation context was accepted for it
                raise ClinicError(f"{title} does not take {dataset.SOPClassUID.name}") from error
            status = answer.get("Status")
            if status is None or status & 0xF000 not in (0x0000, 0xB000):  # success, or stored with a warning
                code = "no answer" if status is None else f"status 0x{status:04X}"
                raise ClinicError(f"{title} did not take {dataset.SOPClassUID.name} ({code})")
    finally:
        association.release()
