"""Other identifiers in place of the true ones, from a secret key: the same value gives the same one, and none leads back.

Each carries a mark that only the key's owner can make, so that a film which was de-identified with the same key before
is left as it is: twice is once.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import uuid
from dataclasses import dataclass
from datetime import date, timedelta

LONGEST_SHIFT = 3650  # days: ten years


@dataclass(frozen=True)
class Identity:
    """What a project's `key` (secret bytes, at least 16) makes of identifiers and dates."""

    key: bytes

    def __post_init__(self) -> None:
        if len(self.key) < 16:
            raise ValueError("a key needs at least 16 bytes")

    def __repr__(self) -> str:  # never in a log
        return "Identity(...)"

    def uid(self, uid: str) -> str:
        """A UID's stand-in, a UUID under 2.25 (PS3.5 B.2): its first half from the UID, its second a mark of the key."""
        return uid if self.made_uid(uid) else self._marked(self._head("uid", uid))

    def made_uid(self, uid: str) -> bool:
        """Was this UID made with this key?"""
        found = re.fullmatch(r"2\.25\.(\d{1,39})", uid)
        if found is None or int(found[1]) >> 128:
            return False
        return self._marked((int(found[1]) >> 64).to_bytes(8, "big")) == uid

    def patient(self, patient: str) -> str:
        """A Patient ID's stand-in: `P` and twenty hex digits."""
        if self.made_patient(patient):
            return patient
        head = self._head("patient", patient)[:6]
        return f"P{(head + self._mark(head)[:4]).hex().upper()}"

    def made_patient(self, patient: str) -> bool:
        """Was this Patient ID made with this key?"""
        found = re.fullmatch(r"P([0-9A-F]{12})([0-9A-F]{8})", patient)
        return found is not None and self._mark(bytes.fromhex(found[1]))[:4] == bytes.fromhex(found[2])

    def shift(self, patient: str) -> timedelta:
        """How far all dates of a patient are moved: 1 to `LONGEST_SHIFT` days back; none where that was done before."""
        if self.made_patient(patient):
            return timedelta(0)
        return -timedelta(1 + int.from_bytes(self._head("shift", patient), "big") % LONGEST_SHIFT)

    def _head(self, kind: str, text: str) -> bytes:
        return hmac.digest(self.key, f"{kind}:{text}".encode(), hashlib.sha256)[:8]

    def _mark(self, head: bytes) -> bytes:
        return hmac.digest(self.key, b"mark:" + head, hashlib.sha256)[:8]

    def _marked(self, head: bytes) -> str:
        # A UUID's version takes four bits of the first half: they are set before the mark is made.
        head = bytes([*head[:6], 0x50 | (head[6] & 15), head[7]])
        return f"2.25.{uuid.UUID(bytes=head + self._mark(head), version=5).int}"


def shifted_date(value: str, by: timedelta) -> str:
    """A DICOM date (DA: YYYYMMDD) moved; what is no date becomes empty."""
    found = re.fullmatch(r"(\d{4})[.-]?(\d\d)[.-]?(\d\d)", value.strip())
    try:
        return (date(int(found[1]), int(found[2]), int(found[3])) + by).strftime("%Y%m%d") if found else ""
    except (ValueError, OverflowError):
        return ""


def shifted_datetime(value: str, by: timedelta) -> str:
    """A DICOM date and time (DT) moved by whole days, without its time zone; what lacks a day becomes empty."""
    found = re.fullmatch(r"(\d{8})(\d{0,6}(?:\.\d{1,6})?)(?:[+-]\d{4})?", value.strip())
    if found is None:
        return ""
    day = shifted_date(found[1], by)
    return day + found[2] if day else ""
