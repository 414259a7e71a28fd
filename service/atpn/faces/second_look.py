"""Which faces of photographs are looked at again, upright, and what both looks say together."""

from dataclasses import replace

import numpy as np

from atpn.faces.face import Face
from atpn.faces.looking import Steps, look
from atpn.geometry import Box, wrapped

#: A face is looked at again where the ROI overlaps the one its landmarks lead to by less than
#: this, or is turned from it by more (radians).
ASKEW_IOU, ASKEW_ANGLE = 0.8, np.radians(8)
#: A second look that is less sure of the face by more than this is not believed.
DOUBT = 0.2
#: Looks that see the landmarks farther apart (mean distance in sides of the second ROI) do not
#: mean the same: the second, upright one is right.
APART = 0.05
#: A head that is turned by more within the first look (radians) is beyond what the network was
#: trained on: its first pose is up to 18 degrees off where the second is within 3.
TURNED = np.radians(30)


def look_twice(rois: list[Box]) -> Steps[list[Face]]:
    """One face per ROI, in order, those seen again that lay askew in theirs.

    Where the second look is believed, the face has its ROI and its confidence.
    """
    faces = yield from look(rois)
    again = [i for i, face in enumerate(faces) if askew(face.roi, face.next_roi)]
    closer = yield from look([faces[i].next_roi for i in again])
    faces = list(faces)
    for i, second in zip(again, closer, strict=True):
        if believed(faces[i].confidence, second.confidence):
            faces[i] = seen_twice(faces[i], second)
    return faces


def look_four_times(rois: list[Box]) -> Steps[list[Face]]:
    """One face per ROI, in order: what two looks say, at the ROI and upright, each of them the mean
    of one and of its mirror image.
    """
    firsts = yield from _look_also_mirrored(rois)
    seconds = yield from _look_also_mirrored([face.next_roi for face in firsts])
    return [
        seen_twice(first, second) if believed(first.confidence, second.confidence) else first
        for first, second in zip(firsts, seconds, strict=True)
    ]


def _look_also_mirrored(rois: list[Box]) -> Steps[list[Face]]:
    faces = yield from look([*rois, *(replace(roi, mirrored=True) for roi in rois)])
    return [mean_of(a, b) for a, b in zip(faces[: len(rois)], faces[len(rois) :], strict=True)]


def mean_of(face: Face, other: Face) -> Face:
    """Half of each; the ROI is the first one's."""
    return replace(
        face,
        landmarks=face.landmarks + 0.5 * (other.landmarks - face.landmarks),
        pose=wrapped(face.pose + 0.5 * wrapped(other.pose - face.pose)),
        confidence=(face.confidence + other.confidence) / 2,
    )


def askew(roi: Box, better: Box) -> bool:
    """Whether ``roi`` shows a face otherwise than ``better`` would, to which its landmarks lead."""
    turn = wrapped(better.angle - roi.angle)
    return better.iou(roi) < ASKEW_IOU or bool(abs(turn) > ASKEW_ANGLE)


def believed(first: float, second: float) -> bool:
    """Whether the second look counts, by the confidence of both."""
    return second >= first - DOUBT


def share(first: Face, second: Face) -> float:
    """How much of the answer is the second look's.

    Half where they mean the same: their errors are in part independent. All where their landmarks
    are `APART`, or the head was `TURNED` in the first.
    """
    if abs(wrapped(second.roi.angle - first.roi.angle)) > TURNED:
        return 1.0
    distance = np.linalg.norm(second.landmarks - first.landmarks, axis=-1)
    return 0.5 if float(distance.mean()) / second.roi.width < APART else 1.0


def seen_twice(first: Face, second: Face) -> Face:
    """What two looks at a face say together."""
    part = share(first, second)
    turn = wrapped(second.pose - first.pose)
    return replace(
        second,
        landmarks=first.landmarks + part * (second.landmarks - first.landmarks),
        pose=wrapped(first.pose + part * turn),
    )
