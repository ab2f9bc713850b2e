"""multipart/related of DICOMweb (PS3.18 8.6), streamed: each part is written on as it comes, and everything is bounded."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from email.message import Message
from typing import Protocol

from hilum.errors import ClinicError, LimitError

MAX_PARTS = 1000
MAX_HEADERS, MAX_HEADER_BYTES = 16, 4096


class Sink(Protocol):
    """What a part is written to."""

    def write(self, piece: bytes) -> object: ...


def boundary_of(content_type: str, kinds: tuple[str, ...] = ("multipart/related",)) -> str:
    """The boundary that a Content-Type names. Raises ClinicError where it is none of `kinds`."""
    message = Message()
    message["Content-Type"] = content_type
    boundary = message.get_param("boundary")
    if message.get_content_type() not in kinds or not isinstance(boundary, str) or not boundary:
        raise ClinicError(
            f"the body is no {' or '.join(kinds)}", mend="Send DICOM as PS3.18 10.5 (STOW-RS) says."
        )
    return boundary


def read_parts(
    content_type: str,
    pieces: Iterable[bytes],
    begin: Callable[[], Sink],
    end: Callable[[Sink], None],
    limit: int,
    parts: int = MAX_PARTS,
) -> int:
    """Take a multipart body apart: `begin` gives what a part is written to, `end` is told when it is whole.

    `limit`: bytes of the body in all. Returns how many parts there were. Raises LimitError for a body, a header or a number
    of parts past its limit, ClinicError for what is no multipart body or ends before its end; what `write`, `begin` and
    `end` raise goes through.
    """
    splitter = Splitter(content_type, begin, end, limit, parts)
    for piece in pieces:
        splitter.write(piece)
    return splitter.finish()


class Splitter:
    """`read_parts` for a caller that is handed the body piece by piece, as an asynchronous server is."""

    def __init__(
        self,
        content_type: str,
        begin: Callable[[], Sink],
        end: Callable[[Sink], None],
        limit: int,
        parts: int = MAX_PARTS,
        kinds: tuple[str, ...] = ("multipart/related",),
    ) -> None:
        from python_multipart.multipart import MultipartParser

        self._begin, self._end, self._limit, self._most = begin, end, limit, parts
        self._sink: Sink | None = None
        self._size = self._count = 0
        self._whole = False
        callbacks = {
            "on_part_begin": self._part_begins,
            "on_part_data": self._data,
            "on_part_end": self._part_ends,
            "on_end": self._body_ends,
        }
        self._parser = MultipartParser(
            boundary_of(content_type, kinds),
            callbacks,  # type: ignore[arg-type]
            max_header_count=MAX_HEADERS,
            max_header_size=MAX_HEADER_BYTES,
        )

    def write(self, piece: bytes) -> None:
        from python_multipart.exceptions import FormParserError

        self._size += len(piece)
        if self._size > self._limit:
            raise LimitError(
                f"the body is larger than {self._limit:,} bytes", mend="Send fewer films at once."
            )
        try:
            self._parser.write(piece)
        except FormParserError as error:
            raise ClinicError(f"the body is no valid multipart ({error})", mend="Send it again.") from error

    def finish(self) -> int:
        """Say that the body is over; returns how many parts it had."""
        if not self._whole:
            raise ClinicError("the body ends before its last boundary", mend="Send it again.")
        return self._count

    def _part_begins(self) -> None:
        self._count += 1
        if self._count > self._most:
            raise LimitError(f"the body has more than {self._most} parts", mend="Send fewer films at once.")
        self._sink = self._begin()

    def _data(self, data: bytes, start: int, end: int) -> None:
        assert self._sink is not None
        self._sink.write(data[start:end])

    def _part_ends(self) -> None:
        assert self._sink is not None
        sink, self._sink = self._sink, None
        self._end(sink)

    def _body_ends(self) -> None:
        self._whole = True
