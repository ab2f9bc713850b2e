"""A connection to a Ray cluster."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from hilum.errors import HilumError, MissingExtraError

LOCAL = "local"
"""The address that starts a cluster of this machine alone, which ends with the call."""


@contextmanager
def connected(address: str, feature: str) -> Iterator[Any]:
    """The module `ray`, connected to the cluster at `address` (`host:port`, `ray://host:port`, `auto` or `local`).

    A connection that is there already is used, and left. Nodes must have Hilum installed, in the same version. HilumError
    where nothing answers, MissingExtraError without the extra `cluster`.
    """
    os.environ.setdefault("RAY_TRAIN_V2_ENABLED", "1")
    try:
        import ray
    except ModuleNotFoundError as error:
        raise MissingExtraError.named("cluster", feature) from error
    ours = not ray.is_initialized()
    if ours:
        try:
            ray.init(address=address, log_to_driver=False, logging_level=logging.WARNING)
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise HilumError(
                f"no Ray cluster answers at {address} ({error})",
                mend="Start one with `ray start --head`, and give its address, or --ray local",
            ) from error
    try:
        yield ray
    finally:
        if ours:
            ray.shutdown()
