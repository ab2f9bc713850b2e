"""Stored pixel values of a DICOM film, by the decoder that is fastest for its transfer syntax.

Nothing is interpreted here: no sign, no mask, no colour transform. `greyscale` does that, in the standard's order.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydicom import uid
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate, get_frame
from pydicom.pixels import get_decoder

from hilum.errors import ReadError
from hilum.images import reduced
from hilum.images.codestream import StreamSize, jpeg2000_size, jpeg_size, jpeg_without_applications
from hilum.images.dicom_header import integer, text, value
from hilum.images.limits import check_size

# Measured by benchmarks/read_dicom.py; `pylibjpeg` means its openjpeg and rle plugins, never the GPL libjpeg.
_JPEG_GDCM = {uid.JPEGExtended12Bit, uid.JPEGLossless, uid.JPEGLosslessSV1}
_JPEG_LS = {uid.JPEGLSLossless, uid.JPEGLSNearLossless}
_JPEG_2000 = {uid.JPEG2000Lossless, uid.JPEG2000}
_HTJ2K = {uid.HTJ2KLossless, uid.HTJ2KLosslessRPCL, uid.HTJ2K}
PLUGINS: dict[uid.UID, str] = {
    uid.RLELossless: "pylibjpeg",
    uid.JPEGBaseline8Bit: "pillow",
    **dict.fromkeys(_JPEG_GDCM, "gdcm"),
    **dict.fromkeys(_JPEG_LS, "pyjpegls"),
    **dict.fromkeys(_JPEG_2000, "pylibjpeg"),
    **dict.fromkeys(_HTJ2K, "pylibjpeg"),
}
# pydicom refuses 12-bit JPEG Extended to GDCM, which reads the process from the stream and decodes all of them.
_DECODED_AS = {uid.JPEGExtended12Bit: uid.JPEGLossless}
NATIVE = {
    uid.ImplicitVRLittleEndian,
    uid.ExplicitVRLittleEndian,
    uid.ExplicitVRBigEndian,
    uid.DeflatedExplicitVRLittleEndian,
}


@dataclass(frozen=True)
class Layout:
    """The Image Pixel module's description of one stored value (PS3.3 C.7.6.3)."""

    height: int
    width: int
    samples: int
    photometric: str
    allocated: int
    stored: int
    high: int
    signed: bool


def refuse_directory(dataset: Dataset) -> None:
    """ReadError for a DICOMDIR (PS3.3 F.3.2.2): what it lists may lie anywhere, so nothing of it is followed."""
    if value(dataset, "DirectoryRecordSequence"):
        raise ReadError("it is a DICOMDIR, the list of a medium", mend="Send the films that it lists.")


def layout(dataset: Dataset) -> Layout:
    """Read and check the Image Pixel module; raises `ReadError` for what is not one greyscale or RGB frame."""
    refuse_directory(dataset)
    if not value(dataset, "PixelData"):
        raise ReadError(
            "it has no pixels, or it is cut short before them", mend="Give a film, or fetch it again."
        )
    photometric = text(dataset, "PhotometricInterpretation")
    if photometric is None:
        raise ReadError(
            "the header has no Photometric Interpretation", mend="Without it black and white are unknown."
        )
    if photometric not in ("MONOCHROME1", "MONOCHROME2", "RGB"):
        raise ReadError(
            f"its colours are {photometric}; a radiograph is greyscale",
            mend="Export it as MONOCHROME2 or as PNG.",
        )
    frames = integer(dataset, "NumberOfFrames")
    if frames is not None and frames > 1:
        raise ReadError(f"it holds {frames} frames; a radiograph is one", mend="Export the frame you mean.")
    height, width = integer(dataset, "Rows") or 0, integer(dataset, "Columns") or 0
    if height < 1 or width < 1:
        raise ReadError(f"its header gives {height} rows and {width} columns", mend="Fetch the file again.")
    check_size(height, width)

    samples = integer(dataset, "SamplesPerPixel") or (3 if photometric == "RGB" else 1)
    allocated = integer(dataset, "BitsAllocated") or 0
    stored = integer(dataset, "BitsStored") or allocated
    high = integer(dataset, "HighBit")
    high = stored - 1 if high is None else high
    if samples != (3 if photometric == "RGB" else 1):
        raise ReadError(
            f"{photometric} with {samples} samples a pixel contradict each other", mend="Export it again."
        )
    if allocated not in (8, 16) or (samples == 3 and allocated != 8):
        raise ReadError(
            f"{allocated} bits allocated a sample: not a radiograph's", mend="Export it at 8 or 16 bit."
        )
    if not 1 <= stored <= allocated or not stored - 1 <= high < allocated:
        raise ReadError(
            f"bits stored {stored}, high bit {high} and bits allocated {allocated} contradict each other",
            mend="Fetch the file again, or have its exporter corrected.",
        )
    signed = integer(dataset, "PixelRepresentation") == 1
    return Layout(height, width, samples, photometric, allocated, stored, high, signed)


def decode(dataset: Dataset, syntax: uid.UID, image: Layout) -> tuple[NDArray[np.unsignedinteger], int]:
    """Stored values as unsigned containers, (h, w) or (h, w, 3), and the bits that each was coded with."""
    if syntax not in NATIVE and syntax not in PLUGINS:
        name = syntax.name if syntax.is_transfer_syntax else str(syntax)
        raise ReadError(
            f"transfer syntax {name} is not a still film's", mend="Export it as explicit little endian."
        )
    pixels = value(dataset, "PixelData")
    if syntax in NATIVE:
        return _native(dataset, pixels, syntax, image), image.allocated
    return _compressed(pixels, syntax, image)


def decode_reduced(
    dataset: Dataset, syntax: uid.UID, image: Layout, least: int | None
) -> tuple[NDArray[np.unsignedinteger], int] | None:
    """As `decode`, of a film that is halved as often as leaves `least` pixels on its shorter side (`images.reduced`).

    None where the film is to be decoded whole: `reduced` says when.
    """
    level = reduced.level_for(image.height, image.width, least)
    if (
        level == 0
        or syntax not in _JPEG_2000 | {uid.JPEGBaseline8Bit}
        or not _bears_averaging(dataset, image)
    ):
        return None
    stream = _stream(value(dataset, "PixelData"))
    precision = _checked_precision(stream, syntax, image)
    if precision > image.stored:
        return None
    wavelets = syntax in _JPEG_2000
    stored = reduced.jpeg2000(stream, level, precision) if wavelets else reduced.jpeg(stream, level)
    return None if stored is None or reduced.has_few_levels(stored) else (stored, precision)


def _bears_averaging(dataset: Dataset, image: Layout) -> bool:
    """Can stored values be averaged before the greyscale chain, without a change of what the header asks for?"""
    shown = any(value(dataset, word) is not None for word in ("VOILUTSequence", "WindowCenter"))
    padded = value(dataset, "PixelPaddingValue") is not None
    return image.samples == 1 and not image.signed and shown and not padded


def _native(dataset: Dataset, pixels: bytes, syntax: uid.UID, image: Layout) -> NDArray[np.unsignedinteger]:
    count = image.height * image.width * image.samples
    if len(pixels) < count * image.allocated // 8:
        raise ReadError(
            f"its pixel data is cut short: {len(pixels)} of {count * image.allocated // 8} bytes",
            mend="Fetch the file again from its source.",
        )
    big = syntax == uid.ExplicitVRBigEndian
    if image.allocated == 16:
        values: NDArray = np.frombuffer(pixels, ">u2" if big else "<u2", count).astype(np.uint16, copy=False)
    elif big and dataset["PixelData"].VR == "OW":  # bytes travel as big-endian words
        values = np.frombuffer(pixels, ">u2", (count + 1) // 2).astype("<u2").view(np.uint8)[:count]
    else:
        values = np.frombuffer(pixels, np.uint8, count)
    return _shaped(values, image, integer(dataset, "PlanarConfiguration") == 1)


def _stream(pixels: bytes) -> bytes:
    """The one frame's codestream."""
    try:
        return get_frame(pixels, 0, number_of_frames=1)
    except Exception as error:
        raise ReadError(
            f"its compressed pixel data is damaged: {error}", mend="Fetch the file again."
        ) from error


def _compressed(pixels: bytes, syntax: uid.UID, image: Layout) -> tuple[NDArray[np.unsignedinteger], int]:
    stream = _stream(pixels)
    precision = _checked_precision(stream, syntax, image)
    plugin = PLUGINS[syntax]
    if plugin == "gdcm":
        plain = jpeg_without_applications(stream)
        if plain is None:
            raise ReadError(f"its {syntax.name} stream is damaged or cut short", mend="Fetch the file again.")
        pixels = encapsulate([plain], has_bot=False)
    try:
        frame, facts = get_decoder(_DECODED_AS.get(syntax, syntax)).as_buffer(
            pixels,
            index=0,
            decoding_plugin=plugin,
            rows=image.height,
            columns=image.width,
            samples_per_pixel=image.samples,
            photometric_interpretation=image.photometric,
            planar_configuration=0,
            pixel_representation=int(image.signed),
            bits_allocated=image.allocated,
            bits_stored=image.stored,
            number_of_frames=1,
        )
    except (MemoryError, KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # a panic in a decoder written in Rust is no Exception
        raise ReadError(
            f"its {syntax.name} stream cannot be decoded by {plugin}: {_last_line(error)}",
            mend="Fetch the file again, or store it uncompressed.",
        ) from error
    count = image.height * image.width * image.samples
    size = len(frame) // count
    if size not in (1, 2):
        raise ReadError(
            f"its {syntax.name} stream gave {len(frame)} bytes for {count} values", mend="Fetch it again."
        )
    values = np.frombuffer(frame, np.uint8 if size == 1 else np.dtype("<u2"), count)
    return _shaped(values, image, facts.get("planar_configuration") == 1), precision


def _checked_precision(stream: bytes, syntax: uid.UID, image: Layout) -> int:
    """Bits a sample of the codestream, whose own size must be the header's."""
    if syntax == uid.RLELossless:
        return image.allocated
    size = jpeg2000_size(stream) if syntax in _JPEG_2000 | _HTJ2K else jpeg_size(stream)
    if size is None:
        raise ReadError(
            f"its pixel data is no {syntax.name} stream", mend="Fetch the file again from its source."
        )
    header = StreamSize(image.height, image.width, image.samples, size.precision)
    if size != header:
        raise ReadError(
            f"its compressed image is {size.width} x {size.height} x {size.components}, its header says "
            f"{header.width} x {header.height} x {header.components}",
            mend="Fetch the file again, or have its exporter corrected.",
        )
    if size.precision > image.allocated:
        raise ReadError(
            f"its compressed image has {size.precision} bits a sample, its header allocates {image.allocated}",
            mend="Fetch the file again, or have its exporter corrected.",
        )
    return size.precision


def _shaped(values: NDArray, image: Layout, planar: bool) -> NDArray[np.unsignedinteger]:
    if image.samples == 1:
        return values.reshape(image.height, image.width)
    if planar:
        return values.reshape(3, image.height, image.width).transpose(1, 2, 0)
    return values.reshape(image.height, image.width, 3)


def _last_line(error: BaseException) -> str:
    return str(error).strip().rsplit("\n", 1)[-1].strip() or type(error).__name__
