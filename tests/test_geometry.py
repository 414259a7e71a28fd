"""Boxes, crops and rotations: where a pixel lands, and which way is positive."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from atpn.geometry import (
    CROP_SIZE,
    Box,
    Image,
    crop,
    crop_to_image,
    euler_from_rotation,
    image_to_crop,
    landmark_box,
    roi_from_detection,
    roi_from_landmarks,
    rotation_from_euler,
    square,
)

numbers = st.floats(-2000, 2000, width=32)
sides = st.floats(1, 3000, width=32)
rois = st.builds(square, numbers, numbers, sides)
angles = st.tuples(st.floats(-1.5, 1.5), st.floats(-3.1, 3.1), st.floats(-3.1, 3.1))

NOSE = np.array([0.0, 0.0, -1.0])  # of a head that looks into the camera: z is away from it
RIGHT_EYE = np.array([1.0, 0.0, 0.0])  # from the face's middle; right is that of the image


@given(rois, rois)
def test_iou_is_symmetric_and_between_0_and_1(a: Box, b: Box) -> None:
    assert 0 <= a.iou(b) <= 1 + 1e-9
    assert a.iou(b) == pytest.approx(b.iou(a))


@pytest.mark.parametrize(
    ("other", "expected"),
    [
        (Box(0, 0, 10, 10), 1),
        (Box(5, 0, 15, 10), 1 / 3),
        (Box(2, 2, 7, 7), 0.25),
        (Box(10, 0, 20, 10), 0),
        (Box(50, 50, 60, 60), 0),
    ],
)
def test_iou_is_intersection_over_union(other: Box, expected: float) -> None:
    assert Box(0, 0, 10, 10).iou(other) == pytest.approx(expected)


@given(rois, st.lists(st.tuples(st.floats(-1, 2), st.floats(-1, 2)), min_size=1, max_size=5))
def test_crop_and_image_coordinates_are_inverse(
    roi: Box, points: list[tuple[float, float]]
) -> None:
    there = np.array(points, np.float32)
    back = image_to_crop(crop_to_image(there, roi), roi)
    rounding = 1e-3 * (1 + (abs(roi.x0) + abs(roi.y0)) / roi.width)
    assert np.allclose(back, there, atol=rounding)


def test_the_corners_of_a_crop_are_those_of_its_region() -> None:
    corners = crop_to_image(np.array([[0, 0], [1, 1]], np.float32), Box(10, 20, 50, 80))
    assert corners.tolist() == [[10, 20], [50, 80]]


def test_the_next_region_has_a_quarter_of_margin_at_each_boundary() -> None:
    """Section 3.1 of the paper."""
    points = np.array([[100, 200], [180, 280], [140, 230]], np.float32)
    assert roi_from_landmarks(points) == Box(80, 180, 200, 300)


@given(st.lists(st.tuples(numbers, numbers), min_size=2, max_size=98))
def test_the_next_region_is_a_square_around_all_landmarks(
    points: list[tuple[float, float]],
) -> None:
    array = np.array(points, np.float32)
    box, roi = landmark_box(array), roi_from_landmarks(array)
    assert roi.width == pytest.approx(roi.height, abs=1e-3)
    assert roi.width == pytest.approx(1.5 * max(box.width, box.height), abs=1e-3)
    assert roi.x0 <= box.x0 + 1e-3
    assert roi.y1 >= box.y1 - 1e-3


@given(numbers, numbers, sides, sides)
def test_the_region_of_a_detection_is_a_larger_square_a_little_below_its_middle(
    x: float, y: float, width: float, height: float
) -> None:
    roi = roi_from_detection(Box(x, y, x + width, y + height))
    assert roi.width == pytest.approx(roi.height, abs=1e-3)
    assert roi.width > min(width, height)
    assert (roi.x0 + roi.x1) / 2 == pytest.approx(x + width / 2, abs=1e-3)
    assert y + height / 2 < (roi.y0 + roi.y1) / 2 < y + height


@given(st.floats(0.1, 50))
def test_the_region_of_a_detection_grows_with_it(factor: float) -> None:
    small, large = Box(0, 0, 80, 100), Box(0, 0, 80 * factor, 100 * factor)
    expected = roi_from_detection(small).width * factor
    assert roi_from_detection(large).width == pytest.approx(expected)


def dot(x: float, y: float, radius: float) -> Image:
    """A soft white dot on 900x800 black pixels, its centre at (x, y) in pixel edges."""
    columns, rows = np.arange(900) + 0.5, np.arange(800) + 0.5
    distance = (columns[None] - x) ** 2 + (rows[:, None] - y) ** 2
    glow = 255 * np.exp(-distance / (2 * radius**2))
    return np.repeat(glow.round().astype(np.uint8)[..., None], 3, 2)


def centre_of_light(image: Image) -> NDArray[np.float64]:
    """The brightness' centre (x, y), in pixel edges."""
    light = image[..., 0].astype(float)
    at = np.arange(len(light)) + 0.5
    return np.asarray([light.sum(0) @ at, light.sum(1) @ at], np.float64) / float(light.sum())


@pytest.mark.parametrize("scale", [0.3, 0.7, 1, 1.4, 1.99, 2, 2.5, 3, 3.7, 5.1, 6])
@pytest.mark.parametrize("shift", [0, 0.25, 0.5, 0.9])
def test_a_dot_lands_where_its_coordinates_say(scale: float, shift: float) -> None:
    """``scale``: image pixels to a crop's pixel. A fifth of a pixel is allowed."""
    roi = square(440.3 + shift, 395.6 - shift, scale * CROP_SIZE)
    x, y = roi.x0 + 0.37 * roi.width, roi.y0 + 0.58 * roi.height
    found = centre_of_light(crop(dot(x, y, 3 * max(1, scale)), roi))
    expected = image_to_crop(np.array([x, y], np.float32), roi) * CROP_SIZE
    assert np.abs(found - expected).max() < 0.2


@pytest.mark.parametrize("scale", [0.5, 1, 2, 4.5])
def test_a_dot_lands_there_too_where_the_region_leaves_the_image(scale: float) -> None:
    roi = square(30, 20, scale * CROP_SIZE)
    image = dot(60, 45, 3 * max(1, scale))[:120, :140]
    expected = image_to_crop(np.array([60, 45], np.float32), roi) * CROP_SIZE
    if (expected < CROP_SIZE).all():
        assert np.abs(centre_of_light(crop(image, roi)) - expected).max() < 0.2


@pytest.mark.parametrize("scale", [0.5, 1, 1.7, 2, 3.3, 6])
def test_what_lies_outside_the_image_is_black(scale: float) -> None:
    white = np.full((100, 200, 3), 255, np.uint8)
    side = scale * CROP_SIZE
    part = crop(white, Box(-side / 2, -side / 2, side / 2, side / 2))  # centred on the corner
    middle, edge = CROP_SIZE // 2, 2
    assert part[: middle - edge].max() == 0
    assert part[:, : middle - edge].max() == 0
    inside = int(min(100 / scale, middle)) - edge
    assert part[middle + edge : middle + inside, middle + edge : middle + inside].min() > 250


@pytest.mark.parametrize(
    "roi", [Box(-300, 0, -100, 200), Box(0, 400, 50, 450), Box(1e6, 1e6, 2e6, 2e6)]
)
def test_a_region_that_misses_the_image_is_all_black(roi: Box) -> None:
    part = crop(np.full((100, 200, 3), 255, np.uint8), roi)
    assert part.shape == (CROP_SIZE, CROP_SIZE, 3)
    assert part.max() == 0


@given(rois, st.integers(1, 60), st.integers(1, 60))
def test_a_crop_of_any_region_of_any_image_has_the_networks_size(
    roi: Box, height: int, width: int
) -> None:
    part = crop(np.full((height, width, 3), 200, np.uint8), roi)
    assert part.shape == (CROP_SIZE, CROP_SIZE, 3)
    assert part.dtype == np.uint8
    assert part.max() <= 200


def test_a_large_face_is_averaged_down_and_not_sampled() -> None:
    """A chequerboard of single pixels is grey from afar."""
    board = np.indices((800, 800)).sum(0) % 2 * 255
    part = crop(np.repeat(board.astype(np.uint8)[..., None], 3, 2), square(400, 400, 700))
    assert abs(int(part.min()) - 127) < 12
    assert abs(int(part.max()) - 127) < 12


def test_a_crop_does_not_change_the_image() -> None:
    image = dot(100, 100, 20)
    before = image.copy()
    crop(image, square(100, 100, 300))
    assert np.array_equal(image, before)


@given(angles)
def test_angles_and_rotations_are_inverse(given_angles: tuple[float, float, float]) -> None:
    assert np.allclose(euler_from_rotation(rotation_from_euler(*given_angles)), given_angles)


@given(angles)
def test_a_rotation_keeps_lengths_and_handedness(angles: tuple[float, float, float]) -> None:
    matrix = rotation_from_euler(*angles)
    assert np.allclose(matrix @ matrix.T, np.eye(3))
    assert np.linalg.det(matrix) == pytest.approx(1)


def test_without_angles_a_head_looks_into_the_camera() -> None:
    assert np.array_equal(rotation_from_euler(0, 0, 0), np.eye(3))


def test_a_positive_yaw_turns_the_nose_to_the_left_of_the_image() -> None:
    x, y, z = rotation_from_euler(math.radians(30), 0, 0) @ NOSE
    assert (x, y) == (pytest.approx(-0.5), pytest.approx(0))
    assert z < 0


def test_a_positive_pitch_turns_the_nose_up() -> None:
    x, y, z = rotation_from_euler(0, math.radians(30), 0) @ NOSE
    assert (x, y) == (pytest.approx(0), pytest.approx(-0.5))  # y is down
    assert z < 0


def test_a_positive_roll_turns_the_head_clockwise() -> None:
    x, y, _ = rotation_from_euler(0, 0, math.radians(30)) @ RIGHT_EYE
    assert x > 0
    assert y == pytest.approx(0.5)  # the eye at the right of the image goes down


def test_the_rotations_are_done_in_the_order_roll_yaw_pitch() -> None:
    yaw, pitch, roll = 0.4, 0.3, 0.2
    steps = [
        rotation_from_euler(0, pitch, 0),
        rotation_from_euler(yaw, 0, 0),
        rotation_from_euler(0, 0, roll),
    ]
    expected = steps[0] @ steps[1] @ steps[2]
    assert np.allclose(rotation_from_euler(yaw, pitch, roll), expected)
