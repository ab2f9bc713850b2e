"""What deliveries and pulls share: rows that wait, are tried, and are tried again later and later."""

from __future__ import annotations

import random
import time
from typing import Any

from sqlalchemy import Connection, Table, select, update

FIRST_WAIT, LONGEST_WAIT = 5.0, 3600.0  # seconds
ATTEMPTS = 20  # with the waits above: about half a day


def wait_after(attempts: int, first: float = FIRST_WAIT) -> float:
    """Seconds until the next try: doubled each time up to an hour, spread by a quarter so that many do not come at once."""
    return min(first * 2.0 ** min(attempts, 30), LONGEST_WAIT) * random.uniform(0.75, 1.25)


def take_due(connection: Connection, table: Table, hold: float, *conditions: Any) -> Any:
    """The row that has waited longest, put off by `hold` seconds so that no one else takes it meanwhile; or None."""
    now = time.time()
    due = select(table).where(table.c.state == "waiting", table.c.next_try <= now, *conditions)
    row = connection.execute(due.order_by(table.c.next_try, table.c.id).limit(1)).first()
    if row is not None:
        held = {"next_try": now + hold, "attempts": row.attempts + 1, "changed": now}
        connection.execute(update(table).where(table.c.id == row.id).values(**held))
    return row


def settle(
    connection: Connection, table: Table, row_id: int, state: str, reason: str | None = None, **values: Any
) -> None:
    """Write what came of a try."""
    short = reason[:500] if reason is not None else None
    changed = {"state": state, "reason": short, "changed": time.time(), **values}
    connection.execute(update(table).where(table.c.id == row_id).values(**changed))
