"""What a face does: how open its eyes and mouth are, its smile, its brows, where it looks.

Ratios of distances between the 98 landmarks, measured as if the face looked into the camera, and
compared with what they are on a face at rest. Pure arithmetic on one face; `person` learns over a
stream what a person's own face at rest is.

The ratio of an eye is the eye aspect ratio of Soukupova and Cech, "Real-Time Eye Blink Detection
using Facial Landmarks" (CVWW 2016), with WFLW's three pairs of lid points in place of two; that of
the mouth is the same of the inner lips. Smile and brows follow the units of Ekman and Friesen's
Facial Action Coding System (1978): AU 12 draws the corners of the mouth apart, AU 1 and 2 lift the
brows.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from atpn.geometry import Array, rotation_from_euler

Matrix = NDArray[np.float64]
Points = list[list[float]]  # few: plain numbers are faster than arrays

#: How the plane in which an eye opens lies in the head, in radians: it faces outward, and downward,
#: for the upper lid stands forward. Of 0 to 0.5 those under which the ratio of a person's open eyes
#: changes least with the head's yaw and pitch (`atpn_training.score.signals`).
OUTWARD, DOWNWARD = 0.2, 0.4
LEFT_EYE = rotation_from_euler(OUTWARD, -DOWNWARD, 0)
RIGHT_EYE = rotation_from_euler(-OUTWARD, -DOWNWARD, 0)
BROWS = rotation_from_euler(0, -DOWNWARD, 0)
#: Cosine of the angle between a plane's normal and the camera's axis below which what lies in the
#: plane is turned away: nothing is said of it.
AWAY = 0.5
#: Points in the order in which they are measured: an eye's outline and pupil; the eyes' corners and
#: then the brows, or the corners of the mouth and the inner lips.
LEFT_POINTS, RIGHT_POINTS = np.array([*range(60, 68), 96]), np.array([*range(68, 76), 97])
BROW_POINTS = np.array([60, 64, 68, 72, *range(33, 51)])
MOUTH_POINTS = np.array([60, 64, 68, 72, 76, 82, *range(88, 96)])
LEAST = 1e-9  # of a distance that is divided by, for points may fall together
PUPIL_SEEN = 0.3  # openness of an eye below which its pupil is covered
MOUTH_SPAN, BROW_SPAN = 0.2, 0.12  # from a face at rest to a broad smile, to brows lifted high


@dataclass(frozen=True)
class Rest:
    """The ratios of a face at rest, and of its closed eyes; of the average face unless given.

    What the served network measures on people who look into the camera: medians of the validation
    photographs' eyes and brows, the lower quartile of their mouths (most of them smile), and the
    median of eyes that are closed in a blink (`atpn_training.score.signals` and ``.blinks``).
    """

    open_eye: float = 0.3
    closed_eye: float = 0.13
    mouth_width: float = 0.82
    brows: float = 0.32


AVERAGE = Rest()


@dataclass(frozen=True)
class Ratios:
    """What was measured on one face; None: turned away."""

    left_eye: float | None  # height over width of the opening between the lids
    right_eye: float | None
    left_pupil: tuple[float, float] | None  # see `Eye`
    right_pupil: tuple[float, float] | None
    mouth: float | None  # height over width of the opening between the lips
    mouth_width: float | None  # over the distance between the eyes
    brows: float | None  # height above the eyes over the distance between the eyes


@dataclass(frozen=True)
class Eye:
    """One eye: ``left`` and ``right`` are those of the image."""

    open: float | None  # 0 closed, 1 open; None: turned away
    #: (x, y) of the pupil from the middle between the eye's corners, in halves of its width: x from
    #: the left corner (-1) to the right one (1), y downward. None: turned away or covered.
    pupil: tuple[float, float] | None


@dataclass(frozen=True)
class Signals:
    """What a face does, each from 0 to 1; None: turned away."""

    left_eye: Eye
    right_eye: Eye
    mouth_open: float | None  # 0 closed; 1: as high as it is wide, or higher
    smile: float | None
    brow_raise: float | None


def signals_of(ratios: Ratios, rest: Rest) -> Signals:
    """The ratios beside those of a face at rest."""
    mouth, width, brows = ratios.mouth, ratios.mouth_width, ratios.brows
    return Signals(
        left_eye=_eye(ratios.left_eye, ratios.left_pupil, rest),
        right_eye=_eye(ratios.right_eye, ratios.right_pupil, rest),
        mouth_open=None if mouth is None else _unit(mouth),
        smile=None if width is None else _unit((width - rest.mouth_width) / MOUTH_SPAN),
        brow_raise=None if brows is None else _unit((brows - rest.brows) / BROW_SPAN),
    )


def openness(ratio: float, rest: Rest) -> float:
    """0 to 1 for an eye's ratio, from closed to open."""
    return _unit((ratio - rest.closed_eye) / (rest.open_eye - rest.closed_eye))


def measured(landmarks: Array, rotation: Matrix) -> Ratios:
    """The ratios of (98, 2) landmarks in pixels of a head turned by ``rotation`` (3, 3)."""
    left = _facing(landmarks[LEFT_POINTS], rotation @ LEFT_EYE)
    right = _facing(landmarks[RIGHT_POINTS], rotation @ RIGHT_EYE)
    brows = _facing(landmarks[BROW_POINTS], rotation @ BROWS)
    mouth = _facing(landmarks[MOUTH_POINTS], rotation)
    return Ratios(
        left_eye=None if left is None else _opening(left),
        right_eye=None if right is None else _opening(right),
        left_pupil=None if left is None else _pupil(left),
        right_pupil=None if right is None else _pupil(right),
        mouth=None if mouth is None else _opening(mouth[6:]),
        mouth_width=None if mouth is None else _distance(mouth[4], mouth[5]) / _apart(mouth),
        brows=None if brows is None else _brow_height(brows) / _apart(brows),
    )


def _facing(points: Array, plane: Matrix) -> Points | None:
    """Image points of a plane as they would be if it faced the camera; None if it is turned away.

    Without perspective the image shows the plane's x and y axes as the first two columns of its
    rotation: their inverse undoes the foreshortening, and roll.
    """
    (a, b, _), (c, d, _), (_, _, facing) = plane.tolist()
    if facing < AWAY:  # the determinant of those columns' upper halves, too
        return None
    undone = np.array([[d, -c], [-b, a]]) / facing
    return (points @ undone).tolist()  # type: ignore[no-any-return]


def _opening(outline: Points) -> float:
    """Mean height over width of eight points: clockwise from the left corner."""
    heights = [_distance(outline[above], outline[8 - above]) for above in (1, 2, 3)]
    return sum(heights) / 3 / max(_distance(outline[0], outline[4]), LEAST)


def _pupil(eye: Points) -> tuple[float, float]:
    """See `Eye`; of an eye's eight points and its pupil."""
    left, right, pupil = eye[0], eye[4], eye[8]
    ax, ay = (right[0] - left[0]) / 2, (right[1] - left[1]) / 2
    x, y = pupil[0] - left[0] - ax, pupil[1] - left[1] - ay
    size = max(ax * ax + ay * ay, LEAST * LEAST)
    return (x * ax + y * ay) / size, (y * ax - x * ay) / size


def _brow_height(points: Points) -> float:
    """How far the brows are above the eyes' corners, the first four points."""
    heights = [y for _, y in points]
    return sum(heights[:4]) / 4 - sum(heights[4:]) / (len(heights) - 4)


def _apart(points: Points) -> float:
    """Between the middles of the eyes, whose corners are the first four points."""
    (ax, ay), (bx, by), (cx, cy), (dx, dy) = points[:4]
    return max(_distance((ax + bx, ay + by), (cx + dx, cy + dy)) / 2, LEAST)


def _distance(a: Sequence[float], b: Sequence[float]) -> float:
    return math.hypot(a[0] - b[0], a[1] - b[1])


def _eye(ratio: float | None, pupil: tuple[float, float] | None, rest: Rest) -> Eye:
    if ratio is None:
        return Eye(None, None)
    opened = openness(ratio, rest)
    return Eye(opened, pupil if opened >= PUPIL_SEEN else None)


def _unit(value: float) -> float:
    return min(1.0, max(0.0, value))
