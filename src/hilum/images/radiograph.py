"""The decoded film: the one shape in which pixels travel through Hilum."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Sex = Literal["F", "M"]


@dataclass(frozen=True)
class Notice:
    """Something met on the way that a reader of the result should know.

    `code` is stable and for machines (`burned_in_annotation`); `text` is for people.
    """

    code: str
    text: str


@dataclass(frozen=True)
class Radiograph:
    """One radiograph as decoded.

    Attributes
    ----------
    pixels: float32 (height, width), in [0, 1], bone white, upright. Read-only.
    path: the file it came from, if any.
    format: `dicom`, `png`, `jpeg`, `tiff` or `array`.
    view: `PA`, `AP`, `LATERAL`, `OTHER` or None where the file does not say.
    body_part: the header's BodyPartExamined in upper case, or None.
    sex: `F`, `M` or None. age: years, or None.
    spacing: (row, column) millimetres a pixel of the whole film, at the detector or patient plane, or None.
    bits: significant bits of the stored values.
    colour: mean absolute difference of the colour channels in [0, 1]; 0 for a greyscale file.
    headers: a few header values that the report cites (SOPInstanceUID, Modality, ...); values are strings.
    digest: SHA-256 of the file's bytes, hex.
    whole: (height, width) of the film, upright, where `pixels` are a smaller decoding of it (`images.reduced`); else None.
    notices: warnings met while reading.
    """

    pixels: NDArray[np.float32]
    path: Path | None = None
    format: str = "array"
    view: str | None = None
    body_part: str | None = None
    sex: Sex | None = None
    age: float | None = None
    spacing: tuple[float, float] | None = None
    bits: int | None = None
    colour: float = 0.0
    headers: dict[str, str] = field(default_factory=dict)
    digest: str | None = None
    notices: tuple[Notice, ...] = ()
    whole: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        p = self.pixels
        if p.ndim != 2 or p.dtype != np.float32:
            raise ValueError(f"pixels must be a 2-D float32 array, got {p.ndim}-D {p.dtype}")
        p.setflags(write=False)

    @property
    def height(self) -> int:
        return int(self.pixels.shape[0])

    @property
    def width(self) -> int:
        return int(self.pixels.shape[1])

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the film in pixels, of which `pixels` may be a smaller decoding."""
        return self.whole or (self.height, self.width)

    def with_notice(self, code: str, text: str) -> Radiograph:
        """A copy that carries one more notice."""
        return replace(self, notices=(*self.notices, Notice(code, text)))
