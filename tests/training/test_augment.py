"""What is done to a crop keeps picture, points and angles together."""

import cv2
import numpy as np
import pytest

from atpn.geometry import CROP_SIZE, rotation_from_euler
from atpn_training.data.augment import disturbed, mirrored, random_crop, rolled
from atpn_training.data.images import STORED
from tests.training.synthetic import face_points

EULER = np.array([0.4, -0.2, 0.1], np.float32)
NOSE = 54  # its own mirror image
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
