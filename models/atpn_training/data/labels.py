"""Target landmarks and angles, made of what hands, teachers and the network said."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from atpn.landmarks import EXACT_68
from atpn_training.data.images import Array

#: A label is doubtful where the teacher's passes differ by more than this share of the face's side.
DOUBTFUL = 0.03
#: Whose 68-point labels are hand-made, and so replace the teacher's points.
HAND_68 = ("lfpw", "infanface")
#: Whose 98 points are WFLW's own.
HAND_98 = ("wflw30",)
MASKED = ("facemask", "facemask_b")  # a mesh is a guess there
#: How far right of the teacher's points the faces' own lie, in pixels of a 192 px crop: WFLW's
#: hand labels are 0.42 from them (300 crops), and a network trained with mirror images, which
#: cannot learn it, 0.39 to 0.58 in every source when its answers to both images are averaged.
TEACHER_ASIDE = 0.43


@dataclass(frozen=True)
class _Upright:
    """A frame for each face in which it stands upright: origin between the eyes, and the line
    from there to the middle of the mouth is the imaginary unit. Also sound in profile.
    """

    origin: NDArray[np.complex64]  # (N, 1)
    unit: NDArray[np.complex64]  # (N, 1)

    @classmethod
    def of(cls, hand68: Array) -> "_Upright":
        """The frames of (N, 68, 2) points."""
        flat = _complex(hand68)
        eyes, mouth = flat[:, 36:48].mean(1, keepdims=True), flat[:, 48:].mean(1, keepdims=True)
        return cls(eyes, (mouth - eyes) / 1j)

    def into(self, points: Array) -> Array:
        """Image coordinates to the frame's."""
        return _real((_complex(points) - self.origin) / self.unit)

    def back(self, points: Array) -> Array:
        """The frame's coordinates to the image's."""
        return _real(_complex(points) * self.unit + self.origin)


def _complex(points: Array) -> NDArray[np.complex64]:
    return np.asarray(points[..., 0] + 1j * points[..., 1], np.complex64)


def _real(points: NDArray[np.complex64]) -> Array:
    return np.stack([points.real, points.imag], -1)


#: The teacher and hand labels are that far apart (in distances from eyes to mouth) where one of
#: them has not found the face: beyond the first the teacher, beyond the second the hand, too.
TEACHER_LOST, BOTH_LOST = 0.12, 0.75


def hand_targets(teacher: Array, hand68: Array) -> tuple[Array, NDArray[np.bool_]]:
    """98 targets (N, 98, 2) of faces with hand-made 68 points, and which can be used (N,).

    300W's and WFLW's schemes place several points differently although they map by name: on
    the lips by 5 to 8 % of the inter-ocular distance. So the hand's points are first moved by
    the median of their difference from the teacher, in the face's upright frame. Where the
    teacher has missed the face (rolled infants), all 98 points are regressed from the 68.
    """
    frame = _Upright.of(hand68)
    ours, theirs = frame.into(teacher), frame.into(hand68)
    inner = [(i68, i98) for i68, i98 in EXACT_68 if i68 >= 17]  # contour: other rules
    from68, to98 = (list(column) for column in zip(*inner, strict=True))
    share = np.array([0.5 if i < 27 else 1.0 for i in from68], np.float32)  # brows: in part
    off = theirs[:, from68] - ours[:, to98]
    off = off - np.median(off, axis=0)
    distance = np.linalg.norm(off, axis=-1).mean(1)
    targets = ours.copy()
    targets[:, to98] += share[:, None] * off

    seen, missed = distance <= TEACHER_LOST, distance > TEACHER_LOST
    flat = theirs.reshape(len(theirs), -1)
    mean68, mean98 = flat[seen].mean(0), ours[seen].mean(0).ravel()
    x = (flat[seen] - mean68).astype(np.float64)
    y = (ours[seen].reshape(len(x), -1) - mean98).astype(np.float64)
    ridge = 0.01 * len(x) * np.var(x) * np.eye(x.shape[1])
    slope = np.linalg.solve(x.T @ x + ridge, x.T @ y)
    targets[missed] = ((flat[missed] - mean68) @ slope + mean98).reshape(-1, 98, 2)
    return frame.back(targets), distance <= BOTH_LOST


def targets(
    teacher: Array, hand68: Array, hand98: Array, source: NDArray[np.str_]
) -> tuple[Array, NDArray[np.bool_]]:
    """Hand labels where there are any, the teacher's points elsewhere; and which can be used."""
    points, usable = teacher.copy(), np.ones(len(teacher), bool)
    rows = np.flatnonzero(np.isin(source, HAND_68) & np.isfinite(hand68).all((1, 2)))
    if len(rows):
        points[rows], usable[rows] = hand_targets(teacher[rows], hand68[rows])
    by_hand = np.isfinite(hand98).all((1, 2))
    points[by_hand] = hand98[by_hand]
    return points, usable


#: The mesh's yaw is stretched beyond so many degrees, where it begins to saturate. Below, and in
#: pitch, it is taken as it is: factorised, its own points turn by no more (`score.calibration`).
YAW_KNEE, YAW_STRETCH = 35.0, 1.6


def calibrated(mesh: Array, looked: Array) -> Array:
    """Target yaw, pitch, roll (N, 3) from the mesh's and where known where people looked.

    ``looked`` (N, 2) is Pointing'04's pan and tilt in radians, NaN elsewhere: mixed half and
    half with the mesh, and more so near profile, where the mesh stops at about 60 degrees. They are
    taken for yaw and pitch, which each is only where the other is 0 (`data.directions`): that
    costs elevation near profile. The other way was tried, too (models/history.md).
    """
    euler = mesh.copy()
    beyond = np.maximum(np.abs(mesh[:, 0]) - np.radians(YAW_KNEE), 0)
    euler[:, 0] += np.sign(mesh[:, 0]) * beyond * (YAW_STRETCH - 1)
    known = np.isfinite(looked).all(1) & np.isfinite(mesh).all(1)
    pan, tilt = looked[known].T
    share = np.interp(np.degrees(np.abs(pan)), [45, 90], [0.5, 0.9])
    euler[known, 0] += share * (pan - euler[known, 0])
    euler[known, 1] += 0.5 * (tilt - euler[known, 1])
    return euler
