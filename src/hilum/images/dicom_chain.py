"""The greyscale chain that a header asks for, and notices where it asks for something that cannot be done."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from hilum.images.dicom_decode import Layout
from hilum.images.dicom_header import integer, items, numbers, text, value
from hilum.images.greyscale import Chain, Coding, Lut, Rescale, Window, modality_range
from hilum.images.radiograph import Notice

Notices = tuple[Notice, ...]


def chain_of(dataset: Dataset, image: Layout, precision: int) -> tuple[Chain, Notices]:
    """`precision`: bits a sample of the codestream (bits allocated where there is none)."""
    # A codestream of fewer bits than Bits Stored cannot hold the bits above its own.
    if precision <= image.stored:
        coding = Coding(precision, precision - 1, image.signed)
    else:
        coding = Coding(image.stored, min(image.high, precision - 1), image.signed)
    chain = Chain(coding, padding=_padding(dataset, coding))
    modality, notices = _modality(dataset, chain, image.allocated)
    chain = replace(chain, modality=modality)
    voi, voi_notices = _voi(dataset, chain, image.allocated)
    inverted, shape_notices = _inverted(dataset, image)
    return replace(chain, voi=voi, inverted=inverted), notices + voi_notices + shape_notices


def _padding(dataset: Dataset, coding: Coding) -> tuple[int, int] | None:
    """Pixel Padding Value, and Range Limit where there is one (PS3.3 C.7.5.1.1.2), read as stored values are."""
    first = integer(dataset, "PixelPaddingValue")
    if first is None:
        return None
    last = integer(dataset, "PixelPaddingRangeLimit")
    ends = [_as_stored(v, coding) for v in (first, first if last is None else last)]
    return min(ends), max(ends)


def _as_stored(number: int, coding: Coding) -> int:
    """A header's value in the stored values' sign: 63536 under VR US is -2000 in a signed image."""
    span = 1 << coding.bits
    low = -span // 2 if coding.signed else 0
    return number if low <= number < low + span else (number - low) % span + low


def _modality(dataset: Dataset, chain: Chain, allocated: int) -> tuple[Rescale | Lut | None, Notices]:
    sequence = items(dataset, "ModalityLUTSequence")
    if sequence:
        lut = _lut(sequence[0], modality_range(chain, 1 << allocated)[0])
        if lut is not None:
            return lut, ()
        return None, (Notice("bad_modality_lut", "The header's Modality LUT is malformed; it was left out."),)
    slope, intercept = numbers(dataset, "RescaleSlope"), numbers(dataset, "RescaleIntercept")
    if not slope and not intercept:
        return None, ()
    rescale = Rescale(slope[0] if slope else 1.0, intercept[0] if intercept else 0.0)
    # Finite numbers are not enough: 1e307 times a stored value is infinite, and so may be the span of the outputs.
    lowest, highest = modality_range(replace(chain, modality=rescale), 1 << allocated)
    if not math.isfinite(highest - lowest) or rescale.slope == 0:
        text_ = (
            f"The header's rescale ({rescale.slope} x + {rescale.intercept}) is unusable; it was left out."
        )
        return None, (Notice("bad_rescale", text_),)
    return rescale, ()


def _voi(dataset: Dataset, chain: Chain, allocated: int) -> tuple[Window | Lut | None, Notices]:
    """Where a header offers both, its LUT is taken: it was made for this film. Of several, the first (C.11.2.1)."""
    sequence = items(dataset, "VOILUTSequence")
    notices: Notices = ()
    if sequence:
        lut = _lut(sequence[0], modality_range(chain, 1 << allocated)[0])
        if lut is not None:
            return lut, ()
        notices = (Notice("bad_window", "The header's VOI LUT is malformed; it was left out."),)
    centres, widths = numbers(dataset, "WindowCenter"), numbers(dataset, "WindowWidth")
    stated = value(dataset, "WindowCenter") is not None or value(dataset, "WindowWidth") is not None
    if not centres or not widths:
        if stated:
            notices += (
                Notice("bad_window", "The header's window is no number; the film's full range is shown."),
            )
        return None, notices
    function = text(dataset, "VOILUTFunction") or "LINEAR"
    if function not in ("LINEAR", "LINEAR_EXACT", "SIGMOID"):
        notices += (
            Notice("bad_window", f"The header's VOI function {function} is unknown; linear was taken."),
        )
        function = "LINEAR"
    window = Window(centres[0], widths[0], function)
    if not window.valid:
        text_ = f"The header's window (centre {window.centre}, width {window.width}) is unusable; "
        return None, (*notices, Notice("bad_window", text_ + "the film's full range is shown."))
    return window, notices


def _inverted(dataset: Dataset, image: Layout) -> tuple[bool, Notices]:
    """Presentation LUT Shape decides where it is present (C.11.6), else the photometric interpretation."""
    shape = text(dataset, "PresentationLUTShape")
    low_is_white = image.photometric == "MONOCHROME1"
    if shape not in ("IDENTITY", "INVERSE"):
        return low_is_white, ()
    if (shape == "INVERSE") == low_is_white:
        return low_is_white, ()
    text_ = f"The header's Presentation LUT Shape {shape} contradicts {image.photometric}; the shape was followed."
    return shape == "INVERSE", (Notice("presentation_conflict", text_),)


def _lut(item: Dataset, lowest: float) -> Lut | None:
    """A LUT item (C.11.1.1, C.11.2.1.1), or None where it is malformed. `lowest`: its lowest possible input."""
    descriptor = [int(n) for n in numbers(item, "LUTDescriptor") if math.isfinite(n)]
    if len(descriptor) != 3:
        return None
    # Descriptors of 16-bit values come signed or unsigned by accident of the VR: 0 entries mean 65536, and the first
    # input is signed only where inputs can be.
    count = descriptor[0] & 0xFFFF or 65536
    first, bits = descriptor[1], descriptor[2] & 0xFFFF
    if first >= 0x8000 and lowest < 0:
        first -= 0x10000
    elif first < 0 and lowest >= 0:
        first += 0x10000
    entries = _lut_entries(item, count)
    if entries is None or not 1 <= bits <= 16:
        return None
    return Lut(entries, first, bits)


def _lut_entries(item: Dataset, count: int) -> NDArray[np.uint16] | None:
    data = value(item, "LUTData")
    if isinstance(data, bytes):
        if len(data) >= 2 * count:
            return np.frombuffer(data, ">u2" if item.original_encoding[1] is False else "<u2", count).astype(
                np.uint16
            )
        # 8-bit entries packed two to a word (C.11.1.1.1)
        return np.frombuffer(data, np.uint8, count).astype(np.uint16) if len(data) >= count else None
    listed = numbers(item, "LUTData")
    if len(listed) >= count:
        return (np.asarray(listed[:count]).astype(np.int64) & 0xFFFF).astype(np.uint16)
    if 2 * len(listed) >= count:
        words = (np.asarray(listed).astype(np.int64) & 0xFFFF).astype("<u2")
        return words.view(np.uint8)[:count].astype(np.uint16)
    return None
