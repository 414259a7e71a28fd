"""What an encoded image says of itself: its limits are checked before anything is decoded."""

import io
import struct
from dataclasses import dataclass, replace

from PIL import Image as Pillow
from PIL import UnidentifiedImageError

from atpn.errors import AtpnError, InvalidImage, TooManyPixels, UnsupportedMediaType
from atpn.faces import jpeg, png
from atpn.faces.jpeg import MOST_PARTS

LYING = (5, 6, 7, 8)  # EXIF orientations of images that are stored on their side
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
    if header.orientation in LYING:
        return replace(header, width=height, height=width)
    return header


def _header_of_plain(data: bytes) -> Header | None:
    """Of the plainest JPEGs: Pillow takes ten times as long, and most frames are of this kind."""
    known = jpeg.plain(data)
    return None if known is None else Header("JPEG", known.width, known.height, plain=known)


def _header_by_pillow(data: bytes) -> Header:
    try:
        # Only the formats that are read: Pillow knows dozens more, and their parsers stay idle.
        with Pillow.open(_Metered(png.bare(data)), formats=tuple(FORMATS)) as header:
            kind, (width, height) = header.format or "?", header.size
            orientation = _orientation(header, data)
    except UnidentifiedImageError:
        raise _unreadable(data) from None
    except Pillow.DecompressionBombError as error:  # of a process that has kept Pillow's own limit
        raise TooManyPixels(str(error)) from error
    except _DAMAGED as error:
        raise InvalidImage(f"damaged image header: {error}") from error
    if kind == "MPO":  # a JPEG with further pictures behind it
        kind = "JPEG"
    return Header(kind, width, height, orientation)


def _orientation(header: Pillow.Image, data: bytes) -> int:
    """The EXIF orientation; 1 where there is none or the EXIF block is damaged."""
    if header.format == "PNG":
        found = next((chunk for chunk in png.chunks(data) if chunk[0] == b"eXIf"), None)
        if found is not None:
            header.info["exif"] = data[found[1] : found[2]]
    try:
        # The base class's method: that of PNG would decode the picture to look behind it.
        return int(Pillow.Image.getexif(header).get(ORIENTATION, 1) or 1)
    except _DAMAGED:
        return 1


def _complete(data: bytes, header: Header) -> bool:
    """Whether the end of the image is there; decoders fill what is missing with grey."""
    if header.kind == "JPEG":
        start = header.plain.scan_at if header.plain else jpeg.scan_start(data)
        if header.plain is None or header.plain.rows_at is None:
            jpeg.check_scans(data, start)
        return data.rfind(b"\xff\xd9", start) >= 0
    if header.kind == "PNG":
        return png.complete(data)
    if header.kind == "BMP":
        return len(data) >= int.from_bytes(data[2:6], "little")
    return len(data) >= 8 + int.from_bytes(data[4:8], "little")  # RIFF


def _unreadable(data: bytes) -> AtpnError:
    """The error for bytes that are in none of the formats, with what they seem to be."""
    known = ", ".join(FORMATS.values())
    for offset, magic, name in _OTHERS:
        if data.startswith(magic, offset):
            return UnsupportedMediaType(f"{name} images are not read; use {known}")
    seen = f"{len(data)} bytes that begin with {data[:8].hex(' ')}"
    return InvalidImage(f"not an image that is read ({known}): {seen}")
