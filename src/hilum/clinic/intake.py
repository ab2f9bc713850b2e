"""The one way in. Every door (node, watch, upload, command line) hands what it gets to `Intake`, and answers as it says.

The order is fixed: written to disk within a limit, looked at in a bounded process, given its name, and written down in one
transaction. When `accept` returns the film is safe: neither a kill nor a power cut loses it or doubles it.
"""

from __future__ import annotations

import logging
import queue
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol, runtime_checkable

from hilum.analysis.workers import Failed
from hilum.clinic.companion import Companion
from hilum.clinic.ledger import Facts, Instances, Ledger, Pulls, Trail
from hilum.clinic.look import Seen, looker
from hilum.clinic.store import Part, Store
from hilum.errors import ClinicError, LimitError, one_line
from hilum.images.limits import MAX_FILE_BYTES

logger = logging.getLogger(__name__)

LOOK_SECONDS = 120.0  # of looking at one file; the largest film takes about 3
LOOK_MEMORY = 1536 * 2**20  # bytes; `hilum.read` stays below 1 GiB for the largest film
_PIECE = 2**20

Kind = Literal["queued", "known", "conflict", "quarantined", "not for us", "refused"]


@runtime_checkable
class Readable(Protocol):
    """A binary stream."""

    def read(self, size: int, /) -> bytes: ...


@dataclass(frozen=True)
class Outcome:
    """What became of a film at the door.

    `kind`: `queued` (it will be analysed), `known` (it came before; `job_id` is the job of that time), `conflict` and
    `quarantined` (kept, and held until a person releases it), `not for us` (noted, its file not kept), `refused` (nothing is
    kept; `too_large` where that is why). `reason` and `mend`: in words, None where it is queued.
    """

    kind: Kind
    sop_uid: str | None = None
    study_uid: str | None = None
    instance_id: int | None = None
    job_id: int | None = None
    reason: str | None = None
    mend: str | None = None
    too_large: bool = False

    @property
    def accepted(self) -> bool:
        """May the sender forget it?"""
        return self.kind != "refused"


class Intake:
    """Takes films in for one store and ledger; all threads of a process share one.

    `limit`: bytes a file. `lookers`: processes that look at files, side by side. Close it at the end.
    """

    def __init__(self, store: Store, ledger: Ledger, limit: int = MAX_FILE_BYTES, lookers: int = 1) -> None:
        self.store, self.ledger, self.limit = store, ledger, limit
        self.instances, self.trail, self.pulls = Instances(ledger), Trail(ledger), Pulls(ledger)
        self._all = [Companion(looker, LOOK_SECONDS, LOOK_MEMORY) for _ in range(lookers)]
        self._free: queue.SimpleQueue[Companion[tuple[Path, str], Seen]] = queue.SimpleQueue()
        for each in self._all:
            self._free.put(each)

    def receiving(self) -> Part:
        """Something to write a film to as it comes, for `accept_part`: `with intake.receiving() as part: part.write(...)`.

        Raises StoreFullError where there is no room; its `write` raises LimitError past the limit, for which `too_large` has
        the answer.
        """
        return self.store.receiving(self.limit)

    def accept(
        self, source: Path | Readable | Iterable[bytes], door: str, sender: str, named: str | None = None
    ) -> Outcome:
        """Take one film in, from a file, a stream or pieces of bytes.

        `door`: `node`, `watch`, `upload`, `cli`; `sender`: who handed it in there; `named`: the SOP Instance UID that its
        sender names it by, which the trail keeps of one that is refused. Raises StoreFullError where there is no room, and
        what reading `source` raises; whatever the film is, the answer is an `Outcome`.
        """
        with self.receiving() as part:
            try:
                if isinstance(source, Path):
                    with source.open("rb") as file:
                        _copy(_pieces(file), part)
                else:
                    _copy(_pieces(source) if isinstance(source, Readable) else source, part)
            except LimitError as error:
                return self.too_large(error, door, sender, named)
            return self.accept_part(part, door, sender, named)

    def accept_part(self, part: Part, door: str, sender: str, named: str | None = None) -> Outcome:
        """Take in what was written to a part, as `accept` does. Raises StoreFullError."""
        sender = one_line(sender)
        part.close()
        seen = self._look(part)
        if isinstance(seen, Failed):
            logger.info("refused from %s by %s: %s", sender, door, seen.fault)
            self.instances.refuse(door, sender, seen.fault, named)
            return Outcome("refused", reason=seen.fault, mend=seen.mend)
        facts = self._facts(seen)
        if seen.elsewhere is None:
            self.store.keep(part)
        admitted = self.instances.admit(facts, part.digest, part.size, door, sender)
        logger.info("%s from %s by %s: %s", admitted.kind, sender, door, seen.sop_uid)
        return Outcome(
            admitted.kind,
            seen.sop_uid,
            seen.study_uid,
            admitted.instance_id,
            admitted.job_id,
            admitted.reason,
            _MENDS.get(admitted.kind),
        )

    def too_large(self, error: LimitError, door: str, sender: str, named: str | None = None) -> Outcome:
        """The outcome of a film that passed the limit while it came."""
        self.instances.refuse(door, sender, error.fault, named)
        return Outcome("refused", reason=error.fault, mend=error.mend, too_large=True)

    def refer(self, source: str, study_uid: str, allowed: Iterable[str], door: str, sender: str) -> bool:
        """Ask for a study of an archive to be fetched, as a webhook does; True where it will be, False where it is already
        waiting. `allowed`: the archives that may be asked; no one makes this machine call another address. The `hilum watch`
        of that archive fetches it. Raises ClinicError for another archive or what is no UID."""
        from hilum.clinic.look import UID

        if source.rstrip("/") not in {each.rstrip("/") for each in allowed}:
            self.trail.add(
                "denied", door, sender, {"reason": "a study at an archive that is not configured"}, 8
            )
            raise ClinicError("this archive is not configured", mend="Name one that `hilum watch` watches.")
        if len(study_uid) > 64 or not UID.fullmatch(study_uid):
            raise ClinicError("this is no Study Instance UID")
        self.trail.add("queried", door, sender, {"study": study_uid})
        return self.pulls.refer(source.rstrip("/"), study_uid)

    def close(self) -> None:
        for each in self._all:
            each.close()

    def __enter__(self) -> Intake:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _look(self, part: Part) -> Seen | Failed:
        companion = self._free.get()
        try:
            return companion.ask((part.path, part.digest))
        finally:
            self._free.put(companion)

    def _facts(self, seen: Seen) -> Facts:
        mark = self.instances.mark
        return Facts(
            sop_uid=seen.sop_uid,
            pixels=seen.pixels,
            sop_class=seen.sop_class,
            study_uid=seen.study_uid,
            series_uid=seen.series_uid,
            modality=seen.modality[:16] if seen.modality else None,
            patient=mark(seen.patient_id),
            accession=mark(seen.accession),
            elsewhere=seen.elsewhere,
        )


_MENDS = {
    "conflict": "It is kept; compare both and release it with `hilum queue release`.",
    "quarantined": "It is kept; check whose it is and release it with `hilum queue release`.",
}


def _pieces(file: Readable) -> Iterable[bytes]:
    while piece := file.read(_PIECE):
        yield piece


def _copy(pieces: Iterable[bytes], part: Part) -> None:
    for piece in pieces:
        part.write(piece)
