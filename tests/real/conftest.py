"""Real data: the tests in this folder run on it, and say why they do not where it is absent."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


def data_root() -> Path:
    """HILUM_DATA, else ../shared/data beside the project's root."""
    return Path(
        os.environ.get("HILUM_DATA") or Path(__file__).resolve().parents[2].parent / "shared" / "data"
    )


@pytest.fixture(scope="session")
def real_data() -> Path:
    root = data_root()
    if not (root / "README.md").is_file():
        pytest.skip(f"real data is absent: no {root} (set HILUM_DATA to run these tests)")
    return root
