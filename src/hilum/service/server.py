"""The HTTP server: uvicorn, with connections that are counted, and that must say what they want in time."""

from __future__ import annotations

import asyncio
import logging
import threading
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.h11_impl import H11Protocol

from hilum.errors import ClinicError
from hilum.service.limits import MAX_HEADER_BYTES

CONNECTIONS = 200  # at once
HEADER_SECONDS = 15.0  # from a connection, or an answer, to the next request's last header
KEEP_ALIVE = 15

logging.getLogger("uvicorn.error").setLevel(logging.ERROR)  # a bad request is no fault of the service's


class Guarded(H11Protocol):
    """A connection. uvicorn waits for a request's headers as long as a peer likes; this one hangs up."""

    _waiting: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > CONNECTIONS:
            transport.abort()
            return
        self._wait()

    def handle_events(self) -> None:
        super().handle_events()
        if self.cycle is not None and not self.cycle.response_complete:
            self._stop()

    def on_response_complete(self) -> None:
        self._wait()
        super().on_response_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop()
        super().connection_lost(exc)

    def _wait(self) -> None:
        self._stop()
        self._waiting = self.loop.call_later(HEADER_SECONDS, self.transport.abort)

    def _stop(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None


class Server:
    """Serves an app in a thread of its own until `stop`. Raises ClinicError where the port or the certificate is no good."""

    def __init__(
        self, app: FastAPI, host: str, port: int, cert: Path | None = None, key: Path | None = None
    ) -> None:
        options: dict[str, Any] = {"ssl_certfile": cert, "ssl_keyfile": key} if cert is not None else {}
        self._config = uvicorn.Config(
            app, host, port, http=Guarded, ws="none", lifespan="off", access_log=False, log_config=None,
            server_header=False, proxy_headers=False, h11_max_incomplete_event_size=2 * MAX_HEADER_BYTES,
            timeout_keep_alive=KEEP_ALIVE, timeout_graceful_shutdown=10, backlog=CONNECTIONS, **options,
        )  # fmt: skip
        try:
            self._config.load()
        except OSError as error:
            raise ClinicError(
                f"the certificate cannot be loaded ({error.strerror or error})",
                path=cert,
                mend="Give PEM files.",
            ) from error
        self._server = uvicorn.Server(self._config)
        self._thread: threading.Thread | None = None

    def start(self) -> int:
        """Listen; returns the port."""
        import socket

        family = socket.AF_INET6 if ":" in self._config.host else socket.AF_INET
        listening = socket.socket(family)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind((self._config.host, self._config.port))
            listening.listen(CONNECTIONS)  # here, so that whoever is told the port can connect
        except OSError as error:
            listening.close()
            raise ClinicError(
                f"port {self._config.port} cannot be listened on ({error.strerror})",
                mend="Choose another one.",
            ) from error
        self._thread = threading.Thread(
            target=self._server.run, args=([listening],), name="serve", daemon=True
        )
        self._thread.start()
        return int(listening.getsockname()[1])

    def stop(self) -> None:
        """Finish the answers in hand, at most ten seconds, and end."""
        self._server.should_exit = True
        if self._thread is not None:
            self._thread.join(20)
