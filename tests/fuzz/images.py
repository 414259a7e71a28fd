"""Encoded images: header, limits and decoding agree with each other, whatever the bytes are."""

import io
import struct
import zlib
from contextlib import nullcontext
from dataclasses import replace

import numpy as np
from PIL import Image as Pillow

from atpn.errors import CallersFault, InvalidImage
from atpn.faces.headers import FORMATS, Header, read_header
from atpn.faces.images import decode_reduced
from atpn.geometry import Box, square
from tests.fuzz.target import Target

MAX_PIXELS = 1 << 20
MOST = (1, 2.5, 8)  # how much smaller a JPEG may be decoded
ORIENTATION = 0x0112
PNG = b"\x89PNG\r\n\x1a\n"


def check(data: bytes) -> None:
    """What is read is within the limit and decodes to the size that its header says."""
    try:
        header = read_header(data, MAX_PIXELS)
    except CallersFault:
        return
    assert header.kind in FORMATS
    assert 0 < header.width * header.height <= MAX_PIXELS
    for most in MOST:
        decoded(data, header, most)
        decoded(data, header, most, [square(4, 2, 4)])


def decoded(data: bytes, header: Header, most: float, rois: list[Box] | None = None) -> None:
    """An array of the size that the header promised, or InvalidImage; of fewer rows where no
    others are wanted.
    """
    try:
        image = decode_reduced(data, header, most, rois)
    except InvalidImage:
        return
    if not image.whole:
        assert image.shows(rois)
        header = replace(header, height=len(image.pixels) * image.reduction)
    assert image.reduction <= most
    size = tuple(-(-side // image.reduction) for side in (header.height, header.width))
    assert image.pixels.shape == (*size, 3), f"{header} was decoded to {image.pixels.shape}"
    assert image.pixels.dtype == np.uint8


def mended(data: bytes) -> bytes:
    """A PNG with the checksums of its chunks made right; anything else as it is."""
    if not data.startswith(PNG):
        return data
    parts, at = [PNG], len(PNG)
    while at + 12 <= len(data):
        end = at + 8 + int.from_bytes(data[at : at + 4], "big")
        if end + 4 > len(data):
            break
        parts += [data[at:end], struct.pack(">I", zlib.crc32(data[at + 4 : end]))]
        at = end + 4
    return b"".join([*parts, data[at:]])


def saved(
    kind: str, mode: str = "RGB", size: tuple[int, int] = (12, 8), **options: object
) -> bytes:
    """A picture of a few pixels as Pillow writes it."""
    pixels = np.random.default_rng(5).integers(0, 256, (*size[::-1], 3), np.uint8)
    stream = io.BytesIO()
    Pillow.fromarray(pixels).convert(mode).save(stream, kind, **options)
    return stream.getvalue()


def turned() -> Pillow.Exif:
    """An EXIF block with an orientation."""
    block = Pillow.Exif()
    block[ORIENTATION] = 6
    return block


def seeds() -> list[bytes]:
    """Every format in its kinds, and what is known by its first bytes and refused."""
    jpegs = [
        saved("JPEG", quality=30),
        saved("JPEG", progressive=True),
        saved("JPEG", exif=turned()),
        saved("JPEG", mode="L"),
        saved("JPEG", mode="CMYK"),
        saved("JPEG", restart_marker_blocks=1),
        saved("JPEG", size=(20, 70)),
        saved("JPEG").partition(b"\xff\xda")[0] + b"\xff\xda\0\2",
    ]
    pngs = [saved("PNG", mode=mode) for mode in ("RGB", "RGBA", "L", "LA", "P", "1", "I;16")]
    pngs += [saved("PNG", exif=turned()), animated("PNG")]
    webps = [saved("WEBP"), saved("WEBP", lossless=True), saved("WEBP", exif=turned())]
    webps += [saved("WEBP", mode="RGBA"), animated("WEBP")]
    bmps = [saved("BMP"), saved("BMP", mode="P"), saved("BMP", mode="1")]
    others = [saved("GIF"), saved("TIFF"), b"", b"\xff\xd8\xff\xd9", PNG, b"RIFF\0\0\0\0WEBP"]
    return [*jpegs, *pngs, *webps, *bmps, *others]


def animated(kind: str) -> bytes:
    """Two pictures in one file."""
    first, second = (Pillow.new("RGB", (8, 8), colour) for colour in ("red", "blue"))
    stream = io.BytesIO()
    first.save(stream, kind, save_all=True, append_images=[second])
    return stream.getvalue()


IMAGES = Target("images", lambda: nullcontext(check), seeds, mended)
