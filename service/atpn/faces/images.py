"""Encoded bytes to an upright RGB array, whole or as much of it as is looked at."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

import cv2
import numpy as np

from atpn.errors import InvalidImage
from atpn.faces import jpeg, png
from atpn.faces.headers import Header, read_header
from atpn.geometry import Box, Image, crop, rows_read

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
    reduction = _reduction(header, max(1, most))
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


def _reduction(header: Header, most: float) -> int:
    """By how much to decode an image smaller.

    Where a side is no multiple of it, the last column or row stands for less than the others: it
    would be the first of an image that is turned, and all that follows would be moved.
    """
    turned = header.orientation in _TURNS
    return max(
        r
        for r in (_REDUCED if header.kind == "JPEG" else [1])
        if r <= most and not (turned and (header.width % r or header.height % r))
    )


def rows_needed(rois: Sequence[Box], reduction: int) -> int:
    """How many of a reduced image's rows, from the top, crops of these ROIs read."""
    return max(rows_read(roi.scaled(1 / reduction)) for roi in rois)


def _pixels(data: bytes, header: Header, height: int, reduction: int) -> Image | None:
    """As stored. libjpeg-turbo reads plain JPEGs, OpenCV all others and what that cannot read."""
    if header.plain is not None:
        with suppress(ValueError):
            return jpeg.decode(data, header.width, height, reduction)
    flags = _REDUCED[reduction] | cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION
    pixels = cv2.imdecode(np.frombuffer(png.bare(data), np.uint8), flags)
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
