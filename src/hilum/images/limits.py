"""What one film may ask for. A file that asks for more is refused before memory is given to it."""

from __future__ import annotations

from hilum.errors import LimitError

# A 14 x 17 inch film scanned at 50 micrometres has 7,112 x 8,636 = 61.4 million pixels; detectors have under 20 million.
MAX_PIXELS = 64_000_000
# Those pixels at 16 bit are 123 MB; the rest is room for headers, overlays and a second plane.
MAX_FILE_BYTES = 256 * 2**20
# Structured headers of real films nest three or four deep.
MAX_NESTING = 32


def check_size(height: int, width: int) -> None:
    """Raise `LimitError` if an image of this size is not one film's worth of pixels."""
    if height * width > MAX_PIXELS:
        raise LimitError(
            f"the image is {width} x {height} pixels, more than the {MAX_PIXELS // 10**6} million that a film may have",
            mend="Scale it down, or check that its header is not damaged.",
        )
