"""What a compressed image says of itself, read before any decoder sees it.

A decoder in C allocates by the codestream's size, not by the DICOM header's. Only streams whose own size is the
header's are decoded.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

# Start-of-frame markers: ITU-T T.81 table B.1 without DHT, JPG and DAC; ITU-T T.87 (JPEG-LS) adds 0xF7.
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC} | {0xF7}
_STANDALONE = frozenset(range(0xD0, 0xD9)) | {0x01}
_START_OF_SCAN, _END_OF_IMAGE = 0xDA, 0xD9
_TABLES = frozenset({0xC4, 0xCC, 0xDB, 0xDD})  # Huffman, arithmetic, quantisation, restart interval
_PASSED_OVER = frozenset({*range(0xE0, 0xF0), 0xFE})  # application segments, comments
_START_OF_TILE, _END_OF_CODESTREAM = b"\xff\x90", b"\xff\xd9"  # of JPEG 2000


@dataclass(frozen=True)
class StreamSize:
    """`height` and `width` in pixels; `precision` in bits a sample."""

    height: int
    width: int
    components: int
    precision: int


def jpeg_size(data: bytes) -> StreamSize | None:
    """The first frame header of a JPEG or JPEG-LS stream, or None where there is none before the first scan."""
    for marker, start, _ in _segments(data):
        if marker in _FRAMES and start + 10 <= len(data):
            precision, height, width, components = struct.unpack(">BHHB", data[start + 4 : start + 10])
            return StreamSize(height, width, components, precision)
    return None


def jpeg_without_applications(data: bytes) -> bytes | None:
    """The JPEG stream without application segments and comments; None where its segments do not lead to a scan.

    They hold nothing that a greyscale film needs, and GDCM ends the whole process (an uncaught C++ exception) where
    a header makes its JPEG library warn: a JFIF revision other than 1, or stray bytes between segments.
    """
    kept = [b"\xff\xd8"]
    for marker, start, end in _segments(data):
        if marker == _START_OF_SCAN:
            return b"".join([*kept, data[start:]])
        if marker in _FRAMES or marker in _TABLES:
            kept.append(data[start:end])
        elif marker not in _PASSED_OVER:
            return None
    return None


def _segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Marker, start (at its 0xFF) and end of each segment up to the first scan's."""
    at = 2
    while data[:2] == b"\xff\xd8" and at + 4 <= len(data):
        if data[at] != 0xFF:
            return
        marker = data[at + 1]
        if marker == 0xFF:  # fill byte
            at += 1
        elif marker in _STANDALONE:
            at += 2
        else:
            end = at + 2 + max(int.from_bytes(data[at + 2 : at + 4], "big"), 2)
            yield marker, at, end
            if marker in (_START_OF_SCAN, _END_OF_IMAGE):
                return
            at = end


def jpeg2000_size(data: bytes) -> StreamSize | None:
    """The SIZ segment (ISO/IEC 15444-1 A.5.1) of a codestream, bare or in a JP2 box; None where there is none."""
    start = data[:4096].find(b"\xff\x4f\xff\x51")
    siz = data[start + 4 : start + 4 + 39]
    if start < 0 or len(siz) < 39:
        return None
    _, _, x1, y1, x0, y0, tile_w, tile_h, tile_x, tile_y, components = struct.unpack(">HH8LH", siz[:38])
    if x1 <= x0 or y1 <= y0 or not tile_w or not tile_h:
        return None
    tiles = -(-(x1 - tile_x) // tile_w) * -(-(y1 - tile_y) // tile_h)
    if tiles > 65535:  # the standard's own bound
        return None
    return StreamSize(y1 - y0, x1 - x0, components, (siz[38] & 0x7F) + 1)


def jpeg2000_is_whole(data: bytes) -> bool:
    """Does a codestream's main header lead to a tile-part, each tile-part to the next, and the last to the end (ISO/IEC
    15444-1 A.4)? False for a stream cut short anywhere.
    """
    at = data[:4096].find(b"\xff\x4f\xff\x51") + 2
    while at >= 2 and data[at : at + 2] != _START_OF_TILE:
        if at + 4 > len(data) or data[at] != 0xFF:
            return False
        at += 2 + max(int.from_bytes(data[at + 2 : at + 4], "big"), 2)
    while at >= 2 and data[at : at + 2] == _START_OF_TILE:
        length = int.from_bytes(data[at + 6 : at + 10], "big")
        if length < 14:  # 0: up to the end of the codestream, which says nothing of its length
            return length == 0 and data.rstrip(b"\0").endswith(_END_OF_CODESTREAM)
        at += length
    return at >= 2 and data[at : at + 2] == _END_OF_CODESTREAM
