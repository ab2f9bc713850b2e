"""Names that stay inside their folder, files that are whole or absent, and JSON that every parser reads."""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import secrets
from pathlib import Path
from typing import Any

import numpy as np

LONGEST = 120  # bytes of a name's part; file systems take 255 for all of it


def safe_name(name: str) -> str:
    """`name` as part of a file name: letters, digits, `.`, `_`, `-`, single spaces, no leading dot, at most 120 bytes.

    A name that had to change carries eight hex digits of its own SHA-256, so that two names never become one.
    """
    kept = re.sub(r"[^\w.\- ]|\s(?=\s)", "_", name).lstrip(". ").rstrip(". ")
    kept = kept.encode("utf-8", "ignore")[:LONGEST].decode("utf-8", "ignore")
    if kept and kept == name:
        return name
    mark = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return f"{kept or 'film'}-{mark}"


def slug(name: str) -> str:
    """A finding's or bundle's name in lower case and hyphens: `Pleural Thickening` is `pleural-thickening`."""
    return safe_name(re.sub(r"[\s_\-]+", "-", name.strip()).casefold())


def write_whole(path: Path, content: bytes) -> None:
    """Write beside `path`, then move into place: a reader or a kill meets the old file or the new, never half."""
    work = path.with_name(f".{secrets.token_hex(8)}.tmp")
    try:
        work.write_bytes(content)
        os.replace(work, path)
    finally:
        work.unlink(missing_ok=True)


def as_json(data: Any) -> bytes:
    """Strict JSON (RFC 8259) in ASCII: a number that is not finite is null; numpy's scalars are numbers.

    Each entry of an object stands on a line of its own, and so does each item of a list in it: to be read by people, and
    written by json's encoder in C, which knows no `indent`.
    """
    plain = _plain(data)
    if not isinstance(plain, dict) or not plain:
        return (_dense(plain) + "\n").encode("ascii")
    entries = (f" {_dense(key)}: {_by_item(value)}" for key, value in plain.items())
    return ("{\n" + ",\n".join(entries) + "\n}\n").encode("ascii")


def _by_item(value: Any) -> str:
    if isinstance(value, list) and value and isinstance(value[0], dict | list):
        return "[\n" + ",\n".join(f"  {_dense(item)}" for item in value) + "\n ]"
    return _dense(value)


def _dense(value: Any) -> str:
    return json.dumps(value, allow_nan=False)


def _plain(data: Any) -> Any:
    if isinstance(data, np.generic):
        data = data.item()
    if isinstance(data, float):
        return data if math.isfinite(data) else None
    if isinstance(data, dict):
        return {str(key): _plain(value) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return [_plain(value) for value in data]
    return data if data is None or isinstance(data, bool | int | str) else str(data)
