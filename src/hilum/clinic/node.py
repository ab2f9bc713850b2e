"""A DICOM node for sites without DICOMweb: C-ECHO and C-STORE, from those who are named; success once a film is safe.

Statuses of C-STORE (PS3.4 B.2.3): 0x0000 the film is on the disk and in the ledger; 0xA700 the disk is full, or the ledger
is away: try again; 0xC000 it is refused, for the reason in the comment; 0x0124 this AE title may not send from that address.
"""

from __future__ import annotations

import ipaddress
import logging
import re
import ssl
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pydicom.dataset import Dataset

from hilum.clinic.intake import Intake, Outcome
from hilum.clinic.look import FILM_CLASSES
from hilum.errors import ClinicError, MissingExtraError, StoreFullError, one_line
from hilum.images.dicom_decode import NATIVE, PLUGINS

try:
    from pynetdicom import AE, evt
    from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]

    from hilum.clinic.node_server import Bounds, GuardedServer, Network
except ImportError:
    raise MissingExtraError.named("clinic", "the DICOM node") from None

logger = logging.getLogger(__name__)
logging.getLogger("pynetdicom").setLevel(logging.CRITICAL)  # it logs headers, and a refused peer as a fault

PORT, TITLE = 11112, "HILUM"
SUCCESS, NOT_AUTHORISED, OUT_OF_RESOURCES, CANNOT_UNDERSTAND = 0x0000, 0x0124, 0xA700, 0xC000
_LONGEST_COMMENT = 64  # PS3.7 C: Error Comment is LO


@dataclass(frozen=True)
class Peer:
    """Who may send: an AE title, from a network, or from anywhere where that is None."""

    title: str
    network: Network | None = None

    @classmethod
    def of(cls, text: str) -> Peer:
        """`TITLE` or `TITLE@ADDRESS` or `TITLE@ADDRESS/BITS`. Raises ClinicError for anything else."""
        title, _, address = text.partition("@")
        if not re.fullmatch(r"[!-\[\]-~]([ -\[\]-~]{0,14}[!-\[\]-~])?", title):
            raise ClinicError(f"'{one_line(title)}' is no AE title", mend="Give 1 to 16 characters of ASCII.")
        try:
            return cls(title, ipaddress.ip_network(address, strict=False) if address else None)
        except ValueError:
            raise ClinicError(
                f"'{one_line(address)}' is no address", mend="Give TITLE@10.1.2.3 or TITLE@10.1.0.0/16."
            ) from None

    def is_(self, title: str, address: str) -> bool:
        at = ipaddress.ip_address(address.split("%")[0])
        return self.title == title.strip() and (self.network is None or at in self.network)


class Node:
    """A C-STORE and C-ECHO provider. `start` it, `stop` it.

    Parameters
    ----------
    peers: who may send. Without any, whoever is on this machine, and `host` must be a loopback address.
    title: its own AE title; a peer that calls it otherwise is refused. port: 0 for any that is free.
    tls: see `clinic.tls.of_a_node`; without it everything is sent in the clear.

    Raises ClinicError for a `host` that others reach without a list of peers.
    """

    def __init__(
        self,
        intake: Intake,
        peers: Sequence[Peer] = (),
        title: str = TITLE,
        host: str = "127.0.0.1",
        port: int = PORT,
        bounds: Bounds = Bounds(),
        tls: ssl.SSLContext | None = None,
    ) -> None:
        if not peers and not ipaddress.ip_address(host).is_loopback:
            raise ClinicError(
                "the node would take films from anyone who reaches it",
                mend="Name who may send: --peer TITLE@ADDRESS.",
            )
        self.intake, self.peers, self.host, self.port = intake, tuple(peers), host, port
        self.title, self.bounds, self.tls = title, bounds, tls
        self._server: GuardedServer | None = None

    def start(self) -> int:
        """Listen; returns the port. Raises ClinicError where the port is taken."""
        entity = AE(ae_title=self.title)
        entity.require_called_aet = True
        entity.require_calling_aet = sorted({peer.title for peer in self.peers})
        entity.maximum_pdu_size = self.bounds.pdu
        entity.maximum_associations = self.bounds.connections
        entity.acse_timeout = entity.network_timeout = entity.dimse_timeout = self.bounds.idle_seconds
        entity.add_supported_context(Verification)
        for kind in sorted(FILM_CLASSES):
            entity.add_supported_context(kind, [*NATIVE, *PLUGINS])
        networks = [peer.network for peer in self.peers if peer.network is not None]
        handlers: list[Any] = [
            (evt.EVT_C_ECHO, self._echo),
            (evt.EVT_C_STORE, self._store),
            (evt.EVT_REJECTED, self._rejected),
        ]
        try:
            server: Any = entity.make_server(
                (self.host, self.port),
                evt_handlers=handlers,
                server_class=GuardedServer,
                networks=networks if len(networks) == len(self.peers) else (),
                bounds=self.bounds,
                refused=self._refused,
                tls=self.tls,
            )
        except OSError as error:
            raise ClinicError(f"port {self.port} cannot be listened on ({error.strerror})") from error
        self._server = server
        entity._servers.append(server)  # as its `start_server` does; then its `shutdown` ends all
        threading.Thread(target=server.serve_forever, name="node", daemon=True).start()
        port = int(server.server_address[1])
        self.intake.trail.add("started", "node", f"{self.title}@{self.host}:{port}")
        return port

    def stop(self) -> None:
        """Close every connection and stop listening; a film that was not answered yet is its sender's."""
        if self._server is not None:
            self._server.ae.shutdown()
            self._server = None
            self.intake.trail.add("stopped", "node", self.title)

    def _allowed(self, title: str, address: str) -> bool:
        return not self.peers or any(peer.is_(title, address) for peer in self.peers)

    def _echo(self, event: Any) -> int:
        title, address = _who(event)
        return SUCCESS if self._allowed(title, address) else self._deny(title, address)

    def _store(self, event: Any) -> int | Dataset:
        title, address = _who(event)
        try:
            if not self._allowed(title, address):
                return self._deny(title, address)
            named = str(event.request.AffectedSOPInstanceUID)
            return _status(self.intake.accept([event.encoded_dataset()], "node", f"{title}@{address}", named))
        except StoreFullError:
            logger.error("the disk is full: a film from %s was not taken", one_line(f"{title}@{address}"))
            return OUT_OF_RESOURCES
        except Exception as error:  # the ledger is away: nothing was promised, the sender keeps the film
            logger.error("a film was not taken: %s", type(error).__name__)
            logger.debug("", exc_info=True)
            return OUT_OF_RESOURCES
        finally:
            event.assoc.dul.socket.taken = 0

    def _deny(self, title: str, address: str) -> int:
        reason = "this AE title may not send from this address"
        self.intake.trail.add("denied", "node", f"{title}@{address}", {"reason": reason}, 8)
        return NOT_AUTHORISED

    def _rejected(self, event: Any) -> None:
        """An association was refused: by its titles, or because there are too many."""
        title, address = _who(event)
        called = event.assoc.requestor.primitive.called_ae_title
        if str(called).strip() != self.title:
            reason = "it called another AE title"
        elif self.peers and title not in {peer.title for peer in self.peers}:
            reason = "its AE title is not known"
        else:
            reason = "there are too many associations"
        self.intake.trail.add("denied", "node", f"{title}@{address}", {"reason": reason}, 8)

    def _refused(self, address: str, reason: str) -> None:
        try:
            self.intake.trail.add("denied", "node", address, {"reason": reason}, 8)
        except Exception as error:
            logger.error("a refusal could not be noted: %s", type(error).__name__)


def _who(event: Any) -> tuple[str, str]:
    requestor = event.assoc.requestor
    return str(requestor.ae_title).strip(), str(requestor.address)


def _status(outcome: Outcome) -> int | Dataset:
    if outcome.accepted:
        return SUCCESS
    answer = Dataset()
    answer.Status = CANNOT_UNDERSTAND
    reason = (outcome.reason or "").encode("ascii", "replace").decode().replace("\\", "/")
    answer.ErrorComment = reason[:_LONGEST_COMMENT]
    return answer
