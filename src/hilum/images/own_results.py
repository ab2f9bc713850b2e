"""What is no film though it comes from the same archive: Hilum's own results, and documents about films.

A result that came back to analysis would be read as a film with coloured patches on it, so it is refused by what its header
says, before its pixels are looked at.
"""

from __future__ import annotations

from pydicom.dataset import Dataset

from hilum.errors import ReadError
from hilum.images.dicom_header import text, value

MANUFACTURER = "Hilum"
"""Manufacturer (0008,0070) of every DICOM result that Hilum writes; De-identification keeps it."""

_KINDS = {
    "SR": "a structured report",
    "SEG": "a segmentation",
    "PR": "a presentation state",
    "KO": "a list of key objects",
    "DOC": "a document",
}


def is_own_result(dataset: Dataset) -> bool:
    """Did Hilum write this dataset?"""
    return text(dataset, "Manufacturer") == MANUFACTURER.upper()


def refuse_results(dataset: Dataset) -> None:
    """Raise `ReadError` for a result that Hilum wrote, and for a document about films in place of a film."""
    kind = _KINDS.get(text(dataset, "Modality") or "")
    if is_own_result(dataset):
        named = str(value(dataset, "SeriesDescription") or kind or "a picture")
        raise ReadError(
            f"it is a result that Hilum wrote ({named}), no film", mend="Give the film that it was made from."
        )
    if kind is not None:
        raise ReadError(f"it is {kind}, no film", mend="Give the film that it is about.")
