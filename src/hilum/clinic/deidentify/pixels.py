"""What hides in pixel data beside pixels: bits above those of the values (old overlays), and words in a JPEG stream."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate, get_frame
from pydicom.uid import (
    UID,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    JPEG2000TransferSyntaxes,
    JPEGTransferSyntaxes,
)

from hilum.images.codestream import jpeg_without_applications
from hilum.images.dicom_decode import NATIVE, Layout, decode, layout


def cleaned_pixels(dataset: Dataset, syntax: UID) -> tuple[UID, int]:
    """Clear in place every stored bit outside Bits Stored; returns the transfer syntax and how many samples had some.

    A signed value keeps its sign in the bits above it. A compressed film stays as it is where no such bit is set, but
    for the application and comment segments of a JPEG stream; else it becomes uncompressed.
    """
    image = layout(dataset)
    if syntax in NATIVE:
        return syntax, _clear_native(dataset, syntax, image)
    stored, _ = decode(dataset, syntax, image)
    clean = _cleared(stored, image)
    stray = int((clean != stored).sum())
    if stray:
        data = clean.astype("<u2" if image.allocated == 16 else np.uint8).tobytes()
        dataset.PixelData = data + b"\0" * (len(data) % 2)
        dataset["PixelData"].VR = "OW" if image.allocated == 16 else "OB"
        dataset["PixelData"].is_undefined_length = False
        if image.samples == 3:
            dataset.PlanarConfiguration = 0
        return ExplicitVRLittleEndian, stray
    if syntax in JPEGTransferSyntaxes and syntax not in JPEG2000TransferSyntaxes:
        plain = jpeg_without_applications(get_frame(dataset.PixelData, 0, number_of_frames=1))
        if plain is not None:
            dataset.PixelData = encapsulate([plain])
            dataset["PixelData"].is_undefined_length = True
    return syntax, 0


def _clear_native(dataset: Dataset, syntax: UID, image: Layout) -> int:
    if image.allocated == 8 and image.stored == 8:
        return 0
    kind = (
        np.dtype(np.uint8)
        if image.allocated == 8
        else np.dtype(">u2" if syntax == ExplicitVRBigEndian else "<u2")
    )
    stored: NDArray[np.unsignedinteger] = np.frombuffer(dataset.PixelData, kind)
    clean = _cleared(stored, image)
    stray = int((clean != stored).sum())
    if stray:
        dataset.PixelData = clean.astype(kind).tobytes()
    return stray


def _cleared(stored: NDArray[np.unsignedinteger], image: Layout) -> NDArray[np.int64]:
    """Stored values with nothing outside Bits Stored but, of signed ones, their sign above them."""
    low = image.high - image.stored + 1
    field = (stored.astype(np.int64) >> low) & ((1 << image.stored) - 1)
    if image.signed:
        field -= (field >> (image.stored - 1)) << image.stored
    return (field << low) & ((1 << image.allocated) - 1)
