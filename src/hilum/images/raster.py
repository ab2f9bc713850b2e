"""PNG, JPEG and TIFF films to a `Radiograph`. 16-bit values are kept, colour becomes luma, EXIF orientation is honoured."""

from __future__ import annotations

import io
import struct
import warnings
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from hilum.errors import LimitError, ReadError
from hilum.images.colour import to_grey
from hilum.images.limits import check_size
from hilum.images.radiograph import Notice, Radiograph

RasterFormat = Literal["png", "jpeg", "tiff"]
Values = NDArray[np.unsignedinteger]
Notices = tuple[Notice, ...]
_BITS_PER_SAMPLE, _COMPRESSION, _PHOTOMETRIC, _MINISWHITE = 258, 259, 262, 0  # tags of TIFF 6.0; 0 is white


def raster_format(data: bytes) -> RasterFormat | None:
    """By content."""
    if data[:8] == b"\x89PNG\r\n\x1a\n":
        return "png"
    if data[:3] == b"\xff\xd8\xff":
        return "jpeg"
    if data[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        return "tiff"
    return None


def read_raster(data: bytes, kind: RasterFormat) -> Radiograph:
    """The bytes of a PNG, JPEG or TIFF file to a `Radiograph`. Raises `ReadError` or `LimitError`."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            image = Image.open(io.BytesIO(data), formats=[kind.upper()])
        except Image.DecompressionBombError:
            raise LimitError("its header asks for too many pixels", mend="Scale it down.") from None
        except (UnidentifiedImageError, OSError, ValueError, TypeError):
            fault = f"its {kind.upper()} header is damaged, or of a kind that Pillow cannot read"
            raise ReadError(fault, mend="Fetch the file again, or save it as PNG.") from None
        with image:
            check_size(image.height, image.width)
            if kind == "tiff":
                _check_tiff_length(image, len(data))
            pages = getattr(image, "n_frames", 1) if kind == "tiff" else 1
            if pages > 1:
                raise ReadError(
                    f"it holds {pages} pages; a radiograph is one", mend="Export the page you mean."
                )
            try:
                if kind == "png" and data[24] == 16 and image.mode != "I;16":
                    values, notices = _deep_colour_png(image, data)
                else:
                    values, notices = _values(image)
            except (OSError, SyntaxError, ValueError, struct.error) as error:
                raise ReadError(
                    f"its {kind.upper()} pixels are damaged or cut short: {error}",
                    mend="Fetch the file again.",
                ) from error
    return from_values(values, kind, notices)


def from_values(values: Values, kind: str, notices: Notices = ()) -> Radiograph:
    """Values uint8 or uint16, (h, w) or (h, w, 3) as RGB, to a `Radiograph`.

    A 16-bit image whose values stay below a quarter of 65,536 is taken to hold 8, 10, 12 or 14 bits, the fewest that
    suffice: detectors give such values, and files do not say so. A notice tells of it.
    """
    bits = 8 * values.dtype.itemsize
    top = int(values.max(initial=0))
    if bits == 16 and 0 < top < 2**14:
        bits = next(b for b in (8, 10, 12, 14) if top < 2**b)
        text = f"The file has 16 bits a pixel but no value above {top}: it was taken to hold {bits} bits."
        notices += (Notice("range_guessed", text),)
    colour = 0.0
    if values.ndim == 3:
        pixels, colour = to_grey(values, 2**bits - 1)
    else:
        pixels = values.astype(np.float32) / np.float32(2**bits - 1)
    return Radiograph(pixels=pixels, format=kind, bits=bits, colour=colour, notices=notices)


def _values(image: Image.Image) -> tuple[Values, Notices]:
    """Grey uint8 or uint16 (h, w), or RGB uint8 (h, w, 3), of what Pillow decodes without loss."""
    inverted = image.format == "TIFF" and image.tag_v2.get(_PHOTOMETRIC) == _MINISWHITE  # type: ignore[attr-defined]
    image.load()
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I;16"):
        deep = np.asarray(image).astype(np.uint16)
        return (
            np.uint16(65535) - deep if inverted else deep
        ), ()  # Pillow inverts only what has 8 bits or fewer
    if image.mode in ("1", "L"):
        return np.asarray(image.convert("L")), ()
    if image.mode in ("I", "F"):
        raise ReadError(
            "its pixels are 32-bit or signed numbers without a known range",
            mend="Save it with 8 or 16 bits, unsigned.",
        )
    if "A" in image.getbands() or "transparency" in image.info:
        return _over_black(np.asarray(image.convert("RGBA")))
    return np.asarray(image.convert("RGB")), ()


def _check_tiff_length(image: Image.Image, length: int) -> None:
    """Pillow makes room for an uncompressed image before it sees that the file is too short for it."""
    tags = image.tag_v2  # type: ignore[attr-defined]
    bits = sum(int(b) for b in tags.get(_BITS_PER_SAMPLE, (1,)))
    if tags.get(_COMPRESSION, 1) == 1 and image.width * image.height * bits > 8 * length:
        raise ReadError("its TIFF pixels are cut short", mend="Fetch the file again.")


def _deep_colour_png(image: Image.Image, data: bytes) -> tuple[Values, Notices]:
    """16-bit PNGs with colour or alpha, which Pillow would cut to 8 bits. Pillow verifies what OpenCV would let pass."""
    orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
    with Image.open(io.BytesIO(data), formats=["PNG"]) as fresh:
        fresh.verify()
    decoded = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if decoded is None or decoded.dtype != np.uint16 or decoded.ndim != 3:
        raise ReadError("its PNG pixels are damaged or cut short", mend="Fetch the file again.")
    order = [2, 1, 0, 3] if decoded.shape[2] == 4 else [2, 1, 0]
    turned = _exif_turned(decoded[..., order].astype(np.uint16, copy=False), int(orientation))
    return _over_black(turned) if turned.shape[2] == 4 else (turned, ())


def _exif_turned(values: Values, orientation: int) -> Values:
    """EXIF 2.3, tag 0x0112: 5 to 8 are transposed; then rows, columns or both run backwards."""
    out = values.swapaxes(0, 1) if orientation in (5, 6, 7, 8) else values
    down = -1 if orientation in (3, 4, 7, 8) else 1
    across = -1 if orientation in (2, 3, 6, 7) else 1
    return np.ascontiguousarray(out[::down, ::across])


def _over_black(rgba: Values) -> tuple[Values, Notices]:
    """Transparent parts show black, as outside the film."""
    alpha, top = rgba[..., 3:], np.iinfo(rgba.dtype).max
    if alpha.min() == top:
        return rgba[..., :3], ()
    mixed = np.rint(rgba[..., :3].astype(np.float32) * (alpha.astype(np.float32) / top)).astype(rgba.dtype)
    return mixed, (Notice("transparency", "Parts of the image are transparent; they were taken as black."),)
