"""The worker: takes a job, has a bounded process analyse the film, publishes the result whole, takes the next.

Killed at any point it leaves a lease that runs out and a left-over that is swept; the job goes to another worker, and the
instance has one result at the end.
"""

from __future__ import annotations

import logging
import os
import secrets
import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from sqlalchemy.exc import SQLAlchemyError

from hilum.analysis.workers import Failed
from hilum.clinic.analysing import Analysed, Task
from hilum.clinic.companion import Companion
from hilum.clinic.ledger import Claim, Instances, Ledger, Queue
from hilum.clinic.ledger.queue import LEASE, Made, reference_name
from hilum.clinic.store import STALE, Store
from hilum.errors import StoreFullError, one_line

logger = logging.getLogger(__name__)

SECONDS = 300.0  # a film
MEMORY = 6 * 2**30  # bytes beyond what the loaded bundles take
PAUSE = 1.0  # seconds between looks at an empty queue
TROUBLE = 10.0  # seconds until the next try after a full disk or a lost database


class Worker:
    """One queue's worker, with a process of its own that loads the bundles once.

    Parameters
    ----------
    make: what that process runs, see `Analysing`; it must pickle.
    targets: archives that DICOM results are delivered to, see `deliver.Target`.
    timeout, memory: seconds a film and bytes of the process. lease: seconds that a job stays this worker's without a sign.
    """

    def __init__(
        self,
        store: Store,
        ledger: Ledger,
        make: Callable[[], Callable[[Task], Analysed]],
        targets: tuple[str, ...] = (),
        timeout: float = SECONDS,
        memory: int | None = MEMORY,
        lease: float = LEASE,
    ) -> None:
        self.store, self.ledger, self.queue = store, ledger, Queue(ledger)
        self.targets, self.lease = targets, lease
        self.name = f"{socket.gethostname()[:60]}:{os.getpid()}:{secrets.token_hex(4)}"
        self._companion = Companion(make, timeout, memory)
        self._swept = float("-inf")
        self._referred: set[str] = set()  # digests of bundles whose references the ledger has

    def run(self, stop: threading.Event, until_empty: bool = False) -> int:
        """Work until `stop` is set, or until nothing waits; returns how many jobs ended. The job in hand is finished."""
        ended = 0
        while not stop.is_set():
            try:
                self._sweep()
                worked = self.one()
            except (
                OSError,
                StoreFullError,
                SQLAlchemyError,
            ) as error:  # a full disk, a lost database: they come back
                logger.error("the worker waits: %s", one_line(str(error))[:300])
                stop.wait(TROUBLE)
                continue
            if worked:
                ended += 1
            elif until_empty and not self._waiting():
                break
            else:
                stop.wait(PAUSE)
        return ended

    def one(self) -> bool:
        """Do the next job, if there is one."""
        claim = self.queue.claim(self.name, self.lease)
        if claim is None:
            return False
        film = self.store.film(claim.file)
        if not film.is_file():
            self.queue.fail(claim, "its file is not in the store any more", again=False)
            return True
        try:
            with self.store.making() as folder, self._held(claim):
                answer = self._companion.ask(Task(film, claim.sop_uid, folder))
                if isinstance(answer, Failed):
                    self._failed(claim, answer)
                else:
                    self._publish(claim, answer, folder)
        except BaseException:  # a full disk, a lost database, an interrupt: no fault of the film's
            with suppress(SQLAlchemyError):
                self.queue.give_back(claim)
            raise
        return True

    def close(self) -> None:
        self._companion.close()

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _failed(self, claim: Claim, answer: Failed) -> None:
        again = self.queue.fail(claim, answer.fault, again=answer.died)
        logger.info("job %d: %s%s", claim.job_id, answer.fault, " (it is tried again)" if again else "")
        for line in (answer.trace or "").splitlines():
            logger.debug("%s", line)  # a trace may quote a header; it is for a developer's eyes

    def _publish(self, claim: Claim, answer: Analysed, folder: Path) -> None:
        self._refer(answer)
        name = self.store.publish(folder)
        made = Made(answer.bundles, name, answer.files, answer.summary, answer.products, answer.seconds)
        if self.queue.finish(claim, made, self.targets):
            logger.info("job %d: done in %.1f s", claim.job_id, answer.seconds)
        else:
            shutil.rmtree(self.store.result(name), ignore_errors=True)
            logger.info("job %d: there was a result already, or another worker has it", claim.job_id)

    def _refer(self, answer: Analysed) -> None:
        """Tell the ledger, once, what a drift of these bundles is measured against."""
        if answer.references and answer.bundles not in self._referred:
            self.ledger.set(reference_name(answer.bundles), answer.references)
            self._referred.add(answer.bundles)

    @contextmanager
    def _held(self, claim: Claim) -> Iterator[None]:
        """Renew the lease while the block runs."""
        over = threading.Event()

        def beat() -> None:
            while not over.wait(self.lease / 3):
                try:
                    self.queue.renew(claim, self.lease)
                except Exception as error:  # the next beat may get through; `finish` has the last word
                    logger.warning("a lease was not renewed: %s", type(error).__name__)

        thread = threading.Thread(target=beat, daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def _waiting(self) -> bool:
        counts = self.queue.counts()
        return counts["queued"] + counts["running"] > 0

    def _sweep(self) -> None:
        """Once at the start and then each hour."""
        if time.monotonic() - self._swept < STALE:
            return
        self._swept = time.monotonic()
        swept = self.store.sweep(Instances(self.ledger).files(), self.queue.folders())
        if swept:
            logger.info("%d left-overs were removed", swept)
