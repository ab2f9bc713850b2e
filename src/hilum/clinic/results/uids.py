"""Identifiers that follow from what they name: the same film and the same bundles give the same ones, on every machine.

They are UUIDs by name (RFC 9562 version 5) under the root 2.25 (PS3.5 Annex B.2).
"""

from __future__ import annotations

import uuid

from hilum.analysis.report import Report

_NAMESPACE = uuid.UUID("5b0c4c3e-7a7a-5d53-9f8e-9d9a6f1d2f40")
LAYOUT = "1"
"""Rises when what is written of the same report changes, so that two contents never share an identifier."""


def uid_of(*parts: str) -> str:
    """The identifier of these parts in this order, whatever characters they hold."""
    name = "".join(f"{len(part)}:{part}" for part in parts)
    return f"2.25.{uuid.uuid5(_NAMESPACE, name).int}"


def result_uid(report: Report, film: str, *what: str) -> str:
    """The identifier of `what` (kind of result, instance or series) of the film with SOP Instance UID `film`.

    It depends on the film, the bundles and their digests, and nothing else of the report: to analyse again gives the same.
    """
    bundles = sorted(f"{used.name} {used.version} {used.digest}" for used in report.bundles)
    return uid_of(LAYOUT, film, *what, *bundles)
