"""One door for every film: a path in, a `Radiograph` out, or an error that names the file, the fault and the mend."""

from __future__ import annotations

import hashlib
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hilum.errors import HilumError, LimitError, ReadError
from hilum.images.dicom import read_dicom
from hilum.images.dicom_file import looks_like_dicom
from hilum.images.limits import MAX_FILE_BYTES, check_size
from hilum.images.radiograph import Radiograph
from hilum.images.raster import from_values, raster_format, read_raster

logger = logging.getLogger(__name__)


def read(path: str | Path, least: int | None = None) -> Radiograph:
    """Read one radiograph from a DICOM, PNG, JPEG or TIFF file, told apart by content.

    Whatever the file holds, the result is a `Radiograph` or one of these errors.

    `least`: pixels of the shorter side that are enough for what is to be done. JPEG 2000 and JPEG films are then decoded at
    a half, a quarter or an eighth of their size where that leaves as many, which takes a fraction of the time, and the
    film's own size stands in `Radiograph.whole`. None decodes every film whole; so are those of which `images.reduced` says
    why.

    Raises
    ------
    LimitError: a file, an image or a header larger than `hilum.images.limits` allows.
    ReadError: a file that is missing, damaged, or no still greyscale or RGB image.
    """
    path = Path(path)
    data = _bytes_of(path)
    try:
        film = decode(data, least)
    except HilumError as error:
        raise type(error)(error.fault, path=path, mend=error.mend) from error
    except MemoryError:
        raise LimitError(
            "there is not enough memory to decode it", path=path, mend="Close other programs."
        ) from None
    except Exception as error:
        # Damaged bytes make third-party parsers raise errors of every kind; none of them may stop a folder's run.
        logger.debug("unforeseen failure while reading %s", path, exc_info=True)
        raise ReadError(
            f"the file is damaged ({type(error).__name__}: {error})", path=path, mend="Fetch the file again."
        ) from error
    return replace(film, path=path, digest=hashlib.sha256(data).hexdigest())


def decode(data: bytes, least: int | None = None) -> Radiograph:
    """Decode the bytes of one DICOM, PNG, JPEG or TIFF file; `least` as of `read`.

    Raises `ReadError`, `LimitError`, or a parser's own error.
    """
    if not data:
        raise ReadError("the file is empty", mend="Fetch it again from its source.")
    # DICOM first: its preamble may hold another format's header (PS3.10 section 7.1), as the real RG1 film's does.
    if looks_like_dicom(data):
        return read_dicom(data, least)
    kind = raster_format(data)
    if kind is not None:
        return read_raster(data, kind, least)
    raise ReadError(
        "the file is neither DICOM nor PNG, JPEG or TIFF", mend="Export the film in one of these formats."
    )


def read_array(pixels: NDArray[Any], **facts: Any) -> Radiograph:
    """A `Radiograph` from an array that is already in memory, bone white.

    `pixels`: (height, width), or (height, width, 3) as RGB; uint8, uint16 (see `raster.from_values`), or floating
    with values in [0, 1]. `facts`: other fields of `Radiograph` (`view="PA"`, `age=61`, ...).
    """
    shaped = pixels.ndim == 2 or (pixels.ndim == 3 and pixels.shape[2] == 3)
    if not shaped or pixels.size == 0:
        raise ReadError(
            f"an array of shape {pixels.shape} is no image", mend="Give (height, width) or (h, w, 3)."
        )
    check_size(*pixels.shape[:2])
    if pixels.dtype in (np.uint8, np.uint16):
        return replace(from_values(pixels, "array"), **facts)
    if not np.issubdtype(pixels.dtype, np.floating):
        raise ReadError(
            f"an array of {pixels.dtype} has no known range", mend="Give uint8, uint16, or floats in 0..1."
        )
    if pixels.ndim == 3:
        raise ReadError("a colour array must be uint8 or uint16", mend="Convert it to grey or to integers.")
    if not (pixels.min() >= 0 and pixels.max() <= 1):  # NaN fails too
        raise ReadError("a floating array must lie in [0, 1]", mend="Scale it first.")
    return Radiograph(pixels=np.array(pixels, np.float32), **facts)


def _bytes_of(path: Path) -> bytes:
    try:
        if not path.is_file():
            fault = "it is no regular file" if path.exists() else "there is no such file"
            raise ReadError(fault, path=path, mend="Give the path of a film.")
        with path.open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ReadError(
            f"it cannot be opened ({reason})", path=path, mend="Check the path and its rights."
        ) from error
    if len(data) > MAX_FILE_BYTES:
        raise LimitError(
            f"the file is larger than {MAX_FILE_BYTES // 2**20} MiB",
            path=path,
            mend="Check that it is one film.",
        )
    return data
