"""Films, facts and stand-ins for the clinic's tests."""

from __future__ import annotations

import hashlib
import io
import os
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import uid

from hilum.clinic.analysing import Analysed, Task
from hilum.clinic.ledger import Facts
from tests.images.films import film, ramp
from tests.phantom import phantom

BUNDLES = hashlib.sha256(b"a stand-in").hexdigest()


def a_film(seed: int = 0, pixels: int = 0, syntax: uid.UID | None = None, **elements: Any) -> bytes:
    """A small DX film as a file: UIDs by `seed`, pixels by `pixels`, in another transfer syntax where one is given."""
    return film_of(np.roll(ramp(12, False), pixels), seed, syntax, **elements)


def film_of(
    stored: NDArray[np.int64], seed: int = 0, syntax: uid.UID | None = None, **elements: Any
) -> bytes:
    """A DX film with these stored values of 12 bits, as a file."""
    elements = {"SOPInstanceUID": f"1.2.3.{seed + 1}", "StudyInstanceUID": f"1.2.4.{seed + 1}", **elements}
    elements = {
        "SeriesInstanceUID": f"1.2.5.{seed + 1}",
        "PatientID": f"P{seed}",
        "BodyPartExamined": "CHEST",
        **elements,
    }
    dataset = film(stored, **elements)
    dataset.file_meta.MediaStorageSOPInstanceUID = elements["SOPInstanceUID"] or "1.2.3"
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    if syntax is not None:
        dataset.compress(syntax, generate_instance_uid=False)
    file = io.BytesIO()
    dataset.save_as(file, enforce_file_format=True)
    return file.getvalue()


def phantom_film(seed: int, height: int = 400, width: int = 320, **elements: Any) -> bytes:
    """A film on which a chest is seen, so that it is analysed."""
    stored = np.rint(phantom(0, height, width).pixels * 4095).astype(np.int64)
    return film_of(stored, seed, **{"ViewPosition": "PA", **elements})


def facts(seed: int = 0, pixels: int = 0, **values: Any) -> Facts:
    """What the ledger is told of the film `a_film(seed, pixels)`, or the like."""
    digest = hashlib.sha256(f"{seed} {pixels}".encode()).hexdigest()
    return Facts(
        **{"sop_uid": f"1.2.3.{seed + 1}", "pixels": digest, "study_uid": f"1.2.4.{seed + 1}", **values}
    )


class StandIn:
    """In place of `Analysing`: writes a report of a line in no time. What a film's UID ends with says what goes wrong."""

    def __call__(self) -> Callable[[Task], Analysed]:
        return _stand_in


def _stand_in(task: Task) -> Analysed:
    if task.sop_uid.endswith(".666"):
        os._exit(9)
    if task.sop_uid.endswith(".667"):
        time.sleep(60)
    if task.sop_uid.endswith(".668"):
        bytearray(2**31)
    (task.folder / "report.json").write_text('{"findings": []}')
    return Analysed(BUNDLES, {"json": "report.json", "dicom": []}, {"analysable": True}, (), 0.01)


def with_dicom(task: Task) -> Analysed:
    """As the stand-in, with a secondary capture to deliver."""
    from pydicom import dcmread

    done = _stand_in(task)
    dataset = dcmread(task.film)
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = f"{dataset.SOPInstanceUID}.9"
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = uid.SecondaryCaptureImageStorage
    dataset.SeriesInstanceUID = f"{dataset.SeriesInstanceUID}.9"
    dataset.Manufacturer, dataset.ManufacturerModelName = "Hilum", "Hilum"
    dataset.save_as(task.folder / "report.sc.dcm")
    products = ((str(dataset.SOPInstanceUID), "report.sc.dcm"),)
    return Analysed(done.bundles, {**done.files, "dicom": ["report.sc.dcm"]}, done.summary, products, 0.01)


class StandInWithDicom:
    def __call__(self) -> Callable[[Task], Analysed]:
        return with_dicom


def free_port() -> int:
    with socket.socket() as asked:
        asked.bind(("127.0.0.1", 0))
        return int(asked.getsockname()[1])


def wait_until(there: Callable[[], Any], seconds: float = 30.0) -> None:
    """Wait for something to become true; an AssertionError where it does not."""
    until = time.monotonic() + seconds
    while not there():
        assert time.monotonic() < until, "it did not happen in time"
        time.sleep(0.05)


def files_under(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())
