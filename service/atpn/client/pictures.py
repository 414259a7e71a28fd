"""What a client takes for an image, to bytes for the wire and to pixels for drawing."""

import io
import os
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Pixels: TypeAlias = NDArray[np.uint8]
#: A path, encoded bytes (JPEG, PNG, WebP, BMP), or RGB pixels: (H, W, 3), or (H, W) for grey.
Picture: TypeAlias = str | os.PathLike[str] | bytes | Pixels

JPEG_QUALITY = 95

_MAGIC = [
    (b"\xff\xd8", "image/jpeg"),
    (b"\x89PNG", "image/png"),
    (b"RIFF", "image/webp"),
    (b"BM", "image/bmp"),
]


def encoded(picture: Picture, lossless: bool = False) -> bytes:
    """The bytes to send: files and bytes as they are, pixels as JPEG or, ``lossless``, PNG.

    Raises OSError for a file that cannot be read, ValueError for an array that is no image.
    """
    if isinstance(picture, (str, os.PathLike)):
        return Path(picture).read_bytes()
    if isinstance(picture, np.ndarray):
        return _compressed(picture, lossless)
    return bytes(picture)


def media_type(data: bytes) -> str:
    """The content type of encoded bytes, by their first ones."""
    known = (kind for magic, kind in _MAGIC if data.startswith(magic))
    return next(known, "application/octet-stream")


def pixels(picture: Picture) -> Pixels:
    """(H, W, 3) RGB, turned upright by the EXIF tag as the service does."""
    if isinstance(picture, np.ndarray):
        _check(picture)
        return np.stack([picture] * 3, -1) if picture.ndim == 2 else picture
    from PIL import Image, ImageOps  # noqa: PLC0415 - only arrays and drawing need it

    with Image.open(io.BytesIO(encoded(picture))) as image:
        return np.array(ImageOps.exif_transpose(image).convert("RGB"), np.uint8)


def _check(image: Pixels) -> None:
    shaped = image.ndim == 2 or (image.ndim == 3 and image.shape[2] == 3)
    if image.dtype != np.uint8 or not shaped or not image.size:
        raise ValueError(
            f"an image is a (H, W, 3) or (H, W) array of uint8, not {image.shape} of {image.dtype}"
        )


def _compressed(image: Pixels, lossless: bool) -> bytes:
    _check(image)
    from PIL import Image  # noqa: PLC0415

    out = io.BytesIO()
    picture = Image.fromarray(np.ascontiguousarray(image))
    if lossless:
        picture.save(out, "PNG", compress_level=1)
    else:
        picture.save(out, "JPEG", quality=JPEG_QUALITY, subsampling=0)
    return out.getvalue()
