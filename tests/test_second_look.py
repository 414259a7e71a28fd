"""When a face of a photograph is looked at again, and when that is believed."""

from dataclasses import replace

import numpy as np
import pytest

from atpn.faces.face import Face
from atpn.faces.second_look import APART, askew, believed, seen_twice, share
from atpn.geometry import Box, square

ROI = square(100, 100, 80)


@pytest.mark.parametrize(
    ("better", "expected"),
    [
        (ROI, False),
        (square(104, 97, 82), False),
        (square(120, 100, 80), True),
        (square(100, 100, 110), True),
        (replace(ROI, angle=np.radians(7)), False),
        (replace(ROI, angle=np.radians(-9)), True),
        (replace(ROI, angle=np.radians(359)), False),
    ],
)
def test_a_face_is_askew_that_lies_elsewhere_or_is_turned(better: Box, expected: bool) -> None:
    assert askew(ROI, better) is expected


def test_a_second_look_that_is_far_less_sure_is_not_believed() -> None:
    assert believed(0.9, 0.95)
    assert believed(0.9, 0.75)
    assert not believed(0.9, 0.6)


def test_looks_that_agree_count_alike_else_the_second_counts() -> None:
    points = np.random.default_rng(0).uniform(60, 140, (98, 2)).astype(np.float32)
    aside = np.array([APART * ROI.width, 0], np.float32)
    assert share(points, points + 0.9 * aside, ROI.width) == 0.5
    assert share(points, points + 1.1 * aside, ROI.width) == 1


def test_what_two_looks_say_together() -> None:
    """The mean of landmarks and angles, also across a half turn; the second's ROI and certainty."""
    points = np.random.default_rng(0).uniform(60, 140, (98, 2)).astype(np.float32)
    yaws = np.radians(np.array([[179, 10, -4], [-177, 20, -6]], np.float32))
    first = Face(ROI, points, 0.8, yaws[0])
    second = Face(square(101, 100, 80), points + np.float32(2), 0.9, yaws[1])
    both = seen_twice(first, second)
    assert both.landmarks == pytest.approx(points + 1, abs=1e-4)
    assert np.degrees(both.pose) == pytest.approx([-179, 15, -5], abs=1e-3)
    assert (both.roi, both.confidence) == (second.roi, 0.9)
    assert both.landmarks.dtype == both.pose.dtype == np.float32
    far = replace(second, landmarks=points + np.float32(10))
    assert seen_twice(first, far).landmarks == pytest.approx(far.landmarks)
