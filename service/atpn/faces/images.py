"""Encoded bytes to an RGB array, with limits that are checked before anything is decoded."""

import io
import struct
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import islice

import cv2
import numpy as np
from PIL import Image as Pillow
from PIL import UnidentifiedImageError

from atpn.errors import AtpnError, InvalidImage, TooManyPixels, UnsupportedMediaType
from atpn.faces import jpeg
from atpn.faces.jpeg import MOST_PARTS
from atpn.geometry import Box, Image, crop, rows_read

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
    orientation: int = 1  # EXIF, 1 to 8
    plain: jpeg.Plain | None = None  # where it is one of the plainest kind


@dataclass(frozen=True)
class Decoded:
    """An image, upright by its EXIF tag, decoded at its own size or a fraction of it."""

    pixels: Image  # (h, w, 3) RGB; each stands for reduction x reduction of the image's
    reduction: int = 1
    whole: bool = True  # and not the topmost rows alone

    def shows(self, rois: Sequence[Box] | None) -> bool:
        """Whether these can be cut out as from the whole image (None: anything)."""
        if self.whole or rois is None:
            return self.whole
        return rows_needed(rois, self.reduction) < len(self.pixels)

    def crop(self, roi: Box) -> Image:
        """What the network sees of ``roi`` (pixels of the image itself): (112, 112, 3)."""
        return crop(self.pixels, roi.scaled(1 / self.reduction))


def decode(data: bytes, max_pixels: int) -> Image:
    """Decode JPEG, PNG, WebP or BMP to (H, W, 3) RGB uint8, turned upright by its EXIF tag.

    Raises InvalidImage for what is empty, damaged or truncated, UnsupportedMediaType for
    another format, TooManyPixels if the header says more than ``max_pixels``.
    """
    return decode_reduced(data, read_header(data, max_pixels), 1).pixels


def decode_reduced(
    data: bytes, header: Header, most: float, rois: Sequence[Box] | None = None
) -> Decoded:
    """Decode what `read_header` has seen; a JPEG at 1/2, 1/4 or 1/8 where ``most`` allows it, and
    no further down than the lowest of ``rois`` (image pixels) where those are all that is wanted.

    InvalidImage for what is damaged.
    """
    most = max(1, most)
    reduction = max(r for r in _REDUCED if r <= most) if header.kind == "JPEG" else 1
    height, known = header.height, header.plain
    if known is not None and rois is not None:
        data, height = jpeg.cut(data, known, rows_needed(rois, reduction) * reduction)
    try:
        pixels = _pixels(data, header, height, reduction)
    except cv2.error as error:
        raise InvalidImage("the image data cannot be decoded") from error
    if pixels is None:
        raise InvalidImage("the image data cannot be decoded: damaged or truncated")
    return Decoded(upright(pixels, header.orientation), reduction, height == header.height)


def rows_needed(rois: Sequence[Box], reduction: int) -> int:
    """How many of a reduced image's rows, from the top, crops of these ROIs read."""
    return max(rows_read(roi.scaled(1 / reduction)) for roi in rois)


def _pixels(data: bytes, header: Header, height: int, reduction: int) -> Image | None:
    """As stored. libjpeg-turbo reads plain JPEGs, OpenCV all others and what that cannot read."""
    if header.plain is not None:
        with suppress(ValueError):
            return jpeg.decode(data, header.width, height, reduction)
    flags = _REDUCED[reduction] | cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    return None if pixels is None else pixels.astype(np.uint8, copy=False)


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
    header = _header_of_plain(data) or _header_by_pillow(data)
    width, height = header.width, header.height
    if width * height > max_pixels:
        raise TooManyPixels(f"{width}x{height} is more than the limit of {max_pixels} pixels")
    if not _complete(data, header):
        raise InvalidImage(f"truncated {header.kind}: {len(data)} bytes end before the image does")
    if _TURNS.get(header.orientation, (False,))[0]:
        return replace(header, width=height, height=width)
    return header


def _header_of_plain(data: bytes) -> Header | None:
    """Of the plainest JPEGs: Pillow takes ten times as long, and most frames are of this kind."""
    known = jpeg.plain(data)
    return None if known is None else Header("JPEG", known.width, known.height, plain=known)


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


def _complete(data: bytes, header: Header) -> bool:
    """Whether the end of the image is there; decoders fill what is missing with grey."""
    if header.kind == "JPEG":
        start = header.plain.scan_at if header.plain else jpeg.scan_start(data)
        return data.rfind(b"\xff\xd9", start) >= 0
    if header.kind == "PNG":
        return _png_complete(data)
    if header.kind == "BMP":
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


def _unreadable(data: bytes) -> AtpnError:
    """The error for bytes that are in none of the formats, with what they seem to be."""
    known = ", ".join(FORMATS.values())
    for offset, magic, name in _OTHERS:
        if data.startswith(magic, offset):
            return UnsupportedMediaType(f"{name} images are not read; use {known}")
    seen = f"{len(data)} bytes that begin with {data[:8].hex(' ')}"
    return InvalidImage(f"not an image that is read ({known}): {seen}")
