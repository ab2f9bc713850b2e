"""A request's body into the intake as it comes: a film, or a multipart body of several. Nothing is held in memory."""

from __future__ import annotations

from contextlib import ExitStack
from email.message import Message

from fastapi import Request
from starlette.concurrency import run_in_threadpool

from hilum.clinic.intake import Intake, Outcome
from hilum.clinic.multipart import Sink, Splitter
from hilum.clinic.store import Part
from hilum.errors import LimitError
from hilum.service.problems import Problem

FILMS = ("application/dicom", "application/octet-stream", "image/png", "image/jpeg", "image/tiff")
MULTIPART = ("multipart/form-data", "multipart/related")


async def films_of(request: Request, intake: Intake, door: str, sender: str) -> list[Outcome]:
    """What became of each film of the body. Raises Problem (415), LimitError, ClinicError, StoreFullError."""
    given = request.headers.get("content-type", "")
    message = Message()
    message["Content-Type"] = given
    kind = message.get_content_type() if given else ""
    if kind in FILMS:
        return [await _one(request, intake, door, sender)]
    if kind in MULTIPART:
        return await _several(request, given, intake, door, sender)
    raise Problem(
        415, "the body is of a kind that is not taken", f"Send {', '.join(FILMS)}, or a multipart body."
    )


async def _one(request: Request, intake: Intake, door: str, sender: str) -> Outcome:
    with intake.receiving() as part:
        try:
            async for piece in request.stream():
                part.write(piece)
        except LimitError as error:
            return await run_in_threadpool(intake.too_large, error, door, sender)
        return await run_in_threadpool(intake.accept_part, part, door, sender)


async def _several(
    request: Request, content_type: str, intake: Intake, door: str, sender: str
) -> list[Outcome]:
    receiver = _Receiver(intake, door, sender)
    with receiver:
        splitter = Splitter(
            content_type, receiver.begin, receiver.end, request.app.state.desk.settings.body, kinds=MULTIPART
        )
        async for piece in request.stream():
            if piece:
                await run_in_threadpool(splitter.write, piece)
        splitter.finish()
    return receiver.outcomes


class _Receiver:
    """Takes parts in one after the other. One that is too large is left, and the next one is taken."""

    def __init__(self, intake: Intake, door: str, sender: str) -> None:
        self.intake, self.door, self.sender = intake, door, sender
        self.outcomes: list[Outcome] = []
        self._open = ExitStack()

    def begin(self) -> Sink:
        return _Bounded(self._open.enter_context(self.intake.receiving()))

    def end(self, sink: Sink) -> None:
        assert isinstance(sink, _Bounded)
        if sink.error is not None:
            self.outcomes.append(self.intake.too_large(sink.error, self.door, self.sender))
        else:
            self.outcomes.append(self.intake.accept_part(sink.part, self.door, self.sender))
        self._open.close()

    def __enter__(self) -> _Receiver:
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()


class _Bounded:
    """A part that takes no more once its limit is passed, and goes on reading."""

    def __init__(self, part: Part) -> None:
        self.part = part
        self.error: LimitError | None = None

    def write(self, piece: bytes) -> None:
        if self.error is None:
            try:
                self.part.write(piece)
            except LimitError as error:
                self.error = error
