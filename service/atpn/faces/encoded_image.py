"""An image as it came: decoded when it is first looked at, no larger than what is looked for needs.

JPEGs are decoded at 1/2, 1/4 or 1/8 where network and detector still see all their pixels, and no
further down than what is looked at.
"""

import time

from atpn.faces.detection import Detector
from atpn.faces.headers import Header, read_header
from atpn.faces.images import Decoded, decode_reduced
from atpn.faces.looking import Detect
from atpn.geometry import CROP_SIZE, Box, Image, roi_from_detection

#: An image is first searched at no less than this times the detector's longest side: faces that
#: fill a tenth of it then need no second decoding.
LEAST_SEARCHED = 2


class EncodedImage:
    """One image under way; of one thread at a time.

    ``whole`` asks for its own size, for drawing. Raises what `headers.read_header` raises; what
    decodes it, InvalidImage.
    """

    def __init__(self, data: bytes, max_pixels: int, detector: Detector, whole: bool) -> None:
        started = time.monotonic()
        self._data = data
        self._header = read_header(data, max_pixels)
        self._detector = detector
        self._whole = whole
        self._decoded: Decoded | None = None
        self._searched = False  # and not looked at since
        self.decode_s = time.monotonic() - started
        self.detect_s: list[float] = []  # of each search

    @property
    def width(self) -> int:
        """Pixels of the upright image."""
        return self._header.width

    @property
    def height(self) -> int:
        """Pixels of the upright image."""
        return self._header.height

    @property
    def pixels(self) -> Image:
        """(h, w, 3) RGB, at the size at which it was decoded; decodes it where it is not."""
        return self._decode(1).pixels

    @property
    def reduction(self) -> int:
        """How much smaller than the image the pixels are."""
        return self._decode(1).reduction

    def crops(self, rois: list[Box]) -> list[Image]:
        """What the network is to see of each ROI: (112, 112, 3)."""
        most = min(most_reduction(rois), self._side / self._detector.max_side)
        decoded = self._decode(most, rois)
        if self._searched and decoded.reduction > max(1, most_reduction(rois)):  # a small face
            self._decoded = None
            decoded = self._decode(most_reduction(rois), rois)
        self._searched = False
        return [decoded.crop(roi) for roi in rois]

    def search(self, asked: Detect) -> list[Box]:
        """The ROIs of what the detector finds, best first."""
        decoded = self._decode(self._side / (LEAST_SEARCHED * self._detector.max_side))
        started = time.monotonic()
        found = [
            roi_from_detection(detection.box.scaled(decoded.reduction))
            for detection in self._detector.search(decoded.pixels, asked.small, asked.unsure)
        ]
        self.detect_s.append(time.monotonic() - started)
        self._searched = True
        return found

    def forget(self) -> None:
        """Give the pixels back as soon as they are not needed."""
        self._decoded = None

    @property
    def _side(self) -> int:
        return max(self.width, self.height)

    def _decode(self, most: float, rois: list[Box] | None = None) -> Decoded:
        """The pixels, of ``rois`` at least; decoded by up to ``most`` smaller where there are none
        yet. What turns out to be too few rows is decoded again, whole.
        """
        before = self._decoded
        if before is not None and before.shows(rois):
            return before
        started = time.monotonic()
        if before is not None:
            most, rois = before.reduction, None
        if self._whole:
            most, rois = 1, None
        self._decoded = decoded = decode_reduced(self._data, self._header, most, rois)
        self.decode_s += time.monotonic() - started
        return decoded


class PixelImage(EncodedImage):
    """An image that came as pixels: (H, W, 3) RGB."""

    def __init__(self, pixels: Image, detector: Detector) -> None:
        height, width = pixels.shape[:2]
        self._header = Header("pixels", width, height, orientation=1)
        self._detector = detector
        self._decoded = Decoded(pixels)
        self._searched = False
        self.decode_s = 0.0
        self.detect_s = []


def most_reduction(rois: list[Box]) -> float:
    """How much smaller an image may be while each ROI still has a pixel for each of its crop's."""
    return min(min(roi.width, roi.height) for roi in rois) / CROP_SIZE
