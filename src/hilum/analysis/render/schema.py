"""The published JSON schema of a report."""

from __future__ import annotations

import json
from importlib import resources
from typing import Any


def report_schema() -> dict[str, Any]:
    """The JSON schema (draft 2020-12) that every `<stem>.json` follows. Keys are only ever added to it."""
    text = resources.files("hilum.analysis").joinpath("report.schema.json").read_text(encoding="utf-8")
    schema: dict[str, Any] = json.loads(text)
    return schema
