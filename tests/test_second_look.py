"""When a face of a photograph is looked at again, and when that is believed."""

from dataclasses import replace

import numpy as np
import pytest

from atpn.geometry import Box, square
from atpn.second_look import askew, believed

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
