"""What the service works with, in one place: the clinic's parts, the gate, films as frames, and counts of its answers."""

from __future__ import annotations

from hilum.clinic.intake import Intake
from hilum.clinic.ledger import Ledger, Queue, Reviews, Tokens, Trail, Worklist
from hilum.clinic.store import Store
from hilum.service.auth import Gate
from hilum.service.counts import Counts
from hilum.service.frames import Frames
from hilum.service.settings import Settings


class Desk:
    """One for each process. Close it at the end."""

    def __init__(
        self, store: Store, ledger: Ledger, settings: Settings = Settings(), lookers: int = 1
    ) -> None:
        self.store, self.ledger, self.settings = store, ledger, settings
        self.intake = Intake(store, ledger, settings.film, lookers)
        self.queue, self.worklist, self.reviews = Queue(ledger), Worklist(ledger), Reviews(ledger)
        self.trail = Trail(ledger)
        self.gate = Gate(Tokens(ledger), self.trail, settings.session)
        self.frames, self.counts = Frames(), Counts()

    def close(self) -> None:
        self.intake.close()
        self.frames.close()

    def __enter__(self) -> Desk:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
