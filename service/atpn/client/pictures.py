"""What a client takes for an image, to bytes for the wire and to pixels for drawing."""

import io
import os
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

Pixels: TypeAlias = NDArray[np.uint8]
#: A path, encoded bytes (JPEG, PNG, WebP, BMP), or RGB pixels: (H, W, 3), or (H, W) for grey.
Picture: TypeAlias = str | os.PathLike[str] | bytes | Pixels

T = TypeVar("T")

JPEG_QUALITY = 95

_MAGIC = [
    (b"\xff\xd8", "image/jpeg"),
    (b"\x89PNG", "image/png"),
    (b"RIFF", "image/webp"),
    (b"BM", "image/bmp"),
]


def encoded(picture: Picture, lossless: bool = False) -> bytes:
    """The bytes to send: files and bytes as they are, pixels as JPEG or, ``lossless``, PNG.

    Raises OSError for a file that cannot be read, ValueError for an array that is no image,
    TypeError for what is none of these.
    """
    if isinstance(picture, (str, os.PathLike)):
        return Path(picture).read_bytes()
    if isinstance(picture, np.ndarray):
        return _compressed(picture, lossless)
    if isinstance(picture, (bytes, bytearray, memoryview)):
        return bytes(picture)
    raise TypeError(f"an image is a path, bytes or an array, not {type(picture).__name__}")


def several(pictures: T) -> T:
    """The pictures as they are; TypeError for a single one, whose parts would be taken for images.

    A path, and what is in a file, are single however they are meant.
    """
    one = (str, os.PathLike, bytes, bytearray, memoryview)
    if isinstance(pictures, one) or (isinstance(pictures, np.ndarray) and _shaped(pictures)):
        raise TypeError(
            f"a list of images is expected, not {type(pictures).__name__}; "
            "for a video file see docs/tutorial.md: its frames are read with OpenCV"
        )
    return pictures


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
        upright = ImageOps.exif_transpose(image)
        if upright.mode.startswith("I;16"):  # Pillow cuts 16 bits off at 255
            grey = (np.asarray(upright, np.uint16) >> 8).astype(np.uint8)
            return np.stack([grey] * 3, -1)
        return np.array(upright.convert("RGB"), np.uint8)


def _shaped(array: NDArray[Any]) -> bool:
    return array.ndim == 2 or (array.ndim == 3 and array.shape[2] == 3)


def _check(image: Pixels) -> None:
    if image.dtype != np.uint8 or not _shaped(image) or not image.size:
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
