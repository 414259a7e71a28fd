"""JPEGs: what stands before their pixels, and as many rows of those as are wanted.

A JPEG's rows are coded from the top to the bottom, and its header says how many there are. With a
smaller number in the header the decoder stops early: what lies below a face costs nothing.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass

import simplejpeg

from atpn.errors import InvalidImage
from atpn.geometry import Image

#: Segments and fill bytes of a JPEG, chunks of a PNG: an image that has more is meant to cost time.
MOST_PARTS = 1 << 14
#: Of a progressive JPEG; usual are ten. Each, of 14 bytes at least, is a walk through all pixels.
MOST_SCANS = 64
SCAN = 0xDA  # the marker of a start of scan
#: Frames of Huffman-coded samples, and those whose rows are coded from the top to the bottom.
_SEQUENTIAL = {0xC0, 0xC1}
_FRAMES = _SEQUENTIAL | {0xC2}
#: What is not plain: EXIF, several pictures in one file, Adobe's colour transforms, other codings,
#: restart and end markers here.
_UNUSUAL = {0xE1, 0xE2, 0xEE, *range(0xC3, 0xE0)} - {0xC4, SCAN, 0xDB, 0xDD}
_FRAME = struct.Struct(">BHHB")  # bits a sample, height, width, components
_HEIGHT_AT = 5  # in the frame's segment

MCU = 16  # rows that are coded together, at most


@dataclass(frozen=True)
class Plain:
    """A JPEG of the plainest kind: 8 bits, grey or YCbCr, no EXIF block."""

    width: int
    height: int
    scan_at: int  # where the entropy-coded data begins
    #: Where the header says how many rows there are; None where decoding can't stop early.
    rows_at: int | None


def segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Marker, start and end of each segment before the entropy-coded data, the last of which is
    the start of scan. InvalidImage beyond MOST_PARTS.
    """
    at = 2
    for _ in range(MOST_PARTS):
        if at + 4 > len(data) or data[at] != 0xFF:
            return
        marker, end = data[at + 1], at + 2 + (data[at + 2] << 8 | data[at + 3])
        if marker == 0xFF:  # fill byte
            at += 1
            continue
        yield marker, at, end
        if marker == SCAN:
            return
        at = end
    raise InvalidImage(f"a JPEG of more than {MOST_PARTS} segments before its scan")


def scan_start(data: bytes) -> int:
    """Where the entropy-coded data begins: an end marker before it is a thumbnail's."""
    start = 2
    for marker, at, end in segments(data):
        start = at if marker == SCAN else end
    return start


def check_scans(data: bytes, start: int) -> None:
    """InvalidImage for more than MOST_SCANS from ``start`` on: no coded data holds their marker."""
    if data.count(b"\xff\xda", start) > MOST_SCANS:
        raise InvalidImage(f"a JPEG of more than {MOST_SCANS} scans")


def plain(data: bytes) -> Plain | None:
    """The header of a plain JPEG; None for all others, also where anything is unusual."""
    if not data.startswith(b"\xff\xd8\xff"):
        return None
    frame, scan_at = None, 0
    for marker, at, end in segments(data):
        if marker in _UNUSUAL or end > len(data):
            return None
        if marker in _FRAMES:
            if frame is not None or end < at + 10:
                return None
            frame = (marker, at, *_FRAME.unpack_from(data, at + 4))
        elif marker == SCAN and end > at + 4:
            scan_at = at
    if frame is None or not scan_at:
        return None
    marker, at, bits, height, width, components = frame
    if bits != 8 or components not in {1, 3} or not height * width:
        return None
    together = data[scan_at + 4] == components  # all colours in one scan
    early = marker in _SEQUENTIAL and together
    return Plain(width, height, scan_at, at + _HEIGHT_AT if early else None)


def decode(data: bytes, width: int, height: int, reduction: int = 1) -> Image:
    """(h, w, 3) RGB at 1/reduction of the stored width and height.

    ValueError for what is damaged, and for what libjpeg-turbo does not turn into RGB.
    """
    h, w = -(-height // reduction), -(-width // reduction)
    least = {} if reduction == 1 else {"min_height": h, "min_width": w}
    pixels: Image = simplejpeg.decode_jpeg(data, "RGB", strict=False, **least)
    return pixels


def cut(data: bytes, known: Plain, rows: int) -> tuple[bytes, int]:
    """A JPEG of no less than the topmost ``rows``, and one more: the last row's colours lack the
    neighbours that they are interpolated from. Also how many it has.
    """
    left = rows // MCU * MCU + MCU
    if known.rows_at is None or left >= known.height:
        return data, known.height
    at = known.rows_at
    return b"".join((data[:at], left.to_bytes(2, "big"), memoryview(data)[at + 2 :])), left
