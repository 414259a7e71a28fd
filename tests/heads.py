"""A head of 98 points in millimetres, whose eyes, mouth and brows are set, seen by a camera."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from atpn.geometry import Array, rotation_from_euler

Points = NDArray[np.float64]

APART = 64.0  # between the middles of the eyes
EYE, LIPS = 30.0, 36.0  # widths of an eye and of the opening between the lips
NEAR, FAR = 600.0, 1e6  # from a webcam; from a camera that sees without perspective


@dataclass(frozen=True)
class Head:
    """What the face does. Heights in millimetres; left and right are those of the image."""

    left_eye: float = 9.0
    right_eye: float = 9.0
    lips: float = 0.0
    mouth: float = 53.0  # width
    brows: float = 18.0  # their ends, above the eyes
    gaze: float = 0.0  # pupils to the image's right, millimetres

    def seen(
        self, yaw: float = 0, pitch: float = 0, roll: float = 0, away: float = FAR
    ) -> tuple[Array, Points]:
        """(98, 2) pixels, about two a millimetre, and the rotation, for angles in degrees."""
        rotation = rotation_from_euler(*np.radians([yaw, pitch, roll]))
        space = np.array([0, 0, away]) + self.points() @ rotation.T
        pixels = 2 * away * space[:, :2] / space[:, 2:] + np.array([320, 240])
        return pixels.astype(np.float32), rotation

    def points(self) -> Points:
        """(98, 3): x to the image's right, y down, z away from the camera; between the eyes 0."""
        points = np.zeros((98, 3))
        points[:33] = arc(33, 70, 100)
        points[51:60] = np.linspace((0, 5, -10), (0, 45, -20), 9)
        points[76:88] = opening(12, self.mouth, 12 + self.lips, y=70)
        points[88:96] = opening(8, LIPS, self.lips, y=70)
        for side, brow, eye, height in ((-1, 33, 60, self.left_eye), (1, 42, 68, self.right_eye)):
            centre = np.array([side * APART / 2, 0, 0])
            # Brows stand forward of the eyes. An eye faces outward, about 11 degrees, and
            # downward, 23: the upper lid overhangs.
            raised = arc(9, 18, -4, y=-self.brows) @ rotation_from_euler(0, -0.4, 0).T
            points[brow : brow + 9] = centre + raised
            flat = np.vstack([opening(8, EYE, height), (self.gaze, 0, 0)])
            turned = flat @ rotation_from_euler(-side * 0.2, -0.4, 0).T
            points[[*range(eye, eye + 8), 96 + (side > 0)]] = centre + turned
        return points


def opening(count: int, width: float, height: float, y: float = 0) -> Points:
    """(count, 3): an outline about (0, y), clockwise from its left corner, in the plane z = 0.

    Three upper points, or more, are ``height`` above those below them.
    """
    upper = count // 2 - 1
    across = np.linspace(-width / 2, width / 2, upper + 2)
    top = np.stack([across[:-1], y + np.r_[0, np.full(upper, -height / 2)]], 1)
    bottom = np.stack([across[:0:-1], y + np.r_[0, np.full(upper, height / 2)]], 1)
    return np.pad(np.vstack([top, bottom]), ((0, 0), (0, 1)))


def arc(count: int, half: float, drop: float, y: float = 0) -> Points:
    """(count, 3): from the left to the right by way of (0, y + drop)."""
    x = np.linspace(-half, half, count)
    return np.stack([x, y + drop * (1 - (x / half) ** 2), np.zeros(count)], 1)


def crop_of(head: Head) -> Array:
    """(98, 2) of the head looking ahead, in units of a crop that it fills as tracked faces do."""
    points, _ = head.seen()
    low, high = points.min(0), points.max(0)
    units = (points - (low + high) / 2) / ((high - low).max() * 1.5) + 0.5
    return np.asarray(units, np.float32)
