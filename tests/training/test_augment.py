"""What is done to a crop keeps picture, points and angles together."""

import cv2
import numpy as np
import pytest

from atpn.geometry import CROP_SIZE, rotation_from_euler
from atpn.landmarks import LEFT_EYE_OUTER, MIRROR, RIGHT_EYE_OUTER
from atpn_training.data.augment import (
    Image,
    disturbed,
    filled,
    mirrored,
    moving,
    outside,
    random_crop,
    rolled,
    within_frame,
)
from atpn_training.data.images import STORED
from tests.training.synthetic import face_points

EULER = np.array([0.4, -0.2, 0.1], np.float32)
NOSE, CHIN = 54, 16  # their own mirror images
SPOT = (0.0, 255.0, 0.0)


def test_mirroring_twice_changes_nothing() -> None:
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (STORED, STORED, 3)).astype(np.uint8)
    points = face_points(rng)
    twice = mirrored(*mirrored(image, points, EULER))
    np.testing.assert_array_equal(twice[0], image)
    np.testing.assert_allclose(twice[1], points, atol=1e-4)
    np.testing.assert_allclose(twice[2], EULER)


def test_a_mirrored_head_is_the_mirror_image_of_the_rotation() -> None:
    image, points = np.zeros((STORED, STORED, 3), np.uint8), np.zeros((98, 2), np.float32)
    _, _, euler = mirrored(image, points, EULER)
    mirror = np.diag([-1.0, 1, 1])
    expected = mirror @ rotation_from_euler(*EULER) @ mirror
    np.testing.assert_allclose(rotation_from_euler(*euler), expected, atol=1e-6)


@pytest.mark.parametrize("angle", [-0.7, 0.0, 0.3])
def test_a_rolled_head_looks_like_the_rotated_picture(angle: float) -> None:
    """Points of a head, projected and turned on the picture, are those of the turned head."""
    head = np.random.default_rng(0).normal(size=(20, 3))
    seen = (head @ rotation_from_euler(*EULER).T)[:, :2]
    cos, sin = np.cos(angle), np.sin(angle)
    turned = seen @ np.array([[cos, -sin], [sin, cos]]).T  # clockwise where y points down
    again = (head @ rotation_from_euler(*rolled(EULER, angle)).T)[:, :2]
    np.testing.assert_allclose(again, turned, atol=1e-5)


def test_unknown_angles_stay_unknown() -> None:
    assert np.isnan(rolled(np.full(3, np.nan, np.float32), 0.3)).all()


@pytest.mark.parametrize("seed", range(20))
def test_random_crop_moves_points_with_the_picture(seed: int) -> None:
    """A spot drawn at the nose is where the moved nose point says."""
    rng = np.random.default_rng(seed)
    points = face_points(rng)
    points[NOSE] = 90.5, 100.5
    image = np.zeros((STORED, STORED, 3), np.uint8)
    cv2.circle(image, (90, 100), 4, SPOT, -1)  # its centre is the middle of pixel (90, 100)
    sample = random_crop(rng, image, points, EULER)
    assert sample.image.shape == (CROP_SIZE, CROP_SIZE, 3)
    x, y = sample.points[NOSE] * CROP_SIZE
    left, top = int(x) - 8, int(y) - 8
    window = sample.image[top : top + 17, left : left + 17, 1].astype(np.float64)
    ys, xs = np.mgrid[0:17, 0:17] + 0.5
    centre = np.array([(xs * window).sum(), (ys * window).sum()]) / window.sum()
    np.testing.assert_allclose(centre, [x - left, y - top], atol=0.25)


@pytest.mark.parametrize("seed", range(20))
def test_a_head_turns_with_its_points_and_right_stays_right(seed: int) -> None:
    rng = np.random.default_rng(seed)
    points = face_points(rng)
    points[RIGHT_EYE_OUTER], points[LEFT_EYE_OUTER], points[CHIN] = (60, 80), (130, 80), (95, 140)
    middle = points.mean(0)
    around = (points - middle) @ np.linalg.inv(np.linalg.cholesky(np.cov(points.T)).T)
    before = np.array([0.5, 0, 0], np.float32)
    image = np.zeros((STORED, STORED, 3), np.uint8)
    sample = random_crop(rng, image, (around * 24 + middle).astype(np.float32), before)
    right, left, chin = sample.points[[RIGHT_EYE_OUTER, LEFT_EYE_OUTER, CHIN]]
    (ax, ay), (bx, by) = left - right, chin - right
    assert ax * by - ay * bx > 0
    if sample.euler[0] < 0:
        around = around[MIRROR] * np.array([-1, 1], np.float32)
        before = before * np.array([-1, 1, 1], np.float32)
    cross = around.T @ (sample.points - sample.points.mean(0))  # of isotropic points: the map's
    seen = np.arctan2(cross[0, 1] - cross[1, 0], cross[0, 0] + cross[1, 1])
    turned = rotation_from_euler(*sample.euler) @ rotation_from_euler(*before).T
    assert np.arctan2(turned[1, 0], turned[0, 0]) == pytest.approx(seen, abs=1e-3)


def picture_in_black(rng: np.random.Generator) -> Image:
    """A photograph that ends within its crop, with a dark spot in its middle."""
    image = np.zeros((STORED, STORED, 3), np.uint8)
    image[20:170, 30:160] = rng.integers(100, 256, (150, 130, 3))
    image[90:100, 90:100] = 0
    return image


def test_what_lies_outside_of_a_photograph_is_found_and_filled_for_half_of_the_crops() -> None:
    rng = np.random.default_rng(0)
    image, other = picture_in_black(rng), np.full((60, 80, 3), 77, np.uint8)
    mask = outside(image)
    assert mask[:18].all()
    assert mask[:, 164:].all()
    assert not mask[24:166, 34:156].any()
    found = [filled(rng, image, other) for _ in range(100)]
    kept = [one for one in found if np.array_equal(one, image)]
    assert 35 < len(kept) < 65
    for one in found:
        np.testing.assert_array_equal(one[~mask], image[~mask])
        assert one is image or (one[mask] == one[0, 0]).all()
    assert not outside(np.full((STORED, STORED, 3), 50, np.uint8)).any()


def test_a_framed_crop_keeps_its_middle() -> None:
    rng = np.random.default_rng(0)
    image = rng.integers(100, 256, (CROP_SIZE, CROP_SIZE, 3)).astype(np.uint8)
    found = [within_frame(rng, image) for _ in range(50)]
    for one in found:
        np.testing.assert_array_equal(one[28:84, 28:84], image[28:84, 28:84])
    assert np.mean([(one[0, 56] != image[0, 56]).any() for one in found]) == pytest.approx(
        0.7, abs=0.2
    )
    assert 10 < sum(outside(one).any() for one in found) < 40


def test_random_crop_frames_the_face_as_an_roi_would() -> None:
    rng = np.random.default_rng(0)
    image = np.zeros((STORED, STORED, 3), np.uint8)
    samples = [random_crop(rng, image, face_points(rng), EULER) for _ in range(200)]
    centres = np.stack([(s.points.max(0) + s.points.min(0)) / 2 for s in samples])
    sides = np.array([(s.points.max(0) - s.points.min(0)).max() for s in samples])
    np.testing.assert_allclose(centres.mean(0), 0.5, atol=0.03)
    assert np.median(sides) == pytest.approx(1 / 1.5, abs=0.03)


@pytest.mark.parametrize("seed", range(10))
def test_disturbing_keeps_size_and_type(seed: int) -> None:
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 256, (CROP_SIZE, CROP_SIZE, 3)).astype(np.uint8)
    found = disturbed(rng, image, [rng.integers(0, 256, (90, 130, 3)).astype(np.uint8)])
    assert (found.shape, found.dtype) == (image.shape, image.dtype)


def test_blurring_does_not_move_the_picture() -> None:
    rng = np.random.default_rng(0)
    ys, xs = np.mgrid[0:CROP_SIZE, 0:CROP_SIZE]
    image = np.zeros((CROP_SIZE, CROP_SIZE, 3), np.uint8)
    image[50:63, 50:63] = 200  # its middle is pixel 56
    for one in (moving(rng, image)[..., 0].astype(float) for _ in range(50)):
        assert one[56, 50] < 200 or one[50, 56] < 200
        assert (xs * one).sum() / one.sum() == pytest.approx(56, abs=0.05)
        assert (ys * one).sum() / one.sum() == pytest.approx(56, abs=0.05)
