"""TLS of DICOM connections, by BCP 195 (PS3.15 B.12): version 1.2 or newer, both sides by certificates where asked."""

from __future__ import annotations

import os
import ssl
from collections.abc import Callable
from pathlib import Path

from hilum.errors import ClinicError


def of_a_node(cert: Path, key: Path, clients: Path | None = None) -> ssl.SSLContext:
    """What the node answers connections with. `clients`: authorities, PEM; then only senders whose certificate one of them
    signed are heard. Raises ClinicError for files that cannot be loaded."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    _load(cert, lambda: context.load_cert_chain(cert, key))
    if clients is not None:
        _load(clients, lambda: context.load_verify_locations(clients))
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def of_a_sender() -> ssl.SSLContext:
    """What results are sent with. The archive's certificate must be of its host and of an authority that the system trusts,
    or of HILUM_ARCHIVE_CA; our own is HILUM_ARCHIVE_CERT with HILUM_ARCHIVE_KEY. Raises ClinicError as above."""
    authorities = os.environ.get("HILUM_ARCHIVE_CA") or None
    context = ssl.create_default_context()
    if authorities is not None:
        _load(Path(authorities), lambda: context.load_verify_locations(authorities))
    cert = os.environ.get("HILUM_ARCHIVE_CERT")
    if cert:
        key = os.environ.get("HILUM_ARCHIVE_KEY")
        _load(Path(cert), lambda: context.load_cert_chain(cert, key))
    return context


def _load(path: Path, load: Callable[[], None]) -> None:
    try:
        load()
    except (OSError, ValueError) as error:
        raise ClinicError(
            f"the certificate cannot be loaded ({getattr(error, 'strerror', None) or error})",
            path=path,
            mend="Give PEM files.",
        ) from error
