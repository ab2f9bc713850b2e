"""Bad films as bytes, each by a number from which its UIDs are made, so that no two that are sent are the same instance."""

from __future__ import annotations

import functools
import io
import pickle
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from pydicom import dcmread, uid
from pydicom.dataset import Dataset
from pydicom.fileset import FileSet

from tests.clinic.helpers import a_film, film_of, phantom_film
from tests.phantom import phantom
from tests.test_bad_inputs import BOUNDED, REFUSED

Make = Callable[[int], list[bytes]]
"""Films by a number; all but the last are sent before it."""

SCRIPT = '<script>alert("x")</script>^Eve'
FORGED = "Eve\r\nINFO forged"


def bad(case: str) -> Make:
    """A case of `tests/test_bad_inputs.py`."""
    make = (REFUSED[case] if case in REFUSED else BOUNDED[case])[0]

    @functools.cache
    def content() -> bytes:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "film"
            make(path)
            return path.read_bytes()

    return lambda _: [content()]


def chest(**elements: Any) -> Make:
    """A film that would be analysed, but for these elements of its header."""
    return lambda number: [phantom_film(number, **elements)]


def drawn(stored: Callable[[], Any], **elements: Any) -> Make:
    return lambda number: [film_of(np.rint(stored() * 4095).astype(np.int64), number, **elements)]


def hand() -> Any:
    """Something like a hand: palm, five fingers with bones, nothing around. float32 (400, 320) in [0, 1]."""
    image = np.full((400, 320), 0.03, np.float32)
    cv2.ellipse(image, (160, 280), (80, 90), 0, 0, 360, 0.5, -1)
    for x, y, length, turn in ((90, 170, 90, -12), (135, 140, 105, -4), (180, 140, 105, 4), (225, 165, 90, 12), (260, 270, 75, 50)):  # fmt: skip  # noqa: E501
        cv2.ellipse(image, (x, y), (20, length), turn, 0, 360, 0.5, -1)
        cv2.ellipse(image, (x, y), (8, length - 10), turn, 0, 360, 0.8, -1)
    noise = np.random.default_rng(0).normal(0, 0.01, image.shape)
    return np.clip(cv2.GaussianBlur(image, (0, 0), 1.5) + noise, 0, 1).astype(np.float32)


def inverted() -> Any:
    return 1 - phantom(0, 400, 320).pixels


def photograph(number: int) -> list[bytes]:
    """A secondary capture in colour."""
    colours = np.random.default_rng(0).integers(0, 255, (12, 9, 3), np.uint8)
    picture = cv2.resize(colours, (320, 400), interpolation=cv2.INTER_CUBIC)
    ds = dcmread(io.BytesIO(a_film(number, SOPClassUID=uid.SecondaryCaptureImageStorage)))
    ds.Rows, ds.Columns, ds.SamplesPerPixel, ds.PhotometricInterpretation = 400, 320, 3, "RGB"
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PlanarConfiguration = 8, 8, 7, 0
    ds.add_new("PixelData", "OB", picture.tobytes())
    return [written(ds)]


def written(ds: Dataset) -> bytes:
    file = io.BytesIO()
    ds.save_as(file, enforce_file_format=True)
    return file.getvalue()


def zipped(name: str, size: int = 0) -> Make:
    """A zip archive: a film under this name, and as many zeros beside it."""

    @functools.cache
    def content() -> bytes:
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as file:
            file.writestr(name, a_film(0))
            if size:
                with file.open("zeros", "w", force_zip64=True) as zeros:
                    for _ in range(size // 2**20):
                        zeros.write(bytes(2**20))
        return packed.getvalue()

    return lambda _: [content()]


def dicomdir(number: int) -> list[bytes]:
    """The list of a medium whose film lies outside it."""
    with tempfile.TemporaryDirectory() as folder:
        listed = FileSet()
        listed.add(dcmread(io.BytesIO(a_film(number, PatientID="P", StudyID="1", SeriesNumber="1", InstanceNumber="1", StudyTime="1200"))))  # fmt: skip  # noqa: E501
        listed.write(folder)
        data = (Path(folder) / "DICOMDIR").read_bytes()
    ds = dcmread(io.BytesIO(data))
    for record in ds.DirectoryRecordSequence:
        if "ReferencedFileID" in record:
            record.ReferencedFileID = ["..", "..", "..", "etc", "passwd"]
    return [written(ds)]


def program(number: int) -> list[bytes]:
    """A film whose preamble is the head of a program, which runs where someone runs the file."""
    (data,) = chest()(number)
    return [b"\x7fELF\x02\x01\x01" + bytes(121) + data[128:]]


class Opens:
    """What a pickle of it does to whoever loads it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return open, (str(self.path), "w")


def pickled(path: Path) -> bytes:
    """A pickle that makes the file `path` when it is loaded."""
    return pickle.dumps(Opens(path))


def twice(number: int) -> list[bytes]:
    return chest()(number) * 2


def changed_pixels(number: int) -> list[bytes]:
    first = dcmread(io.BytesIO(chest()(number)[0]))
    first.PixelData = bytes(2) + first.PixelData[2:]
    return [chest()(number)[0], written(first)]


def other_patient(number: int) -> list[bytes]:
    """A second film of a study, of someone else."""
    study = f"1.2.4.{number + 1}"
    return [chest()(number)[0], chest(StudyInstanceUID=study, PatientID="other")(number + 1)[0]]
