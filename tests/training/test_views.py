"""Few photographs are seen from all sides, with labels that follow what is drawn."""

from dataclasses import replace

import numpy as np
import pytest

from atpn_training.data.batches import Sampler, turned_aside
from atpn_training.data.profiles import (
    LAST,
    MESH,
    Head,
    Lifted,
    Proportions,
    turned_face,
)
from atpn_training.data.views import MASKS, MOST_TILT, SHARE, VIEWS, masked, turned_on, views
from tests.training.synthetic import Array, made_up_sampler
from tests.training.test_profiles import aside_faces, ball, ball_head, seen


@pytest.fixture(scope="module")
def head() -> Head:
    """One of balls."""
    return ball_head()


def test_a_face_without_a_mesh_gets_that_of_the_mean_head(head: Head) -> None:
    euler = np.array([0.4, -0.2, 0.1], np.float32)
    found = head.mesh_of(seen(ball(98, 2), euler))
    assert np.abs(found - seen(ball(MESH, 1), euler)).max() < 1


def test_the_mesh_follows_landmarks_that_are_no_mean_heads(head: Head) -> None:
    """A face that is twice as wide below than the mean head's: its mesh is, too."""
    euler = np.zeros(3, np.float32)

    def wider(points: Array) -> Array:
        below = np.clip((points[:, 1] - 96) / 44, 0, 1)
        return np.stack([96 + (points[:, 0] - 96) * (1 + below), points[:, 1]], 1)

    mesh, landmarks = seen(ball(MESH, 1), euler), seen(ball(98, 2), euler)
    found = head.mesh_of(wider(landmarks))
    off = np.linalg.norm(found - wider(mesh), axis=1)
    plain = np.linalg.norm(mesh - wider(mesh), axis=1)
    assert off.mean() < plain.mean() / 4


def test_views_of_all_faces_are_labelled_and_the_same_again() -> None:
    faces, meshes = aside_faces(8)
    meshes[4:] = np.nan
    made = views(faces, meshes, 30)
    assert len(made) > 20
    assert set(made.source) == {VIEWS}
    yaw, pitch, _ = np.degrees(np.abs(made.euler)).T
    assert yaw.max() <= LAST + 1e-3
    assert pitch.max() <= MOST_TILT + 1e-3
    assert made.points.shape == (len(made), 98, 2)
    again = views(faces, meshes, 30)
    np.testing.assert_array_equal(made.images, again.images)
    np.testing.assert_array_equal(made.points, again.points)


def test_without_any_mesh_no_view_is_made() -> None:
    faces, meshes = aside_faces()
    with pytest.raises(ValueError, match="mesh"):
        views(faces, np.full_like(meshes, np.nan), 5)


@pytest.mark.parametrize("yaw", [-80.0, -20.0, 0.0, 20.0, 80.0])
def test_heads_are_turned_no_less_far_aside(yaw: float) -> None:
    rng = np.random.default_rng(0)
    before = np.radians([yaw, 5.0, 3.0]).astype(np.float32)
    after = np.array([turned_on(rng, before) for _ in range(200)])
    assert (np.abs(after[:, 0]) >= abs(before[0]) - 1e-6).all()
    assert np.degrees(np.abs(after[:, 0])).max() <= LAST + 1e-3
    np.testing.assert_allclose(after[:, 2], before[2], atol=1e-6)
    if yaw == 0:
        assert (after[:, 0] < 0).any()
        assert (after[:, 0] > 0).any()
    else:
        assert (np.sign(after[:, 0]) == np.sign(yaw)).all()


def test_proportions_move_the_landmarks_with_the_picture(head: Head) -> None:
    """A spot on the skin of a face that is made narrower lies where its mesh point then is."""
    euler = np.array([0.0, 0.0, 0.0], np.float32)
    face = Lifted.of(head, seen(ball(MESH, 1), euler), seen(ball(98, 2), euler))
    point = int(np.argmin(np.abs(ball(98, 2) - [0.5, 0.3, -0.8]).sum(1)))
    image = np.full((192, 192, 3), 60, np.uint8)
    x, y = face.landmarks[point, :2].astype(int)
    image[y - 2 : y + 3, x - 2 : x + 3] = 255
    narrow = Proportions(width=0.7)
    drawn, points = turned_face(image, face, head.triangles, euler, euler, narrow)
    rows, columns = np.nonzero(drawn[..., 0] > 150)
    spot = np.array([columns.mean() + 0.5, rows.mean() + 0.5])
    assert np.abs(spot - points[point]).max() < 2
    assert spot[0] < x - 2


def test_a_mask_covers_the_chin_and_leaves_the_eyes() -> None:
    rng = np.random.default_rng(0)
    turns = np.linspace(0, np.pi, 33)
    points = np.full((98, 2), 96, np.float32)
    points[:33] = np.stack([96 - 48 * np.cos(turns), 96 + 48 * np.sin(turns)], 1)
    points[51:55] = [[96, 96], [96, 100], [96, 104], [96, 108]]
    face = np.full((192, 192, 3), 180, np.uint8)
    worn = masked(rng, face, points, np.zeros_like(face))
    changed = (worn != face).any(2)
    assert changed[130, 96]
    assert not changed[:90].any()
    assert not changed[:, :40].any()


def test_views_have_their_share_of_what_is_drawn_and_no_more_for_looking_aside() -> None:
    faces = made_up_sampler().faces
    aside = replace(
        faces,
        euler=np.full_like(faces.euler, 1.4),
        source=np.full(len(faces), VIEWS),
    )
    plain = replace(faces, euler=np.zeros_like(faces.euler))
    both = plain.with_share(aside, SHARE)
    assert (turned_aside(both) == 1).all()
    sampler = Sampler(both, made_up_sampler().backgrounds)
    yaw = sampler.posed(np.random.default_rng(0), 400)["euler"][:, 0].abs()
    assert abs(float((yaw > 0.8).float().mean()) - SHARE) < 0.1
    assert 0 < MASKS < 1
