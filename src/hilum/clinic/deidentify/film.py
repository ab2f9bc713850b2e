"""One film: header by the table, pixels without what hides beside their values, and a warning of what is burnt in."""

from __future__ import annotations

import io
import warnings
from dataclasses import dataclass
from typing import Any

from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.multival import MultiValue
from pydicom.tag import BaseTag
from pydicom.uid import UID

from hilum import __version__
from hilum.clinic.deidentify.identity import Identity, shifted_date, shifted_datetime
from hilum.clinic.deidentify.pixels import cleaned_pixels
from hilum.clinic.deidentify.table import Action, Options, action_on
from hilum.errors import ReadError
from hilum.images.dicom import read_dicom
from hilum.images.dicom_file import looks_like_dicom, parse_dicom
from hilum.images.dicom_header import value
from hilum.images.markers import letters
from hilum.images.radiograph import Notice

_METHOD = f"Hilum {__version__}, PS3.15 basic profile"
_SOFTWARE = "2.25.115436418268470353340463338613128163364"
_TEXT = "ANONYMIZED"
_DUMMIES: dict[str, Any] = {
    "AS": "000D", "DA": "19000101", "DT": "19000101000000", "TM": "000000", "DS": "0", "IS": "0", "PN": "ANONYMIZED",
    "FD": 0.0, "FL": 0.0, "SL": 0, "SS": 0, "UL": 0, "US": 0, "SV": 0, "UV": 0,
}  # fmt: skip
_BINARY = ("OB", "OD", "OF", "OL", "OV", "OW", "UN")


@dataclass(frozen=True)
class Deidentified:
    """A film that names nobody: the `data` of its file, its new identifiers, how many elements met which `changes`, and
    warnings.

    `letters`: boxes (x1, y1, x2, y2), in pixels of the upright film, of what looks like burnt-in lettering.
    """

    data: bytes
    uid: str
    patient: str
    changes: dict[str, int]
    notices: tuple[Notice, ...]
    letters: tuple[tuple[int, int, int, int], ...]


def deidentify(data: bytes, identity: Identity, options: Options = Options()) -> Deidentified:
    """A DICOM film's bytes, de-identified to the basic profile with `options`.

    Raises ReadError or LimitError for what is no DICOM film that can be decoded: of that nobody can say what its pixels
    show.
    """
    if not looks_like_dicom(data):
        raise ReadError("it is no DICOM file", mend="Only DICOM films carry the elements that this removes.")
    film = read_dicom(data)  # refuses documents and results, and what cannot be decoded
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dataset, syntax = parse_dicom(data)
        if not value(dataset, "SOPInstanceUID") or not value(dataset, "SOPClassUID"):
            raise ReadError(
                "its header says not which object it is", mend="Give the film as its archive holds it."
            )
        # Before anything goes: who it is decides the stand-in, and how far dates move.
        who = str(value(dataset, "PatientID") or value(dataset, "StudyInstanceUID") or "").strip()
        changes: dict[str, int] = {}
        syntax, stray = cleaned_pixels(dataset, syntax)
        if stray:
            changes["pixel bits cleared"] = stray
        _clean(dataset, identity, options, who, changes)
        patient = identity.patient(who)
        dataset.PatientID = dataset.PatientName = patient
        _say(dataset, options)
        written = _as_file(dataset, syntax)
    seen = letters(film.pixels)
    found = tuple((int(a), int(b), int(c), int(d)) for a, b, c, d in seen)
    return Deidentified(
        written, str(dataset.SOPInstanceUID), patient, changes, _notices(dataset, len(found)), found
    )


def _clean(dataset: Dataset, identity: Identity, options: Options, who: str, changes: dict[str, int]) -> None:
    """The table's actions on every element, and on every element of the sequences that stay."""
    for tag in list(dataset.keys()):
        action = action_on(tag, options)
        if action in (Action.KEEP, Action.LOOK_INSIDE):
            if _is_sequence(dataset, tag):
                for item in dataset[tag].value:
                    _clean(item, identity, options, who, changes)
            continue
        changes[_WORDS[action]] = changes.get(_WORDS[action], 0) + 1
        if action is Action.REMOVE:
            del dataset[tag]
        else:
            _replace(dataset, tag, action, identity, who)


_WORDS = {
    Action.REMOVE: "removed",
    Action.EMPTY: "emptied",
    Action.DUMMY: "replaced",
    Action.RENAME: "identifiers replaced",
    Action.SHIFT: "dates moved",
}


def _is_sequence(dataset: Dataset, tag: BaseTag) -> bool:
    try:
        return dataset[tag].VR == "SQ"
    except Exception:  # a value that cannot be read cannot be known to name nobody
        del dataset[tag]
        return False


def _replace(dataset: Dataset, tag: BaseTag, action: Action, identity: Identity, who: str) -> None:
    try:
        element = dataset[tag]
        vr, found = element.VR, element.value
    except Exception:
        del dataset[tag]
        return
    new: Any = None
    if vr == "SQ":  # a dummy item would have to be valid in every object; an empty sequence says nothing
        new = [] if action is Action.EMPTY else None
    elif action is Action.EMPTY:
        new = b"" if vr in _BINARY else ""
    elif action is Action.RENAME:
        new = _each(found, identity.uid)
    elif action is Action.SHIFT:
        by = identity.shift(who)
        if vr == "DA":
            new = _each(found, lambda text: shifted_date(text, by))
        elif vr == "DT":
            new = _each(found, lambda text: shifted_datetime(text, by))
        elif vr == "TM":
            return
    elif action is Action.DUMMY:
        new = b"\0\0" if vr in _BINARY else _DUMMIES.get(vr, _TEXT)
        new = identity.uid(str(found)) if vr == "UI" else new
    if new is None:
        del dataset[tag]
    else:
        dataset[tag] = DataElement(tag, vr, new)


def _each(found: Any, change: Any) -> Any:
    """A value, or each of several, as text and changed."""
    if found is None or found == "":
        return ""
    if isinstance(found, MultiValue | list):
        return [change(str(one)) for one in found]
    return change(str(found))


def _say(dataset: Dataset, options: Options) -> None:
    """That and how it was done (PS3.15 E.1.1 step 6 ff., PS3.3 C.7.1.1 and C.12.1)."""
    dataset.PatientIdentityRemoved = "YES"
    dataset.DeidentificationMethod = _METHOD
    dataset.DeidentificationMethodCodeSequence = [_code(*code) for code in options.codes]
    dataset.LongitudinalTemporalInformationModified = "MODIFIED" if options.dates else "REMOVED"
    age = str(value(dataset, "PatientAge") or "")
    if age[:3].isdigit() and age.endswith("Y") and int(age[:3]) > 89:
        dataset.PatientAge = "090Y"  # so few are older that an age is a name


def _code(number: str, meaning: str) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = number, "DCM", meaning
    return item


def _as_file(dataset: Dataset, syntax: UID) -> bytes:
    """A file with a preamble of zeros and file meta information that names no machine (PS3.10 section 7)."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    meta.TransferSyntaxUID = syntax
    meta.ImplementationClassUID = UID(_SOFTWARE)
    meta.ImplementationVersionName = f"HILUM_{__version__}"[:16]
    dataset.file_meta = meta
    stream = io.BytesIO()
    dataset.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


def _notices(dataset: Dataset, seen: int) -> tuple[Notice, ...]:
    found = []
    if str(value(dataset, "BurnedInAnnotation") or "").upper() == "YES":
        found.append(
            Notice(
                "burned_in_annotation",
                "The header says that text is burnt into the pixels; look at the film.",
            )
        )
    if seen:
        found.append(
            Notice(
                "letters_seen",
                f"{seen} part{'s' * (seen != 1)} of the film look{'s' * (seen == 1)} like lettering;"
                " look whether it names anyone.",
            )
        )
    return tuple(found)
