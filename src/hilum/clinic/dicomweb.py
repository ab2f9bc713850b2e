"""An archive over DICOMweb: QIDO-RS to search, WADO-RS to fetch as it lies there, STOW-RS to store. Every answer is bounded.

The protocol is spoken by `dicomweb-client`; what it would read without a limit is read here (PS3.18).
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from hilum.clinic.look import UID
from hilum.clinic.multipart import Sink, read_parts
from hilum.errors import ClinicError, LimitError, MissingExtraError
from hilum.images.limits import MAX_FILE_BYTES

logging.getLogger("retrying").setLevel(logging.CRITICAL)  # each failure is told by its error, once

CONNECT, IDLE, WHOLE = 10.0, 60.0, 600.0  # seconds to connect, between bytes, for a whole answer
MAX_JSON = 32 * 2**20
PAGE = 100  # matches asked for at once
MOST = 1_000_000  # matches of a search
_PIECE = 2**16


@dataclass(frozen=True)
class FoundStudy:
    """A study that a search found; `instances`: how many it has, where the archive says so."""

    study_uid: str
    instances: int | None


@dataclass(frozen=True)
class FoundInstance:
    sop_uid: str
    series_uid: str
    sop_class: str | None
    modality: str | None


class Archive:
    """One archive's DICOMweb service at `url`, such as `http://localhost:8042/dicom-web`.

    Who asks: HILUM_ARCHIVE_TOKEN (a bearer token), or HILUM_ARCHIVE_USER and HILUM_ARCHIVE_PASSWORD, from the environment.
    Answers come from this address alone: redirects and proxies are not followed. Every method raises ClinicError where the
    archive cannot be reached or does not answer as it must, LimitError where its answer is too large.
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.query:
            raise ClinicError(
                "this is no DICOMweb address",
                mend="Give http(s)://HOST[:PORT]/PATH, without a user or password in it.",
            )
        try:
            from dicomweb_client.api import DICOMwebClient
        except ImportError:
            raise MissingExtraError.named("clinic", "DICOMweb") from None
        self.url = url.rstrip("/")
        self._session = _session()
        self._client = DICOMwebClient(self.url, session=self._session)
        self._client.set_http_retry_params(retry=False)

    def studies(self, modality: str, since: str | None = None) -> Iterator[FoundStudy]:
        """Studies with an image of `modality`, taken on `since` (YYYYMMDD) or later."""
        filters = {"ModalitiesInStudy": modality, **({"StudyDate": f"{since}-"} if since else {})}
        fields = ["NumberOfStudyRelatedInstances"]
        search = partial(self._client.search_for_studies, fields=fields, search_filters=filters)
        for entry in self._all(search, "0020000D"):
            uid = _uid(entry, "0020000D")
            if uid is not None:
                yield FoundStudy(uid, _number(entry, "00201208"))

    def instances(self, study_uid: str) -> list[FoundInstance]:
        """All instances of a study."""
        listed: list[FoundInstance] = []
        fields = ["Modality", "SOPClassUID"]
        search = partial(self._client.search_for_instances, study_instance_uid=study_uid, fields=fields)
        for entry in self._all(search, "00080018"):
            sop_uid, series_uid = _uid(entry, "00080018"), _uid(entry, "0020000E")
            if sop_uid is not None and series_uid is not None:
                modality = _first(entry, "00080060")
                listed.append(
                    FoundInstance(
                        sop_uid, series_uid, _uid(entry, "00080016"), str(modality) if modality else None
                    )
                )
        return listed

    def _all(self, search: Callable[..., list[dict[str, Any]]], tag: str) -> Iterator[dict[str, Any]]:
        """Every match of a search once, told apart by `tag`, page by page until a page brings nothing new.

        Archives differ in what they make of `limit` and `offset` (PS3.18 section 8.3.4.4). Some give fewer than they were
        asked for, so that a short page is not the last one. Orthanc's plugin counts what `offset` passes over within
        `limit`, and others know no offset: a page that brings nothing new is asked for again with a limit that holds what is
        passed over, and from the first time that this brings more, every page is.
        """
        seen: set[str] = set()
        start = passed = 0
        while start <= MOST:
            with _told(self.url):
                found = search(limit=passed + PAGE, offset=start)
            before = len(seen)
            for entry in found:
                if (key := str(_first(entry, tag))) not in seen:
                    seen.add(key)
                    yield entry
            if len(seen) > before:
                start += len(found)
                passed = start if passed else 0
            elif passed < start:
                passed = start
            else:
                return
        raise LimitError(f"{self.url} tells of more than {MOST:,} matches")

    def fetch(self, study_uid: str, found: FoundInstance, sink: Sink, limit: int = MAX_FILE_BYTES) -> None:
        """Write an instance's DICOM file to `sink` as it comes, in the transfer syntax that it lies in."""
        url = f"{self.url}/studies/{study_uid}/series/{found.series_uid}/instances/{found.sop_uid}"
        accept = 'multipart/related; type="application/dicom"; transfer-syntax=*'
        with _told(self.url), self._session.get(url, headers={"Accept": accept}, stream=True) as answer:
            answer.raise_for_status()
            pieces = _in_time(answer.iter_content(_PIECE))
            kind = answer.headers.get("Content-Type", "")
            count = read_parts(kind, pieces, lambda: sink, lambda _: None, limit + 2**16, parts=1)
            if count != 1:
                raise ClinicError(f"{self.url} sent no instance")

    def store(self, paths: Sequence[Path]) -> None:
        """Store DICOM files; what lies there already stays as it is. Raises ClinicError where one is not taken."""
        from pydicom import dcmread

        with _told(self.url):
            answer = self._client.store_instances([dcmread(path) for path in paths])
        failed = answer.get("FailedSOPSequence") or []
        if len(failed):
            why = f"0x{int(failed[0].get('FailureReason') or 0):04X}"
            raise ClinicError(f"{self.url} did not take {len(failed)} of {len(paths)} objects ({why})")

    def close(self) -> None:
        self._session.close()


def _session() -> Any:
    import requests
    from requests.adapters import HTTPAdapter

    class Bounded(HTTPAdapter):
        """Reads whole answers up to a limit, where requests would read on."""

        def send(self, request: Any, *args: Any, **options: Any) -> Any:
            whole = not options.get("stream")
            answer: Any = super().send(
                request, *args, **{**options, "stream": True, "timeout": (CONNECT, IDLE)}
            )
            if whole:
                content = bytearray()
                for piece in _in_time(answer.iter_content(_PIECE)):
                    content += piece
                    if len(content) > MAX_JSON:
                        answer.close()
                        raise LimitError(f"the archive's answer is larger than {MAX_JSON // 2**20} MiB")
                answer._content = bytes(content)
            return answer

    session = requests.Session()
    session.trust_env = False
    session.max_redirects = 0
    session.mount("http://", Bounded())
    session.mount("https://", Bounded())
    token, user = os.environ.get("HILUM_ARCHIVE_TOKEN"), os.environ.get("HILUM_ARCHIVE_USER")
    if token:
        session.headers["Authorization"] = f"Bearer {token}"
    elif user:
        session.auth = (user, os.environ.get("HILUM_ARCHIVE_PASSWORD", ""))
    if os.environ.get("HILUM_ARCHIVE_CA"):
        session.verify = os.environ["HILUM_ARCHIVE_CA"]
    return session


class _told:
    """Whatever goes wrong on the way to an archive, as one kind of error that names it."""

    def __init__(self, url: str) -> None:
        self.url = url

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, error: BaseException | None, _: Any) -> None:
        import requests

        if isinstance(error, requests.HTTPError) and error.response is not None:
            raise ClinicError(f"{self.url} answered {error.response.status_code}") from error
        if isinstance(error, requests.RequestException):
            fault = f"{self.url} cannot be reached ({type(error).__name__})"
            raise ClinicError(fault, mend="Check its address, and that it runs.") from error
        if isinstance(error, ValueError | KeyError | TypeError | AttributeError):
            raise ClinicError(
                f"{self.url} does not answer as DICOMweb does ({type(error).__name__})"
            ) from error


def _in_time(pieces: Iterator[bytes]) -> Iterator[bytes]:
    until = time.monotonic() + WHOLE
    for piece in pieces:
        if time.monotonic() > until:
            raise LimitError(f"the archive's answer took longer than {WHOLE:g} seconds")
        yield piece


def _first(entry: Any, tag: str) -> Any:
    """The first value of an element in the DICOM JSON model (PS3.18 F.2), or None."""
    found = entry.get(tag, {}).get("Value") or [None]
    return found[0]


def _uid(entry: Any, tag: str) -> str | None:
    """A value that is a UID: it becomes a part of an address."""
    found = _first(entry, tag)
    return found if isinstance(found, str) and len(found) <= 64 and UID.fullmatch(found) else None


def _number(entry: Any, tag: str) -> int | None:
    found = _first(entry, tag)
    return int(found) if isinstance(found, int | float | str) and str(found).isdigit() else None
