"""When a face of a photograph is looked at again, and when that is believed."""

from dataclasses import replace

import numpy as np
import pytest

from atpn.engine.inference import FaceNetwork, Prediction, find_model, shipped_models
from atpn.faces.face import Face, faces_of
from atpn.faces.looking import Detect, drive
from atpn.faces.second_look import (
    APART,
    askew,
    believed,
    look_four_times,
    mean_of,
    seen_twice,
    share,
)
from atpn.geometry import Box, Image, crop, image_to_crop, square, upright_roi
from atpn.landmarks import MIRROR

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
    first = Face(ROI, points, 0.9, np.zeros(3, np.float32))
    assert share(first, replace(first, landmarks=points + 0.9 * aside)) == 0.5
    assert share(first, replace(first, landmarks=points + 1.1 * aside)) == 1


@pytest.mark.parametrize("turn", [0, 25, 35, 90, 180, 335, 325])
def test_the_second_look_at_a_head_that_was_turned_counts_alone(turn: int) -> None:
    points = np.random.default_rng(0).uniform(60, 140, (98, 2)).astype(np.float32)
    first = Face(ROI, points, 0.9, np.zeros(3, np.float32))
    second = replace(first, roi=replace(ROI, angle=np.radians(turn)))
    assert share(first, second) == (1 if 30 < turn < 330 else 0.5)


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


@pytest.mark.parametrize("angle", [0.0, 0.4])
def test_a_mirrored_roi_shows_the_picture_in_a_mirror(angle: float, astronaut: Image) -> None:
    roi = Box(180, 60, 280, 160, angle)
    straight = crop(astronaut, roi).astype(int)
    mirrored = crop(astronaut, replace(roi, mirrored=True)).astype(int)
    assert np.abs(mirrored - straight[:, ::-1]).mean() < 0.5 < np.abs(mirrored - straight).mean()


def test_a_face_that_is_seen_in_a_mirror_is_where_and_as_it_is() -> None:
    """A network that knows the truth of any crop tells the same face in both ROIs."""
    rng = np.random.default_rng(0)
    points = rng.uniform(60, 140, (98, 2)).astype(np.float32)
    pose = np.array([0.3, -0.2, 0.1], np.float32)
    roi = replace(ROI, angle=0.3)
    other = replace(roi, mirrored=True)
    (straight,) = faces_of([roi], [Prediction(image_to_crop(points, roi), pose, 0.9)])
    flipped = image_to_crop(points, other)[MIRROR]
    turned = pose * np.array([-1, 1, -1], np.float32)
    (mirrored,) = faces_of([other], [Prediction(flipped, turned, 0.9)])
    assert mirrored.landmarks == pytest.approx(points, abs=1e-3)
    assert mirrored.pose == pytest.approx(straight.pose, abs=1e-5)


def test_the_mean_of_two_faces_is_half_of_each() -> None:
    points = np.zeros((98, 2), np.float32)
    yaws = np.radians(np.array([[179, 10, -4], [-177, 20, -6]], np.float32))
    both = mean_of(Face(ROI, points, 0.8, yaws[0]), Face(ROI, points + 2, 0.6, yaws[1]))
    assert both.landmarks == pytest.approx(points + 1)
    assert np.degrees(both.pose) == pytest.approx([-179, 15, -5], abs=1e-3)
    assert both.confidence == pytest.approx(0.7)
    assert both.landmarks.dtype == both.pose.dtype == np.float32


def test_four_looks_are_two_rois_and_their_mirror_images(astronaut: Image) -> None:
    network = FaceNetwork(find_model(shipped_models(), "atpn"))
    asked: list[list[Box]] = []

    def see(rois: list[Box]) -> list[Face]:
        asked.append(rois)
        crops = np.stack([crop(astronaut, roi) for roi in rois])
        return faces_of(rois, network.run(crops).each())

    def search(asked: Detect) -> list[Box]:
        raise AssertionError(asked)

    first = square(225, 125, 140)
    (face,) = drive(look_four_times([first]), see, search)
    firsts, seconds = asked
    assert firsts == [first, replace(first, mirrored=True)]
    assert seconds[0].angle != 0
    assert seconds[1] == replace(seconds[0], mirrored=True)
    (once,) = see([upright_roi(face.landmarks)])
    apart = np.linalg.norm(face.landmarks - once.landmarks, axis=1)
    assert 0 < apart.mean() < 2
    assert not face.roi.mirrored
