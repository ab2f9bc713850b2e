"""What whoever starts the service decides."""

from __future__ import annotations

from dataclasses import dataclass

from hilum.images.limits import MAX_FILE_BYTES


@dataclass(frozen=True)
class Settings:
    """`film`: bytes of one film. `body`: bytes of one request. `idle`, `whole`: seconds between two pieces of a body, and
    for all of it. `archives`: DICOMweb addresses that a study may be referred to at. `secure`: is it served by TLS? Then
    cookies say so. `names`: show a patient's name in the reading view. `session`: seconds that a login holds."""

    film: int = MAX_FILE_BYTES
    body: int = 2 * 2**30
    idle: float = 30.0
    whole: float = 600.0
    archives: tuple[str, ...] = ()
    secure: bool = False
    names: bool = True
    session: float = 8 * 3600.0
