"""DICOM files: from bytes to a pydicom dataset, in bounded memory.

pydicom's own `dcmread` inflates a deflated file without a limit before it looks at anything, so the file's outer
shape (PS3.10 section 7: preamble, file meta information, dataset) is walked here with pydicom's dataset reader.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from io import BytesIO

from pydicom.datadict import dictionary_has_tag, dictionary_VR
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset
from pydicom.tag import BaseTag
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from hilum.errors import LimitError, ReadError
from hilum.images.limits import MAX_FILE_BYTES, MAX_NESTING

_UNDEFINED = 0xFFFFFFFF  # PS3.5 section 7.1.1: the element ends with a delimiter


def looks_like_dicom(data: bytes) -> bool:
    """DICM after the preamble, or a bare dataset that starts with file meta (group 2) or identification (group 8)."""
    if data[128:132] == b"DICM":
        return True
    if len(data) < 16:
        return False
    group, element, length = struct.unpack("<HHL", data[:8])
    if group not in (0x0002, 0x0008) or element > 0x00FF:
        return False
    explicit = data[4:6].isalpha() and data[4:6].isupper()
    return explicit or length < 256


def parse_dicom(data: bytes) -> tuple[Dataset, UID]:
    """The dataset in a file's bytes, and its transfer syntax.

    Raises
    ------
    LimitError: a deflated dataset that inflates past `MAX_FILE_BYTES`, or sequences nested past `MAX_NESTING`.
    ReadError: bytes that are no DICOM dataset, or whose Pixel Data ends past them.
    """
    start = 132 if data[128:132] == b"DICM" else 0
    stream = BytesIO(data)
    stream.seek(start)
    meta = read_dataset(stream, False, True, stop_when=_past_file_meta)
    syntax = meta.get("TransferSyntaxUID")
    syntax = UID(str(syntax)) if syntax else _guess_syntax(data[stream.tell() : stream.tell() + 6])
    if syntax == DeflatedExplicitVRLittleEndian:
        stream = BytesIO(_inflate(memoryview(data)[stream.tell() :]))
    try:
        dataset = read_dataset(stream, syntax == ImplicitVRLittleEndian, syntax != ExplicitVRBigEndian)
        _check_pixel_length(dataset)
        _check_nesting(dataset)
    except RecursionError:
        raise _too_deep() from None
    if not dataset:
        raise ReadError(
            "the DICOM header is empty or cut short", mend="Fetch the file again from its source."
        )
    return dataset, syntax


def _past_file_meta(tag: BaseTag, vr: str | None, length: int) -> bool:
    return tag >> 16 != 2


def _guess_syntax(head: bytes) -> UID:
    """Of a dataset without file meta: explicit where the first element shows a value representation."""
    return ExplicitVRLittleEndian if head[4:6].isalpha() and head[4:6].isupper() else ImplicitVRLittleEndian


def _inflate(packed: memoryview) -> bytes:
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)  # PS3.5 A.5: a raw deflate stream, no zlib header
    try:
        data = inflater.decompress(packed, MAX_FILE_BYTES)
    except zlib.error:
        raise ReadError(
            "the deflated dataset is damaged", mend="Fetch the file again from its source."
        ) from None
    if inflater.unconsumed_tail:
        raise LimitError(
            f"the deflated dataset grows past {MAX_FILE_BYTES // 2**20} MiB",
            mend="If it is genuine, store it again with another transfer syntax.",
        )
    if not inflater.eof:
        raise ReadError("the deflated dataset is cut short", mend="Fetch the file again from its source.")
    return data


def _check_pixel_length(dataset: Dataset) -> None:
    """pydicom takes what there is of an element whose length passes the end of the file, and says nothing."""
    if "PixelData" not in dataset:
        return
    element = dataset.get_item("PixelData")
    if not isinstance(element, RawDataElement) or element.length == _UNDEFINED:
        return
    there = len(element.value or b"")
    if there < element.length:
        raise ReadError(
            f"its pixel data is cut short: it declares {element.length} bytes and the file holds {there}",
            mend="Fetch the file again from its source.",
        )


def _check_nesting(dataset: Dataset) -> None:
    """Sequences of known length are parsed only when they are asked for, so ask for all, level by level."""
    level = [dataset]
    for _ in range(MAX_NESTING):
        level = [item for parent in level for item in _sequence_items(parent)]
        if not level:
            return
    raise _too_deep()


def _sequence_items(dataset: Dataset) -> Iterator[Dataset]:
    for element in list(dataset.elements()):
        if (element.VR or _known_vr(element.tag)) == "SQ":
            try:
                yield from dataset[element.tag].value
            except RecursionError:
                raise
            except Exception:
                continue  # a malformed sequence matters to those only that read it


def _known_vr(tag: BaseTag) -> str | None:
    return dictionary_VR(tag) if dictionary_has_tag(tag) else None


def _too_deep() -> LimitError:
    return LimitError(
        f"its header nests sequences more than {MAX_NESTING} deep",
        mend="Check the file's origin: no film's header needs that.",
    )
