"""A Ray cluster of this machine, with room for two processes."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest


@pytest.fixture(scope="session")
def cluster() -> Iterator[str]:
    """Its address."""
    ray = pytest.importorskip("ray", reason="the extra 'cluster' is not installed")
    pytest.importorskip("ray.data")
    # Beside other tests the usual niceness, 15, is never, and 30 s to start are few.
    os.environ.update(RAY_worker_niceness="0", RAY_raylet_start_wait_time_s="300")
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, object_store_memory=80 * 2**20)
    yield "auto"
    ray.shutdown()
