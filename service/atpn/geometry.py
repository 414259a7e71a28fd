"""Boxes, regions of interest, crops and head rotations: pure arithmetic, no state, no I/O.

Image coordinates: pixels, origin top-left, x right, y down. Boxes are (x0, y0, x1, y1).
Rotation matrices use camera axes x right, y down, z away from the camera; identity is a head
that looks straight into the camera.
"""

import math
from dataclasses import dataclass, field, replace
from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
Image = NDArray[np.uint8]
Angles = TypeVar("Angles", float, Array)

CROP_SIZE = 112  # pixels; the network's input
# Medians over 9300 training and validation faces that YuNet finds (spread of the side: 7 %).
DETECTION_SCALE = 1.36  # ROI side / geometric mean of a detected box's sides
DETECTION_DROP = 0.125  # of the box's height, from its centre down to the ROI's
EYES, MOUTH = slice(60, 76), slice(76, 96)  # WFLW's landmark numbers
#: Landmarks to the vector from the middle of the eyes to that of the mouth.
_DOWN = np.zeros(98, np.float32)
_DOWN[MOUTH], _DOWN[EYES] = 1 / 20, -1 / 16
SPARE = 2  # pixels around a ROI that are read with it
MARGIN = 0.25  # of the landmark rectangle, added at each boundary (section 3.1)


@dataclass(frozen=True)
class Box:
    """A rectangle in image pixels, turned about its centre; may reach beyond the image."""

    x0: float
    y0: float
    x1: float
    y1: float
    angle: float = 0.0  # radians clockwise
    mirrored: bool = field(default=False, kw_only=True)  # seen as in a mirror: right is left

    @property
    def width(self) -> float:
        """Pixels."""
        return self.x1 - self.x0

    @property
    def height(self) -> float:
        """Pixels."""
        return self.y1 - self.y0

    @property
    def centre(self) -> NDArray[np.float64]:
        """(x, y)."""
        return np.array([self.x0 + self.x1, self.y0 + self.y1]) / 2

    @property
    def sides(self) -> tuple[float, float, float, float]:
        """The rectangle's two sides as vectors, the columns of a 2x2 matrix row by row."""
        sin, cos = math.sin(self.angle), math.cos(self.angle)
        width, height = -self.width if self.mirrored else self.width, self.height
        return cos * width, -sin * height, sin * width, cos * height

    @property
    def axes(self) -> NDArray[np.float64]:
        """`sides` as a 2x2 matrix."""
        return np.array(self.sides).reshape(2, 2)

    def scaled(self, factor: float) -> "Box":
        """The same rectangle of the image resized by ``factor``."""
        x0, y0, x1, y1 = (v * factor for v in (self.x0, self.y0, self.x1, self.y1))
        return Box(x0, y0, x1, y1, self.angle, mirrored=self.mirrored)

    def iou(self, other: "Box") -> float:
        """Intersection over union in [0, 1], as if neither were turned."""
        w = min(self.x1, other.x1) - max(self.x0, other.x0)
        h = min(self.y1, other.y1) - max(self.y0, other.y0)
        if w <= 0 or h <= 0:
            return 0.0
        both = w * h
        return both / (self.width * self.height + other.width * other.height - both)


def square(cx: float, cy: float, side: float) -> Box:
    """The square of that centre and side."""
    half = side / 2
    return Box(cx - half, cy - half, cx + half, cy + half)


def landmark_box(points: Array) -> Box:
    """Minimum bounding rectangle of (N, 2) points."""
    return Box(*np.minimum.reduce(points).tolist(), *np.maximum.reduce(points).tolist())


def roi_from_landmarks(points: Array) -> Box:
    """The next ROI: the landmark rectangle plus 25 % at each boundary, grown to a square.

    Section 3.1 of the paper gives the margin. The shorter side is grown to the longer one so
    that faces are not stretched on their way to the square crop.
    """
    return roi_from_landmark_box(landmark_box(points))


def roi_from_landmark_box(box: Box) -> Box:
    """`roi_from_landmarks`, where only the landmarks' bounding rectangle is known."""
    side = max(box.width, box.height) * (1 + 2 * MARGIN)
    return square((box.x0 + box.x1) / 2, (box.y0 + box.y1) / 2, side)


def squared(box: Box) -> Box:
    """The square of the box's centre and longer side."""
    cx, cy = (box.x0 + box.x1) / 2, (box.y0 + box.y1) / 2
    return square(cx, cy, max(box.width, box.height))


def roi_from_detection(box: Box) -> Box:
    """The ROI that shows a detected face as tracking would show it.

    A detector's box reaches from the forehead to the chin, the landmarks from the brows.
    """
    side = (box.width * box.height) ** 0.5 * DETECTION_SCALE
    cy = (box.y0 + box.y1) / 2 + DETECTION_DROP * box.height
    return square((box.x0 + box.x1) / 2, cy, side)


def upright_roi(points: Array) -> Box:
    """The ROI of (98, 2) landmarks, turned so that the face stands upright in it.

    As `roi_from_landmarks`, but the bounding rectangle is that of the upright face.
    """
    down_x, down_y = (_DOWN @ points).tolist()  # few calls: this runs for each face of each frame
    angle = math.atan2(-down_x, down_y)
    sin, cos = math.sin(angle), math.cos(angle)
    upright = points @ np.array([[cos, -sin], [sin, cos]], np.float32)
    left, top = np.minimum.reduce(upright).tolist()
    right, bottom = np.maximum.reduce(upright).tolist()
    x, y = (left + right) / 2, (top + bottom) / 2
    side = max(right - left, bottom - top) * (1 + 2 * MARGIN)
    return replace(square(cos * x - sin * y, sin * x + cos * y, side), angle=angle)


def crop_to_image(points: Array, roi: Box) -> Array:
    """(..., 2) from units of the crop's side to image pixels."""
    a, b, c, d = roi.sides
    corner = (roi.x0 + roi.x1 - a - b) / 2, (roi.y0 + roi.y1 - c - d) / 2
    return np.asarray(points @ np.array([[a, c], [b, d]]) + corner, np.float32)


def image_to_crop(points: Array, roi: Box) -> Array:
    """(..., 2) from image pixels to units of the crop's side; inverse of `crop_to_image`."""
    return np.asarray((points - roi.centre) @ np.linalg.inv(roi.axes).T + 0.5, np.float32)


def crop(image: Image, roi: Box, size: int = CROP_SIZE) -> Image:
    """Cut ``roi`` out of ``image`` (H, W, 3) and resize it to (size, size, 3).

    What lies outside the image is black. Large faces are averaged down (no aliasing), small
    ones interpolated. Coordinates are pixel edges: (0, 0) is the image's corner.
    """
    height, width = image.shape[:2]
    a, b, c, d = roi.sides  # plain floats: this runs for each face of each frame
    cx, cy = (roi.x0 + roi.x1) / 2, (roi.y0 + roi.y1) / 2
    # Shrink by whole factors with area averaging first: only the covered part is touched.
    reach_x, reach_y = (abs(a) + abs(b)) / 2 + SPARE, (abs(c) + abs(d)) / 2 + SPARE
    x0, y0 = max(math.floor(cx - reach_x), 0), max(math.floor(cy - reach_y), 0)
    x1, y1 = min(math.ceil(cx + reach_x), width), min(math.ceil(cy + reach_y), height)
    if x0 >= x1 or y0 >= y1:
        return np.zeros((size, size, 3), np.uint8)
    part = image[y0:y1, x0:x1]
    factor = int(min(roi.width, roi.height) / size)
    if factor >= 2:
        h, w = part.shape[0] // factor, part.shape[1] // factor
        if h == 0 or w == 0:
            return np.zeros((size, size, 3), np.uint8)
        shrunk = cv2.resize(part[: h * factor, : w * factor], (w, h), interpolation=cv2.INTER_AREA)
        part = shrunk.astype(np.uint8, copy=False)
    else:
        factor = 1
    # Pixel centres: output pixel (u, v) samples corner + sides (u + 0.5, v + 0.5) / size - 0.5.
    a, b, c, d = (side / (size * factor) for side in (a, b, c, d))
    left = (cx - (roi.sides[0] + roi.sides[1]) / 2 - x0) / factor
    top = (cy - (roi.sides[2] + roi.sides[3]) / 2 - y0) / factor
    matrix = np.array([[a, b, left + (a + b) / 2 - 0.5], [c, d, top + (c + d) / 2 - 0.5]])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(part, matrix, (size, size), flags=flags).astype(np.uint8, copy=False)


def rows_read(roi: Box) -> int:
    """How many rows of an image, from the top, `crop` reads."""
    _, _, c, d = roi.sides
    return max(0, math.ceil((roi.y0 + roi.y1) / 2 + (abs(c) + abs(d)) / 2 + SPARE))


def rotation_from_euler(yaw: float, pitch: float, roll: float) -> NDArray[np.float64]:
    """Radians to the 3x3 matrix R = Rx(-pitch) Ry(yaw) Rz(roll) (the convention of 300W-LP)."""
    sa, ca = math.sin(-pitch), math.cos(-pitch)
    sb, cb = math.sin(yaw), math.cos(yaw)
    sc, cc = math.sin(roll), math.cos(roll)
    return np.array(
        [
            [cb * cc, -cb * sc, sb],
            [sa * sb * cc + ca * sc, ca * cc - sa * sb * sc, -sa * cb],
            [sa * sc - ca * sb * cc, ca * sb * sc + sa * cc, ca * cb],
        ]
    )


def euler_from_rotation(matrix: NDArray[np.float64]) -> tuple[float, float, float]:
    """Yaw, pitch, roll in radians; inverse of `rotation_from_euler` for |yaw| < 90 degrees."""
    yaw = float(np.arcsin(np.clip(matrix[0, 2], -1, 1)))
    pitch = float(np.arctan2(matrix[1, 2], matrix[2, 2]))
    roll = float(np.arctan2(-matrix[0, 1], matrix[0, 0]))
    return yaw, pitch, roll


def wrapped(angle: Angles) -> Angles:
    """Angles in radians as the same directions between -pi and pi; scalar or array."""
    direction: Angles = np.angle(np.exp(1j * angle))
    return direction


def mirrored_pose(euler: Array) -> Array:
    """Yaw, pitch, roll (3,) of a head as its mirror image shows them."""
    return euler * np.array([-1, 1, -1], np.float32)


def turned_pose(euler: Array, angle: float) -> Array:
    """Yaw, pitch, roll (3,) seen in a crop that is turned by ``angle``, as the image shows them."""
    if angle == 0.0:
        return euler
    matrix = rotation_from_euler(0, 0, angle) @ rotation_from_euler(*(float(a) for a in euler))
    return np.array(euler_from_rotation(matrix), np.float32)
