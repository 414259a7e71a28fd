"""Draws faces on their picture: landmarks joined to contours, and the head's axes."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from atpn.geometry import Array, Image
from atpn.landmarks import CONTOURS, LEFT_PUPIL, POINTS, RIGHT_PUPIL

Colour = tuple[int, int, int]

LINE: Colour = (64, 224, 208)
POINT: Colour = (255, 255, 255)
#: Head axes as the paper's figures show them: red forward, green down, blue to the image's right.
AXES: list[tuple[tuple[float, float, float], Colour]] = [
    ((1.0, 0.0, 0.0), (40, 90, 255)),
    ((0.0, 1.0, 0.0), (40, 200, 60)),
    ((0.0, 0.0, -1.0), (255, 60, 50)),
]
STRIP = 64  # rows whose channels are swapped at a time
SUBPIXEL = 4  # fractional bits of OpenCV's drawing coordinates
NOSE_TIP = {98: 54, 68: 30, 5: 2}  # by the number of landmarks


class Drawable(Protocol):
    """What is drawn of a face: the service's own, or a `Mark` made of an answer."""

    @property
    def landmarks(self) -> Array:
        """(N, 2) in image pixels; 98 are joined to contours, others are dots."""

    @property
    def rotation(self) -> NDArray[np.float64] | None:
        """The 3x3 matrix of the head's axes; without it they are not drawn."""


@dataclass(frozen=True)
class Mark:
    """A face to draw that is known only by its answer."""

    landmarks: Array
    rotation: NDArray[np.float64] | None = None
    label: str = ""  # written above it
    notes: tuple[str, ...] = ()  # lines below it


def draw(image: Image, faces: Iterable[Drawable]) -> Image:
    """A copy of ``image`` (H, W, 3) RGB with every face drawn on it."""
    return draw_on(image.copy(), faces)


def draw_on(canvas: Image, faces: Iterable[Drawable]) -> Image:
    """``canvas`` (H, W, 3) RGB with every face drawn on it."""
    for face in faces:
        _draw_landmarks(canvas, face.landmarks)
        if face.rotation is not None:
            _draw_axes(canvas, face.landmarks, face.rotation)
        if isinstance(face, Mark):
            _draw_words(canvas, face)
    return canvas


def rendered(image: Image, faces: Iterable[Drawable], kind: str) -> bytes:
    """The picture with its faces, encoded as ``image/jpeg`` or ``image/png``.

    ``image`` is drawn on and its channels are swapped: a large one is not in memory three times.
    """
    canvas = draw_on(image, faces)
    for first in range(0, len(canvas), STRIP):
        strip = canvas[first : first + STRIP]
        strip[:] = cv2.cvtColor(strip, cv2.COLOR_RGB2BGR)
    ok, data = cv2.imencode("." + kind.removeprefix("image/"), canvas)
    if not ok:
        raise RuntimeError(f"the picture could not be encoded as {kind}")
    return data.tobytes()


def _thickness(points: Array) -> int:
    """Lines of a large face are thicker."""
    return int(np.clip(np.ptp(points, axis=0).max() / 180, 1, 20))


def _fixed(points: Array) -> np.ndarray[tuple[int, ...], np.dtype[np.int32]]:
    limited = np.clip(points, -30000, 30000)  # far outside any image, still within 32 bits
    return (limited * (1 << SUBPIXEL)).round().astype(np.int32)


def _draw_landmarks(canvas: Image, points: Array) -> None:
    width, size = _thickness(points), min(float(np.ptp(points, axis=0).max()), 4000.0)
    joined = len(points) == POINTS
    for first, last, closed in CONTOURS.values() if joined else ():
        line = _fixed(points[first:last])
        cv2.polylines(canvas, [line], closed, LINE, width, cv2.LINE_AA, SUBPIXEL)
    radius = round(size / 160 * (1 << SUBPIXEL))  # less than a third of the points' distance
    for point in _fixed(points):
        cv2.circle(canvas, point.tolist(), radius, POINT, -1, cv2.LINE_AA, SUBPIXEL)
    for pupil in _fixed(points[[LEFT_PUPIL, RIGHT_PUPIL]]) if joined else ():
        cv2.circle(canvas, pupil.tolist(), 2 * radius, LINE, -1, cv2.LINE_AA, SUBPIXEL)


def _draw_axes(canvas: Image, points: Array, rotation: NDArray[np.float64]) -> None:
    """Three axes of equal length in space, from the nose tip, seen without perspective."""
    nose = NOSE_TIP.get(len(points))
    origin = points.mean(0) if nose is None else points[nose]
    length = 0.5 * float(np.ptp(points, axis=0).max())
    width = 2 * _thickness(points)
    axes = [(rotation @ np.array(axis), colour) for axis, colour in AXES]
    for direction, colour in sorted(axes, key=lambda pair: -pair[0][2]):  # nearest last
        end = origin + length * direction[:2].astype(np.float32)
        a, b = _fixed(np.stack([origin, end]))
        cv2.line(canvas, a.tolist(), b.tolist(), colour, width, cv2.LINE_AA, SUBPIXEL)


def _draw_words(canvas: Image, mark: Mark) -> None:
    """The label above the face's left edge, the notes below it."""
    points = np.clip(mark.landmarks, -10000, 10000)
    scale = max(0.4, 0.5 * _thickness(points))
    line = round(32 * scale)
    (left, top), bottom = points.min(0).astype(int).tolist(), int(points[:, 1].max())
    _write(canvas, mark.label, (left, max(top - 8, line)), scale)
    above = min(bottom + 8, canvas.shape[0] - 8 - line * len(mark.notes))  # all stay inside
    for number, note in enumerate(mark.notes, 1):
        _write(canvas, note, (left, above + number * line), scale)


def _write(canvas: Image, text: str, at: tuple[int, int], scale: float) -> None:
    """Black behind, so that it reads on any picture."""
    for colour, width in [((0, 0, 0), 4), (LINE, 1)]:
        stroke = max(1, round(width * scale))
        cv2.putText(canvas, text, at, cv2.FONT_HERSHEY_SIMPLEX, scale, colour, stroke, cv2.LINE_AA)
