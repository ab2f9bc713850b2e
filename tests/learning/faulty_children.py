"""What goes wrong in a process that trains with others; a file of its own, which a new process imports at once."""

from __future__ import annotations

import os
import time

from hilum.errors import RecipeError


def faulty(rank: int, count: int, how: str) -> int:
    """The first process waits, as for the others; another ends as it is told to."""
    if rank == 0:
        time.sleep(60)
    if how == "dies":
        os._exit(9)
    raise RecipeError("no such thing") if how == "refuses" else ValueError("a fault")
