"""Encoded bytes to an RGB array, with limits that are checked before anything is decoded."""

import io
import struct
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice

import cv2
import numpy as np
from PIL import Image as Pillow
from PIL import UnidentifiedImageError

from atpn.errors import AtpnError, InvalidImage, TooManyPixels, UnsupportedMediaType
from atpn.geometry import Box, Image, crop

#: Formats that are read, by Pillow's name -> media type.
FORMATS = {"JPEG": "image/jpeg", "PNG": "image/png", "WEBP": "image/webp", "BMP": "image/bmp"}
ORIENTATION = 0x0112  # the EXIF tag

#: Formats that are known by what stands at an offset of the file, and not read.
_OTHERS = [
    (0, b"GIF8", "GIF"),
    (0, b"II*\0", "TIFF"),
    (0, b"MM\0*", "TIFF"),
    (4, b"ftypavif", "AVIF"),
    (4, b"ftypheic", "HEIC"),
    (4, b"ftypmif1", "HEIF"),
]

#: What Pillow raises for damaged headers.
_DAMAGED = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    LookupError,
    ArithmeticError,
    EOFError,
    struct.error,
)

#: Segments and fill bytes of a JPEG, chunks of a PNG: an image that has more is meant to cost time.
MOST_PARTS = 1 << 14
_MOST_READS = 4 * MOST_PARTS  # of Pillow, which reads a part in up to four pieces

# The pixel limit is ours and is checked on the header; Pillow never decodes here.
Pillow.MAX_IMAGE_PIXELS = None

#: EXIF orientation -> (transpose first, flip rows, flip columns).
_TURNS = {
    2: (False, False, True),
    3: (False, True, True),
    4: (False, True, False),
    5: (True, False, False),
    6: (True, False, True),
    7: (True, True, True),
    8: (True, True, False),
}


#: JPEG's decoder can leave out the finer frequencies: a fraction of the size in less time.
#: The flags named GRAYSCALE are the bare fractions; RGB is added to all of them.
_REDUCED = {
    1: 0,
    2: cv2.IMREAD_REDUCED_GRAYSCALE_2,
    4: cv2.IMREAD_REDUCED_GRAYSCALE_4,
    8: cv2.IMREAD_REDUCED_GRAYSCALE_8,
}


#: Markers of a JPEG: start of scan; frames of Huffman-coded samples; what only Pillow reads
#: (EXIF, several pictures in one file, Adobe's colour transforms, restart and end markers here).
_SCAN = 0xDA
_FRAMES = {0xC0, 0xC1, 0xC2}
_UNUSUAL = {0xE1, 0xE2, 0xEE, *range(0xC3, 0xE0)} - {0xC4, 0xDA, 0xDB, 0xDD}
_PLAIN_FRAME = struct.Struct(">BHHB")  # bits a sample, height, width, components


class _Metered(io.BytesIO):
    """A file that is damaged for who reads it in too many pieces."""

    reads = 0

    def read(self, size: int | None = -1, /) -> bytes:
        """As of any file; OSError beyond _MOST_READS."""
        self.reads += 1
        if self.reads > _MOST_READS:
            raise OSError(f"more than {_MOST_READS} pieces")
        return super().read(size)


@dataclass(frozen=True)
class Header:
    """What an image says of itself; width and height are those of the upright image."""

    kind: str  # by Pillow's name
    width: int
    height: int
    orientation: int  # EXIF, 1 to 8


@dataclass(frozen=True)
class Decoded:
    """An image, upright by its EXIF tag, decoded at its own size or a fraction of it."""

    pixels: Image  # (h, w, 3) RGB; each stands for reduction x reduction of the image's
    reduction: int = 1

    def crop(self, roi: Box) -> Image:
        """What the network sees of ``roi`` (pixels of the image itself): (112, 112, 3)."""
        return crop(self.pixels, roi.scaled(1 / self.reduction))


def decode(data: bytes, max_pixels: int) -> Image:
    """Decode JPEG, PNG, WebP or BMP to (H, W, 3) RGB uint8, turned upright by its EXIF tag.

    Raises InvalidImage for what is empty, damaged or truncated, UnsupportedMediaType for
    another format, TooManyPixels if the header says more than ``max_pixels``.
    """
    return decode_reduced(data, read_header(data, max_pixels), 1).pixels


def decode_reduced(data: bytes, header: Header, most: float) -> Decoded:
    """Decode what `read_header` has seen; a JPEG at 1/2, 1/4 or 1/8 where ``most`` allows it.

    InvalidImage for what is damaged.
    """
    most = max(1, most)
    reduction = max(r for r in _REDUCED if r <= most) if header.kind == "JPEG" else 1
    flags = _REDUCED[reduction] | cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error as error:
        raise InvalidImage("the image data cannot be decoded") from error
    if pixels is None:
        raise InvalidImage("the image data cannot be decoded: damaged or truncated")
    return Decoded(upright(pixels.astype(np.uint8, copy=False), header.orientation), reduction)


def upright(image: Image, orientation: int) -> Image:
    """Undo an EXIF orientation (1 to 8); others leave the image as it is."""
    if orientation not in _TURNS:
        return image
    transpose, rows, columns = _TURNS[orientation]
    if transpose:
        image = image.transpose(1, 0, 2)
    if rows:
        image = image[::-1]
    if columns:
        image = image[:, ::-1]
    return np.ascontiguousarray(image)


def read_header(data: bytes, max_pixels: int) -> Header:
    """What the header says; raises as `decode` does, by the header and the file's end alone."""
    if not data:
        raise InvalidImage("the image is empty")
    header = _plain_jpeg(data) or _header_by_pillow(data)
    width, height = header.width, header.height
    if width * height > max_pixels:
        raise TooManyPixels(f"{width}x{height} is more than the limit of {max_pixels} pixels")
    if not _complete(data, header.kind):
        raise InvalidImage(f"truncated {header.kind}: {len(data)} bytes end before the image does")
    if _TURNS.get(header.orientation, (False,))[0]:
        return replace(header, width=height, height=width)
    return header


def _plain_jpeg(data: bytes) -> Header | None:
    """The header of a JPEG of the plainest kind: 8 bits, grey or YCbCr, no EXIF block.

    None for all others, also where anything is unusual: Pillow then looks closely. It takes ten
    times as long, and most frames of streams are of this kind.
    """
    if not data.startswith(b"\xff\xd8\xff"):
        return None
    size = None
    for marker, at, end in _jpeg_segments(data):
        if marker in _UNUSUAL or end > len(data):
            return None
        if marker in _FRAMES:
            if size is not None or end < at + 10:
                return None
            size = _PLAIN_FRAME.unpack_from(data, at + 4)
    if size is None or size[0] != 8 or size[3] not in {1, 3} or not size[1] * size[2]:
        return None
    return Header("JPEG", width=size[2], height=size[1], orientation=1)


def _header_by_pillow(data: bytes) -> Header:
    try:
        # Only the formats that are read: Pillow knows dozens more, and their parsers stay idle.
        with Pillow.open(_Metered(data), formats=tuple(FORMATS)) as header:
            kind, (width, height) = header.format or "?", header.size
            orientation = _orientation(header, data)
    except UnidentifiedImageError:
        raise _unreadable(data) from None
    except _DAMAGED as error:
        raise InvalidImage(f"damaged image header: {error}") from error
    if kind == "MPO":  # a JPEG with further pictures behind it
        kind = "JPEG"
    return Header(kind, width, height, orientation)


def _orientation(header: Pillow.Image, data: bytes) -> int:
    """The EXIF orientation; 1 where there is none or the EXIF block is damaged."""
    if header.format == "PNG":
        found = ((start, end) for name, start, end in _png_chunks(data) if name == b"eXIf")
        for start, end in islice(found, 1):
            header.info["exif"] = data[start:end]
    try:
        # The base class's method: that of PNG would decode the picture to look behind it.
        return int(Pillow.Image.getexif(header).get(ORIENTATION, 1) or 1)
    except _DAMAGED:
        return 1


def _png_chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Name, start and end of the content of each chunk of a PNG; InvalidImage beyond MOST_PARTS."""
    at = 8
    for _ in range(MOST_PARTS):
        if at + 8 > len(data):
            return
        start = at + 8
        end = start + int.from_bytes(data[at : at + 4], "big")
        yield data[at + 4 : start], start, end
        at = end + 4
    raise InvalidImage(f"a PNG of more than {MOST_PARTS} chunks")


def _complete(data: bytes, kind: str) -> bool:
    """Whether the end of the image is there; decoders fill what is missing with grey."""
    if kind == "JPEG":
        return data.rfind(b"\xff\xd9", _scan_start(data)) >= 0
    if kind == "PNG":
        return _png_complete(data)
    if kind == "BMP":
        return len(data) >= int.from_bytes(data[2:6], "little")
    return len(data) >= 8 + int.from_bytes(data[4:8], "little")  # RIFF


def _png_complete(data: bytes) -> bool:
    """Whether every chunk up to the last is whole: OpenCV believes the lengths, and takes as much
    memory as they say.
    """
    for name, _, end in _png_chunks(data):
        if end + 4 > len(data):
            return False
        if name == b"IEND":
            return True
    return False


def _jpeg_segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Marker, start and end of each segment before a JPEG's entropy-coded data, the last of which
    is its start of scan. InvalidImage beyond MOST_PARTS.
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
        if marker == _SCAN:
            return
        at = end
    raise InvalidImage(f"a JPEG of more than {MOST_PARTS} segments before its scan")


def _scan_start(data: bytes) -> int:
    """Where a JPEG's entropy-coded data begins: an end marker before it is a thumbnail's."""
    start = 2
    for marker, at, end in _jpeg_segments(data):
        start = at if marker == _SCAN else end
    return start


def _unreadable(data: bytes) -> AtpnError:
    """The error for bytes that are in none of the formats, with what they seem to be."""
    known = ", ".join(FORMATS.values())
    for offset, magic, name in _OTHERS:
        if data.startswith(magic, offset):
            return UnsupportedMediaType(f"{name} images are not read; use {known}")
    seen = f"{len(data)} bytes that begin with {data[:8].hex(' ')}"
    return InvalidImage(f"not an image that is read ({known}): {seen}")
