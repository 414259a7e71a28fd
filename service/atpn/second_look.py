"""Which faces of photographs are looked at again, upright, and which look is believed."""

import numpy as np

from atpn.geometry import Box

#: A face is looked at again where the ROI overlaps the one its landmarks lead to by less than
#: this, or is turned from it by more (radians).
ASKEW_IOU, ASKEW_ANGLE = 0.8, np.radians(8)
#: A second look that is less sure of the face by more than this is not believed.
DOUBT = 0.2


def askew(roi: Box, better: Box) -> bool:
    """Whether ``roi`` shows a face otherwise than ``better`` would, to which its landmarks lead."""
    turn = np.angle(np.exp(1j * (better.angle - roi.angle)))
    return better.iou(roi) < ASKEW_IOU or bool(abs(turn) > ASKEW_ANGLE)


def believed(first: float, second: float) -> bool:
    """Whether the second look counts, by the confidence of both."""
    return second >= first - DOUBT
