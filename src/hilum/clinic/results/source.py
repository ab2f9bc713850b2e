"""What results take over from their film's header: whose it is, which study, and the pixel matrix that positions refer to.

Headers of real films hold values that the standard forbids; a copy of them would make the result invalid too. What is
not valid is left out here, or left empty where the standard wants the element.
"""

from __future__ import annotations

import math
import re
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom import config
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.valuerep import validate_value

from hilum.analysis.report import Report
from hilum.errors import HilumError
from hilum.images.dicom_chain import chain_of
from hilum.images.dicom_decode import layout
from hilum.images.dicom_file import looks_like_dicom, parse_dicom
from hilum.images.dicom_header import items, numbers, text, value
from hilum.images.greyscale import Chain
from hilum.images.orientation import Turn, orientation_of, turn_of

# Type 2 of the modules Patient and General Study (PS3.3 C.7.1.1, C.7.2.1): there, if only empty.
_WANTED = (
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "StudyDate",
    "StudyTime",
    "ReferringPhysicianName",
    "StudyID",
    "AccessionNumber",
)
_WELCOME = (
    "IssuerOfPatientID",
    "PatientBirthTime",
    "EthnicGroup",
    "PatientComments",
    "PatientIdentityRemoved",
    "DeidentificationMethod",
    "StudyDescription",
    "PatientAge",
    "PatientSize",
    "PatientWeight",
)
_SEXES = ("F", "M", "O")
_CITED = ("SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID")
_TERMS = {"LossyImageCompression": "00|01", "BodyPartExamined": "[A-Z0-9 _]+", "Laterality": "[LR]"}
CHARACTERS = "ISO_IR 192"
"""Results are in UTF-8, which holds what every other character set does."""


@dataclass(frozen=True)
class Source:
    """A DICOM film as results refer to it.

    `header`: a clean dataset with the patient's and the study's elements in UTF-8, the identifiers, the size of the pixel
    matrix and the spacing. `turn`: how the stored pixels were turned for analysis, or None. `chain`: how they are
    shown; None for a colour film. `size`: stored (rows, columns). `orientation`: Patient Orientation of the film as
    analysed, or None.
    """

    header: Dataset
    turn: Turn | None
    chain: Chain | None
    size: tuple[int, int]
    orientation: tuple[str, str] | None

    @property
    def uid(self) -> str:
        return str(self.header.SOPInstanceUID)

    def boxes(self, boxes: NDArray[np.floating], report: Report) -> NDArray[np.float64]:
        """Boxes (n, 4) of the report's upright film in the stored pixel matrix, inside it."""
        found = np.asarray(boxes, np.float64).reshape(-1, 4)
        if self.turn is not None:
            found = self.turn.undo_boxes(found, report.film.height, report.film.width)
        rows, columns = self.size
        return np.clip(found, 0.0, np.array([columns, rows, columns, rows], np.float64))

    def mask(self, mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """A mask of the upright film in the stored pixel matrix."""
        return self.turn.undo(mask) if self.turn is not None else mask


def read_source(path: Path | None) -> Source:
    """The film that a report was made of, from its file. Raises HilumError where it is no DICOM film."""
    if path is None:
        raise _not_dicom(None)
    data = path.read_bytes()
    if not looks_like_dicom(data):
        raise _not_dicom(path)
    return source_of(parse_dicom(data)[0], path)


def source_of(dataset: Dataset, path: Path | None = None) -> Source:
    """A film's dataset as a `Source`. Raises HilumError where it lacks an identifier that results must cite."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of odd values, which are left out
        image = layout(dataset)
        header = _header(dataset, path)
        header.Rows, header.Columns = image.height, image.width
        header.SamplesPerPixel, header.BitsAllocated = image.samples, image.allocated
        header.PhotometricInterpretation = image.photometric
        _add_geometry(header, dataset)
        chain = chain_of(dataset, image, image.allocated)[0] if image.samples == 1 else None
    turn = turn_of(dataset)
    stored = orientation_of(dataset)
    if stored is not None and not all(re.fullmatch("[LRAPHF]{1,3}", letters) for letters in stored):
        stored = None
    header.PatientOrientation = list(stored) if stored is not None else ""
    upright = ("L", "F") if turn is not None else stored
    return Source(header, turn, chain, (image.height, image.width), upright)


def _header(dataset: Dataset, path: Path | None) -> Dataset:
    header = Dataset()
    header.SpecificCharacterSet = CHARACTERS
    for keyword in _CITED:
        uid = str(value(dataset, keyword) or "").strip(" \0")
        if not re.fullmatch(r"[0-9.]{1,64}", uid):
            raise HilumError(
                f"its header has no usable {keyword}, which DICOM results must cite",
                path=path,
                mend="Give the film as its archive holds it, or choose --format json,html,png.",
            )
        setattr(header, keyword, uid)
    for keyword in (*_WANTED, *_WELCOME):
        found = _valid(dataset, keyword)
        if found is not None or keyword in _WANTED:
            setattr(header, keyword, found if found is not None else "")
    if header.PatientSex not in _SEXES:
        header.PatientSex = ""
    if "PatientIdentityRemoved" in header and "DeidentificationMethod" not in header:
        del header.PatientIdentityRemoved
    methods = items(dataset, "DeidentificationMethodCodeSequence")
    if methods and "PatientIdentityRemoved" in header:
        header.DeidentificationMethodCodeSequence = methods
    for keyword, allowed in _TERMS.items():
        found = str(_valid(dataset, keyword) or "").upper()
        if re.fullmatch(allowed, found):
            setattr(header, keyword, found)
    return header


def _valid(dataset: Dataset, keyword: str) -> object | None:
    """The element's value where it is single and allowed, else None."""
    found = value(dataset, keyword)
    if found is None or isinstance(found, MultiValue):
        return None
    try:
        validate_value(dataset[keyword].VR, found, config.RAISE)
    except ValueError:
        return None
    shown = str(found)
    return shown if shown.isprintable() or "\n" in shown else None


def _add_geometry(header: Dataset, dataset: Dataset) -> None:
    """The spacing, where there is a true one; a frame of reference only where the film is a slice with a place in it.

    A projection has no plane in space: what lies on it is placed by reference to its pixels.
    """
    spacing = numbers(dataset, "PixelSpacing") or numbers(dataset, "ImagerPixelSpacing")
    if len(spacing) == 2 and all(math.isfinite(n) and n > 0 for n in spacing):
        header.PixelSpacing = [f"{n:.10g}" for n in spacing]
    place, axes = numbers(dataset, "ImagePositionPatient"), numbers(dataset, "ImageOrientationPatient")
    frame, thickness = text(dataset, "FrameOfReferenceUID"), numbers(dataset, "SliceThickness")
    placed = len(place) == 3 and len(axes) == 6 and len(thickness) == 1 and "PixelSpacing" in header
    if frame is not None and placed:
        header.FrameOfReferenceUID = frame
        header.PositionReferenceIndicator = ""
        header.SliceThickness = f"{thickness[0]:.10g}"
        header.ImagePositionPatient = [f"{n:.10g}" for n in place]
        header.ImageOrientationPatient = [f"{n:.10g}" for n in axes]


def _not_dicom(path: Path | None) -> HilumError:
    return HilumError(
        "DICOM results need a DICOM film: this one has no patient, study and series to belong to",
        path=path,
        mend="Choose --format json,html,png, or give the film as DICOM.",
    )
