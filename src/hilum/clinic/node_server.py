"""The sockets under the node: who may connect is asked before a byte is read, and what one may send is bounded.

pynetdicom reads as much as a PDU's header claims, and waits as long as the peer likes; here neither.
"""

from __future__ import annotations

import ipaddress
import socket
import ssl
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from pynetdicom.transport import AssociationSocket, RequestHandler, ThreadedAssociationServer

from hilum.images.limits import MAX_FILE_BYTES

LARGEST_REQUEST = (
    256 * 2**10
)  # bytes of an A-ASSOCIATE-RQ; 128 contexts with every transfer syntax take about 60 KB


@dataclass(frozen=True)
class Bounds:
    """What peers may ask for. `pdu`, `film`, `all_films` (on their way at once, they lie in memory): bytes. `connections` at
    once. Seconds that a PDU may take, that a peer may say nothing, and that an association may last."""

    pdu: int = 2**17
    film: int = MAX_FILE_BYTES
    all_films: int = 2**30
    connections: int = 20
    pdu_seconds: float = 30.0
    idle_seconds: float = 30.0
    association_seconds: float = 3600.0


Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class GuardedSocket(AssociationSocket):
    """Reads what the server allows: no PDU too long or too slow, no film too large, no association without an end."""

    server: GuardedServer
    taken: int  # bytes since the last film was handed on
    born: float

    def recv(self, nr_bytes: int) -> bytearray:
        """As many bytes as asked for, fewer where the peer closed. Raises OSError past a limit: the caller closes."""
        self.taken += nr_bytes
        fault = self.server.objection(self, nr_bytes)
        if fault is not None:
            self.taken = 0  # nothing more is read of it, so it keeps no room from others
            self.server.tell(str(self.assoc.requestor.address), fault)
            raise OSError(fault)
        assert self.socket is not None
        until, before = time.monotonic() + self.server.bounds.pdu_seconds, self.socket.gettimeout()
        received = bytearray()
        try:
            while len(received) < nr_bytes:
                self.socket.settimeout(max(0.001, until - time.monotonic()))
                piece = self.socket.recv(min(2**16, nr_bytes - len(received)))
                if not piece:
                    break
                received += piece
                if time.monotonic() > until:
                    raise TimeoutError("a PDU took too long")
        finally:
            self.socket.settimeout(before)
        return received

    def close(self) -> None:
        self.taken = 0
        super().close()


class _Handler(RequestHandler):
    server: GuardedServer

    def handle(self) -> None:
        """In this connection's own thread, so that a peer who is slow to shake hands keeps no other waiting."""
        if self.server.tls is not None:
            self.request = self.server.secured(self.request, self.server.tls)
        super().handle()

    def _create_association(self) -> Any:
        association = super()._create_association()
        guarded: Any = association.dul.socket
        # It was made by pynetdicom around the accepted socket; only its reading differs.
        guarded.__class__ = GuardedSocket
        guarded.server, guarded.taken, guarded.born = self.server, 0, time.monotonic()
        self.server.sockets.add(guarded)
        return association


class GuardedServer(ThreadedAssociationServer):
    """Accepts connections from `networks` alone (any where it is empty), and bounds what comes over each and over all.

    `refused` is told the address and the reason of each connection that is closed for it. `tls`: with it nothing is spoken
    but TLS.
    """

    request_queue_size = (
        128  # with socketserver's 5, callers of a burst wait a second and longer to be accepted
    )

    def __init__(
        self,
        *args: Any,
        networks: Sequence[Network] = (),
        bounds: Bounds = Bounds(),
        refused: Callable[[str, str], None] = lambda address, reason: None,
        tls: ssl.SSLContext | None = None,
        **options: Any,
    ) -> None:
        self.networks, self.bounds, self.refused, self.tls = tuple(networks), bounds, refused, tls
        self.sockets: weakref.WeakSet[GuardedSocket] = weakref.WeakSet()
        self._told: dict[tuple[str, str], float] = {}
        self._telling = threading.Lock()
        self._open: set[Any] = set()
        self._opening = threading.Lock()
        super().__init__(*args, **{**options, "request_handler": _Handler})

    def verify_request(self, request: Any, client_address: Any) -> bool:
        """Asked by socketserver for each connection, before its thread is made."""
        address = str(client_address[0])
        if self.networks and not any(
            ipaddress.ip_address(address.split("%")[0]) in net for net in self.networks
        ):
            self.tell(address, "its address is not allowed")
            return False
        # Counted here, in the one thread that accepts: associations start later, each in its own.
        with self._opening:
            self._open = {each for each in self._open if each.fileno() != -1}
            full = len(self._open) >= self.bounds.connections
            if not full:
                self._open.add(request)
        if full:
            self.tell(address, f"{self.bounds.connections} connections are open")
        return not full

    def secured(self, plain: socket.socket, tls: ssl.SSLContext) -> ssl.SSLSocket:
        """The connection once hands were shaken, in the time of a PDU. Raises OSError, and closes it, where not."""
        with self._opening:  # the wrapped socket takes the plain one's place in the count
            wrapped = tls.wrap_socket(plain, server_side=True, do_handshake_on_connect=False)
            self._open.discard(plain)
            self._open.add(wrapped)
        before = wrapped.gettimeout()
        try:
            wrapped.settimeout(self.bounds.pdu_seconds)
            wrapped.do_handshake()
            wrapped.settimeout(before)
        except OSError:
            wrapped.close()
            raise
        return wrapped

    def objection(self, peer: GuardedSocket, wanted: int) -> str | None:
        """Why the next bytes of a peer are not read, or None."""
        bounds = self.bounds
        if wanted > max(LARGEST_REQUEST, bounds.pdu):
            return f"it announced a PDU of {wanted:,} bytes"
        if peer.taken > bounds.film + LARGEST_REQUEST:
            return f"its film is larger than {bounds.film:,} bytes"
        if sum(each.taken for each in list(self.sockets)) > bounds.all_films:
            return f"more than {bounds.all_films:,} bytes were on their way at once"
        if time.monotonic() - peer.born > bounds.association_seconds:
            return f"its association lasted longer than {bounds.association_seconds:g} seconds"
        return None

    def handle_error(self, request: Any, client_address: Any) -> None:
        self.tell(str(client_address[0]), "its connection broke while it was set up")

    def tell(self, address: str, reason: str) -> None:
        """At most once a second for each address and kind of reason: a flood of connections is no flood of the trail."""
        with self._telling:
            now = time.monotonic()
            kind = address, reason[:12]  # numbers stand further on
            if now - self._told.get(kind, float("-inf")) < 1.0:
                return
            if len(self._told) > 10_000:
                self._told.clear()
            self._told[kind] = now
        self.refused(address, reason)
