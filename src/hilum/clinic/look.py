"""The look at a file before it is let in: what it is, whose it is, whether its pixels can be decoded.

It runs in a bounded process: everything a damaged or hostile file can break happens here, behind `hilum.images`' own limits.
"""

from __future__ import annotations

import hashlib
import re
import struct
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from pydicom import uid
from pydicom.dataset import Dataset

from hilum.errors import HilumError, LimitError, ReadError
from hilum.images.body_part import is_chest
from hilum.images.dicom_decode import decode, layout, refuse_directory
from hilum.images.dicom_facts import body_part
from hilum.images.dicom_file import looks_like_dicom, parse_dicom
from hilum.images.dicom_header import text, value
from hilum.images.own_results import is_own_result
from hilum.images.quality import PROJECTION_MODALITIES
from hilum.images.read import read

UID = re.compile(r"(0|[1-9][0-9]*)(\.(0|[1-9][0-9]*))+")  # PS3.5 section 9
_LONGEST_UID = 64
# Films are in these; whatever else an archive sends along is noted and left alone.
FILM_CLASSES = frozenset(
    {
        uid.ComputedRadiographyImageStorage,
        uid.DigitalXRayImageStorageForPresentation,
        uid.DigitalXRayImageStorageForProcessing,
        uid.SecondaryCaptureImageStorage,
        uid.MultiFrameGrayscaleByteSecondaryCaptureImageStorage,
        uid.MultiFrameGrayscaleWordSecondaryCaptureImageStorage,
        uid.MultiFrameTrueColorSecondaryCaptureImageStorage,
    }
)


@dataclass(frozen=True)
class Seen:
    """What a file says of itself. `patient_id` and `accession` identify a person: they are hashed at once and kept nowhere.
    `pixels`: SHA-256 of the stored values with their size; of the file where it is no film. `elsewhere`: why it is no film
    of Hilum's, or None."""

    sop_uid: str
    pixels: str
    sop_class: str | None = None
    study_uid: str | None = None
    series_uid: str | None = None
    modality: str | None = None
    patient_id: str | None = None
    accession: str | None = None
    elsewhere: str | None = None


def looker() -> Callable[[tuple[Path, str]], Seen]:
    """What a companion process runs."""
    return _look


def _look(item: tuple[Path, str]) -> Seen:
    path, digest = item
    try:
        return look(path, digest)
    except HilumError as error:
        # The name it has here means nothing to its sender.
        raise type(error)(error.fault, mend=error.mend) from error
    except MemoryError:
        raise LimitError(
            "there is not enough memory to decode it", mend="Check that it is one film."
        ) from None
    except Exception as error:
        # Parsers quote the values that they fail on; a name may be among them, so only the error's kind is told.
        raise ReadError(
            f"the file is damaged ({type(error).__name__})", mend="Fetch it again from its source."
        ) from error


def look(path: Path, digest: str) -> Seen:
    """What the file at `path` is; `digest`: its SHA-256.

    Raises ReadError or LimitError for what `hilum.read` would refuse, and for DICOM without a valid SOP Instance UID.
    """
    data = path.read_bytes()
    if not looks_like_dicom(data):
        film = read(path)
        number = uid.UID(
            f"2.25.{int(digest[:32], 16)}"
        )  # PS3.5 B.2: no instance has a UID yet, so the bytes give one
        stored = hashlib.sha256(struct.pack("<LL", film.height, film.width) + film.pixels.tobytes())
        return Seen(number, stored.hexdigest(), study_uid=number)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dataset, syntax = parse_dicom(data)
        seen = _header(dataset, digest)
        seen = replace(seen, elsewhere=_elsewhere(dataset, seen))
        return seen if seen.elsewhere is not None else replace(seen, pixels=_pixels(dataset, syntax))


def _header(dataset: Dataset, digest: str) -> Seen:
    refuse_directory(dataset)
    sop_uid = _uid(dataset, "SOPInstanceUID")
    if sop_uid is None:
        raise ReadError("it has no SOP Instance UID", mend="Send it from a system that gives it one.")
    return Seen(
        sop_uid=sop_uid,
        pixels=digest,
        sop_class=_uid(dataset, "SOPClassUID"),
        study_uid=_uid(dataset, "StudyInstanceUID"),
        series_uid=_uid(dataset, "SeriesInstanceUID"),
        modality=text(dataset, "Modality"),
        patient_id=_plain(dataset, "PatientID"),
        accession=_plain(dataset, "AccessionNumber"),
    )


def _uid(dataset: Dataset, keyword: str) -> str | None:
    found = _plain(dataset, keyword)
    if found is not None and (len(found) > _LONGEST_UID or not UID.fullmatch(found)):
        raise ReadError(f"its {keyword} is no UID", mend="Have the system that made it corrected.")
    return found


def _plain(dataset: Dataset, keyword: str) -> str | None:
    found = value(dataset, keyword)
    return str(found).strip(" \0") or None if found is not None else None


def _elsewhere(dataset: Dataset, seen: Seen) -> str | None:
    """Why this is none of the films that Hilum reads; None where it may be one."""
    if is_own_result(dataset):
        return "it is a result of Hilum's own"
    if seen.sop_class is not None and seen.sop_class not in FILM_CLASSES:
        return f"{uid.UID(seen.sop_class).name} is no radiograph"
    if seen.modality is not None and seen.modality not in PROJECTION_MODALITIES:
        return "its modality is not that of a radiograph"
    if is_chest(body_part(dataset)) is False:
        return "its header names another part of the body than the chest"
    return None


def _pixels(dataset: Dataset, syntax: uid.UID) -> str:
    """SHA-256 over size and stored values as decoded: the same film in another lossless syntax is the same."""
    image = layout(dataset)
    stored, _ = decode(dataset, syntax, image)
    digest = hashlib.sha256(struct.pack("<LLB", image.height, image.width, image.samples))
    digest.update(image.photometric.encode())
    digest.update(np.ascontiguousarray(stored).astype("<u2").tobytes())
    return digest.hexdigest()
