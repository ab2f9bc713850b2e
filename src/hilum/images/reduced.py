"""Films decoded at a half, a quarter or an eighth of their size, by streams that hold these sizes in themselves.

JPEG 2000 is coded by wavelets (ISO/IEC 15444-1): its lower levels are decoded without the upper ones, which take most of
the time. Baseline JPEG is coded by cosines of 8 x 8 blocks, of which the first few give a smaller block. Both give stored
values, as a whole decoding does, and what can only be said of the whole film is a reason to decode it whole:

- a header without window or VOI LUT shows a film from its lowest to its highest stored value, which a smaller film has not;
- padding is told by its exact value, and overlays lie in bits above the film's: neither survives averaging;
- signed and coloured films: containers cannot be averaged, and how much colour there is is measured by the pixel;
- a film of which few grey levels hold most may be a drawing or a mask, which the quality gate knows by the number of its
  levels, and averaging makes new ones;
- a stream that does not lead from its first to its last byte is damaged or cut short, and a whole decoding says how.

So a reduced decoding never refuses a film, and never reads one that a whole decoding would refuse for its structure.
"""

from __future__ import annotations

import io

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile

from hilum.images.codestream import jpeg2000_is_whole

Stored = NDArray[np.unsignedinteger]

DEEPEST = 3  # an eighth: what baseline JPEG can do, and as deep as any film needs
FEW, MOST = (
    16,
    0.75,
)  # where so few levels hold more than this share of the pixels, they are counted on the whole film


def level_for(height: int, width: int, least: int | None) -> int:
    """How often a film can be halved with at least `least` pixels left on its shorter side; 0 for None."""
    if least is None:
        return 0
    return max((n for n in range(DEEPEST + 1) if min(height, width) >> n >= least), default=0)


def jpeg2000(stream: bytes, level: int, bits: int) -> Stored | None:
    """A codestream of one component of `bits` unsigned, halved `level` times: stored values (h, w), rounded up.

    None where the stream does not lead from end to end, holds fewer levels, or cannot be decoded so.
    """
    if not jpeg2000_is_whole(stream):
        return None
    try:
        with Image.open(io.BytesIO(stream), formats=["JPEG2000"]) as image:
            if image.mode != ("L" if bits <= 8 else "I;16"):
                return None
            # Pillow's own `reduce` rounds the size to nearest where OpenJPEG rounds up, and then refuses the film.
            size = -(-image.width >> level), -(-image.height >> level)
            (tile,) = image.tile  # type: ignore[attr-defined]
            image._size = size  # type: ignore[attr-defined]
            arguments = (tile.args[0], level, *tile.args[2:])  # type: ignore[index]
            image.tile = [tile._replace(extents=(0, 0, *size), args=arguments)]  # type: ignore[attr-defined]
            ImageFile.ImageFile.load(image)  # type: ignore[arg-type]
            values = np.asarray(image)
    except (OSError, SyntaxError, ValueError, TypeError, MemoryError):
        return None
    container = 8 if bits <= 8 else 16  # Pillow shifts values up to fill it
    return _centred(np.right_shift(values, container - bits).astype(values.dtype), level, (1 << bits) - 1)


def _centred(values: Stored, level: int, highest: int) -> Stored:
    """Samples of a wavelet's lower band where the middles of the pixels lie that they stand for.

    The band's sample i lies on the film's pixel 2^level i, the middle of the block that it stands for (2^level - 1) / 2
    pixels further. Left as it is, the film would be moved by that much, which moves probabilities twice as far as the
    averaging itself.
    """
    apart = ((1 << level) - 1) / 2 / (1 << level)
    shift = np.array([[1, 0, apart], [0, 1, apart]])
    how = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
    moved = cv2.warpAffine(values, shift, values.shape[::-1], flags=how, borderMode=cv2.BORDER_REPLICATE)
    return np.minimum(moved, highest).astype(values.dtype)


def jpeg(stream: bytes, level: int) -> Stored | None:
    """A greyscale baseline JPEG stream, halved `level` times: uint8 (h, w). None where it cannot be decoded so."""
    try:
        with Image.open(io.BytesIO(stream), formats=["JPEG"]) as image:
            if not draft(image, level):
                return None
            return np.asarray(image)
    except (OSError, SyntaxError, ValueError, MemoryError):
        return None


def draft(image: Image.Image, level: int) -> bool:
    """Have a JPEG that was opened and not yet loaded decoded at `level`; False where it is not greyscale, or level is 0."""
    if level == 0 or image.mode != "L":
        return False
    whole = image.size
    image.draft("L", (image.width >> level, image.height >> level))
    return image.size != whole


def has_few_levels(stored: Stored) -> bool:
    """Do a few grey levels hold most of the film, as in a drawing, a mask, or one that is half unexposed?"""
    counts = np.bincount(stored.ravel())
    return int(np.sort(counts)[-FEW:].sum()) > MOST * stored.size
