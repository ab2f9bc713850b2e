"""PNG, JPEG and TIFF films to a `Radiograph`. 16-bit values are kept, colour becomes luma, EXIF orientation is honoured."""

from __future__ import annotations

import io
import struct
import warnings
from dataclasses import replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from hilum.errors import LimitError, ReadError
from hilum.images.colour import to_grey
from hilum.images.limits import check_size
from hilum.images.radiograph import Notice, Radiograph
from hilum.images.reduced import draft, has_few_levels, level_for
from hilum.images.strips import Rows, Strips, strips_of

RasterFormat = Literal["png", "jpeg", "tiff"]
Values = NDArray[np.unsignedinteger]
Notices = tuple[Notice, ...]
_BITS_PER_SAMPLE, _COMPRESSION, _PHOTOMETRIC, _MINISWHITE = 258, 259, 262, 0  # tags of TIFF 6.0; 0 is white
_ORIENTATION = 0x0112  # EXIF: from 5 on height and width change places


def raster_format(data: bytes) -> RasterFormat | None:
    """By content."""
    if data[:8] == b"\x89PNG\r\n\x1a\n":
        return "png"
    if data[:3] == b"\xff\xd8\xff":
        return "jpeg"
    if data[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        return "tiff"
    return None


def read_raster(data: bytes, kind: RasterFormat, least: int | None = None) -> Radiograph:
    """The bytes of a PNG, JPEG or TIFF file to a `Radiograph`; `least` as of `read.read`.

    Raises `ReadError` or `LimitError`.
    """
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
            values: Values | Rows
            size = image.height, image.width
            turned = image.getexif().get(_ORIENTATION, 1) >= 5 if least is not None else False
            small = kind == "jpeg" and draft(image, level_for(*size, least))
            try:
                if kind == "png" and data[24] == 16 and image.mode != "I;16":
                    values, notices = _over_black(_deep_colour_png(image, data))
                else:
                    values, notices = _values(image)
            except (OSError, SyntaxError, ValueError, struct.error) as error:
                raise ReadError(
                    f"its {kind.upper()} pixels are damaged or cut short: {error}",
                    mend="Fetch the file again.",
                ) from error
    if not small:
        return from_values(values, kind, notices)
    if has_few_levels(values[:]):
        return read_raster(data, kind)
    return replace(from_values(values, kind, notices), whole=size[::-1] if turned else size)


def from_values(values: Values | Rows, kind: str, notices: Notices = ()) -> Radiograph:
    """Values uint8 or uint16, (h, w) or (h, w, 3) as RGB, to a `Radiograph`.

    A 16-bit image whose values stay below a quarter of 65,536 is taken to hold 8, 10, 12 or 14 bits, the fewest that
    suffice: detectors give such values, and files do not say so. A notice tells of it.
    """
    bits = 8 * values.dtype.itemsize
    top = max(int(values[rows].max()) for rows in strips_of(values.shape)) if bits == 16 else 0
    if 0 < top < 2**14:
        bits = next(b for b in (8, 10, 12, 14) if top < 2**b)
        text = f"The file has 16 bits a pixel but no value above {top}: it was taken to hold {bits} bits."
        notices += (Notice("range_guessed", text),)
    colour = 0.0
    if len(values.shape) == 3:
        pixels, colour = to_grey(values, 2**bits - 1)
    else:
        pixels = values[:].astype(np.float32)
        pixels /= np.float32(2**bits - 1)
    return Radiograph(pixels=pixels, format=kind, bits=bits, colour=colour, notices=notices)


def _values(image: Image.Image) -> tuple[Values | Rows, Notices]:
    """Grey uint8 or uint16 (h, w), or RGB uint8 (h, w, 3), of what Pillow decodes without loss."""
    inverted = image.format == "TIFF" and image.tag_v2.get(_PHOTOMETRIC) == _MINISWHITE  # type: ignore[attr-defined]
    image.load()
    ImageOps.exif_transpose(image, in_place=True)
    if image.mode.startswith("I;16"):
        deep = np.asarray(image).astype(np.uint16, copy=False)
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
    wanted = "RGBA" if "A" in image.getbands() or "transparency" in image.info else "RGB"
    return _over_black(Strips(image if image.mode == wanted else image.convert(wanted)))


def _check_tiff_length(image: Image.Image, length: int) -> None:
    """Pillow makes room for an uncompressed image before it sees that the file is too short for it."""
    tags = image.tag_v2  # type: ignore[attr-defined]
    bits = sum(int(b) for b in tags.get(_BITS_PER_SAMPLE, (1,)))
    if tags.get(_COMPRESSION, 1) == 1 and image.width * image.height * bits > 8 * length:
        raise ReadError("its TIFF pixels are cut short", mend="Fetch the file again.")


def _deep_colour_png(image: Image.Image, data: bytes) -> Strips:
    """A 16-bit PNG with colour or alpha. Pillow keeps a byte of each value, so it decodes the file once for each byte."""
    with Image.open(io.BytesIO(data), formats=["PNG"]) as fresh:
        fresh.verify()  # to decode passes over the checksums
    kind = str(image.tile[0][3])  # type: ignore[attr-defined]
    if kind == "LA;16B":  # two bytes of grey and two of alpha a pixel, which is what RGBA looks like
        return Strips(_unpacked(data, "RGBA"), packed=True)
    key = image.info.get("transparency")
    high, low = _unpacked(data, kind), _unpacked(data, kind.replace(";16B", ";16L"))
    return Strips(high, low, key if isinstance(key, tuple) else None)


def _unpacked(data: bytes, packing: str) -> Image.Image:
    """A PNG's pixels as another of Pillow's raw modes than the one that it would take."""
    image = Image.open(io.BytesIO(data), formats=["PNG"])
    (tile,) = image.tile  # type: ignore[attr-defined]
    image.tile = [type(tile)(*tile[:3], packing)]  # type: ignore[attr-defined]
    image.load()
    ImageOps.exif_transpose(image, in_place=True)
    return image


def _over_black(colours: Strips) -> tuple[Strips, Notices]:
    """Transparent parts show black, as outside the film."""
    if not colours.transparent:
        return colours, ()
    return colours, (Notice("transparency", "Parts of the image are transparent; they were taken as black."),)
