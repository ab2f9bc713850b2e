"""Remove what was kept long enough: first from the ledger, then from the disk, so that a kill leaves a left-over at most."""

from __future__ import annotations

import shutil
from dataclasses import dataclass

from hilum.clinic.ledger import Ledger, Retention
from hilum.clinic.store import Store


@dataclass(frozen=True)
class Removed:
    """How many films and results."""

    films: int
    results: int


def remove_old(store: Store, ledger: Ledger, before: float, who: str, keep_reviewed: bool = False) -> Removed:
    """Remove the films that came before `before` (seconds since 1970), with their results; see `ledger.Retention`."""
    films = results = 0
    retention = Retention(ledger)
    while batch := retention.remove(before, who, keep_reviewed):
        for each in batch:
            store.drop(each.file)
            for folder in each.folders:
                shutil.rmtree(store.result(folder), ignore_errors=True)
            films, results = films + 1, results + len(each.folders)
    return Removed(films, results)
