"""Watch an archive: find new chest studies, fetch their films, take them in. What comes of it goes back as a delivery.

All that it remembers is in the ledger, so it may be stopped, killed or run twice: nothing is fetched twice or left out.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta

from hilum.clinic.dicomweb import Archive, FoundInstance
from hilum.clinic.intake import Intake, Outcome
from hilum.clinic.ledger.pulls import Pull
from hilum.clinic.ledger.retries import FIRST_WAIT
from hilum.clinic.look import FILM_CLASSES
from hilum.errors import HilumError, LimitError, StoreFullError, one_line

logger = logging.getLogger(__name__)

MODALITIES = ("CR", "DX")
LATE_DAYS = 2  # a study may reach the archive some days after it was taken
INTERVAL = 30.0


@dataclass(frozen=True)
class Round:
    """What one look at the archive found: studies told of, and outcomes by kind of the films fetched."""

    studies: int
    outcomes: dict[str, int]


class Watch:
    """Watches one archive for studies of `modalities`, taken since `since` (a date, or None for all there are).

    Without a date: since two days before it was first started on this ledger, which remembers that day.
    """

    def __init__(
        self,
        archive: Archive,
        intake: Intake,
        modalities: Sequence[str] = MODALITIES,
        since: date | str | None = "start",
        first_wait: float = FIRST_WAIT,
    ) -> None:
        self.archive, self.intake, self.modalities = archive, intake, tuple(modalities)
        self.pulls, self.first_wait = intake.pulls, first_wait
        if isinstance(since, str):
            self.since: str | None = self._start()
        else:
            self.since = since.strftime("%Y%m%d") if since is not None else None

    def run(self, stop: threading.Event, interval: float = INTERVAL) -> None:
        """Look every `interval` seconds until `stop` is set; an archive that is away is asked again."""
        while not stop.is_set():
            try:
                found = self.once(stop)
                if found.studies or found.outcomes:
                    logger.info("%s: %d studies, %s", self.archive.url, found.studies, found.outcomes)
            except Exception as error:  # the archive or the database is away
                logger.warning("%s: %s", self.archive.url, one_line(str(error))[:300])
            stop.wait(interval)

    def once(self, stop: threading.Event | None = None) -> Round:
        """Ask for new studies, and fetch all that are due. Raises ClinicError where the archive cannot be asked."""
        studies = self.look()
        outcomes: dict[str, int] = {}
        while not (stop is not None and stop.is_set()):
            found = self.fetch_next()
            if found is None:
                break
            for outcome in found:
                outcomes[outcome.kind] = outcomes.get(outcome.kind, 0) + 1
        return Round(studies, outcomes)

    def look(self) -> int:
        """Note every study that is new or has grown; returns how many."""
        found = 0
        for modality in self.modalities:
            for study in self.archive.studies(modality, self.since):
                found += self.pulls.refer(self.archive.url, study.study_uid, study.instances)
        return found

    def fetch_next(self) -> list[Outcome] | None:
        """Fetch the films of the study that has waited longest; None where none is due.

        A study that fails is tried again later. Films that this archive gave before are passed over without being fetched.
        """
        pull = self.pulls.due(self.archive.url)
        if pull is None:
            return None
        outcomes: list[Outcome] = []
        try:
            for found in self._wanted(pull):
                outcomes.append(self._fetch(pull, found))
        except HilumError as error:
            logger.warning("study %s, attempt %d: %s", pull.study_uid, pull.attempt, error)
            self.pulls.failed(pull, error.fault, self.first_wait)
            if isinstance(error, StoreFullError):
                raise
        else:
            self.pulls.done(pull)
        return outcomes

    def _wanted(self, pull: Pull) -> list[FoundInstance]:
        there = [
            found
            for found in self.archive.instances(pull.study_uid)
            if (found.modality is None or found.modality in (*self.modalities, "DR", "RG"))
            and (found.sop_class is None or found.sop_class in FILM_CLASSES)
        ]
        seen = self.intake.instances.seen([found.sop_uid for found in there], "watch", self.archive.url)
        return [found for found in there if found.sop_uid not in seen]

    def _fetch(self, pull: Pull, found: FoundInstance) -> Outcome:
        with self.intake.receiving() as part:
            try:
                self.archive.fetch(pull.study_uid, found, part, self.intake.limit)
            except LimitError as error:
                return self.intake.too_large(error, "watch", self.archive.url, found.sop_uid)
            return self.intake.accept_part(part, "watch", self.archive.url, found.sop_uid)

    def _start(self) -> str:
        """The day from which studies count, remembered when it is first asked for."""
        name = f"watch since {self.archive.url}"
        ledger = self.intake.ledger
        kept = ledger.setting(name)
        if kept is None:
            kept = (date.today() - timedelta(days=LATE_DAYS)).strftime("%Y%m%d")
            ledger.set(name, kept)
        return str(kept)
