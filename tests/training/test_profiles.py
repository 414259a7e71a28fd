"""Heads are turned on in depth, with labels that are as exact as the pose they started from."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from atpn.geometry import rotation_from_euler
from atpn_training.data.batches import PROFILE_SHARE, Sampler
from atpn_training.data.faces import Faces
from atpn_training.data.images import STORED
from atpn_training.data.profiles import (
    FROM_YAW,
    LAST,
    MESH,
    Head,
    Lifted,
    fit_to_turn,
    mean_head,
    profiles,
    turned_face,
)
from tests.training.synthetic import Array, made_up_faces, made_up_sampler

CENTRE = np.array([STORED / 2, STORED / 2], np.float32)
RADIUS = 44.0  # pixels


def ball(count: int, seed: int) -> Array:
    """Points (count, 3) of a half ball whose pole is the nose; radius 1."""
    rng = np.random.default_rng(seed)
    across, up = rng.uniform(-1.3, 1.3, count), rng.uniform(-1.2, 1.2, count)
    x, y, z = np.sin(across) * np.cos(up), np.sin(up), -np.cos(across) * np.cos(up)
    return np.stack([x, y, z], 1).astype(np.float32)


def seen(shape: Array, euler: Array, scale: float = RADIUS) -> Array:
    """Where a camera far away sees the points (N, 2)."""
    turned = shape @ rotation_from_euler(*(float(a) for a in euler)).T
    return np.asarray(turned[:, :2] * scale + CENTRE, np.float32)


def looking(count: int, seed: int = 0) -> Array:
    """Yaw, pitch, roll (N, 3) of heads that look to all sides."""
    return np.random.default_rng(seed).uniform(-0.7, 0.7, (count, 3)).astype(np.float32)


def ball_head() -> Head:
    """What is learned of balls that look to all sides."""
    mesh, landmarks, eulers = ball(MESH, 1), ball(98, 2), looking(40)
    rotations = np.stack([rotation_from_euler(*(float(a) for a in e)) for e in eulers])
    return mean_head(
        np.stack([seen(mesh, e) for e in eulers]),
        np.stack([seen(landmarks, e) for e in eulers]),
        rotations.astype(np.float32),
    )


@pytest.fixture(scope="module")
def head() -> Head:
    """One of balls."""
    return ball_head()


def face_of(head: Head, euler: Array) -> Lifted:
    return Lifted.of(head, seen(ball(MESH, 1), euler), seen(ball(98, 2), euler))


def spotted(face: Lifted, number: int) -> NDArray[np.uint8]:
    """A grey picture with a white spot on one mesh point."""
    image = np.full((STORED, STORED, 3), 60, np.uint8)
    x, y = face.mesh[number, :2].astype(int)
    image[y - 2 : y + 3, x - 2 : x + 3] = 255
    return image


def aside_faces(count: int = 6) -> tuple[Faces, Array]:
    """Faces of balls, half of them looking aside, and their meshes."""
    eulers = looking(count) * np.array([0.2, 0.3, 0.3], np.float32)
    eulers[::2, 0] += np.where(np.arange(len(eulers[::2])) % 2, 0.6, -0.6)
    points = np.stack([seen(ball(98, 2), e) for e in eulers])
    meshes = np.stack([seen(ball(478, 1)[:MESH], e) for e in eulers])
    spare = np.full((count, 478 - MESH, 2), 96, np.float32)  # irises: not used
    faces = replace(made_up_faces(count), points=points, mesh=eulers, euler=eulers)
    return faces, np.concatenate([meshes, spare], 1)


def test_depth_is_learned_from_heads_that_look_to_all_sides(head: Head) -> None:
    truth = ball(MESH, 1)
    truth = (truth - truth.mean(0)) * RADIUS
    assert np.abs(head.mesh - truth).max() < 0.5


def test_triangles_all_face_the_camera_of_a_frontal_head(head: Head) -> None:
    a, b, c = (head.mesh[head.triangles[:, k], :2] for k in range(3))
    area = (b - a)[:, 0] * (c - a)[:, 1] - (b - a)[:, 1] * (c - a)[:, 0]
    assert (area > -1e-3).mean() > 0.97


def test_a_single_view_gets_the_depth_of_the_mean_head(head: Head) -> None:
    euler = np.array([0.5, -0.1, 0.2], np.float32)
    face = face_of(head, euler)
    truth = (ball(MESH, 1) @ rotation_from_euler(0.5, -0.1, 0.2).T)[:, 2] * RADIUS
    assert np.abs((face.mesh[:, 2] - face.mesh[:, 2].mean()) - (truth - truth.mean())).max() < 1
    assert face.misfit < 0.01


def test_a_mesh_of_another_shape_is_a_misfit(head: Head) -> None:
    wild = np.random.default_rng(0).uniform(50, 140, (MESH, 2)).astype(np.float32)
    assert Lifted.of(head, wild, seen(ball(98, 2), np.zeros(3, np.float32))).misfit > 0.1


def test_pitch_and_roll_stay_and_yaw_grows() -> None:
    faces, meshes = aside_faces()
    for yaw, *rest in profiles(faces, meshes, 8).euler:
        (before,) = faces.euler[(faces.euler[:, 1:] == rest).all(1)]
        assert abs(yaw) > abs(before[0])
        assert yaw * before[0] > 0


@pytest.mark.parametrize("side", [-1, 1])
def test_what_is_on_the_skin_moves_as_the_head_turns(head: Head, side: int) -> None:
    """A spot on the near cheek is where a camera would see it after the turn."""
    before = np.array([side * 0.5, 0.1, 0.0], np.float32)
    after = before + np.array([side * 0.6, 0, 0], np.float32)
    face = face_of(head, before)
    cheek = int(np.argmin(np.abs(ball(MESH, 1) - [side * 0.65, 0.1, -0.75]).sum(1)))
    image, _ = turned_face(spotted(face, cheek), face, head.triangles, before, after)
    mesh = seen(ball(MESH, 1), after)
    frame = (mesh.min(0) + mesh.max(0)) / 2
    start = face.mesh[:, :2]
    expected = mesh[cheek] - frame + (start.min(0) + start.max(0)) / 2
    y, x = np.nonzero(image[..., 0] > 150)
    found = np.array([x.mean() + 0.5, y.mean() + 0.5])
    assert np.abs(found - expected).max() < 2.5


def test_no_gap_is_left_beside_the_turned_face(head: Head) -> None:
    before = np.array([0.5, 0.0, 0.0], np.float32)
    face = face_of(head, before)
    image = np.full((STORED, STORED, 3), 200, np.uint8)
    after = np.array([1.3, 0.0, 0.0], np.float32)
    drawn, _ = turned_face(image, face, head.triangles, before, after)
    assert drawn[2:-2, 2:-2].min() > 190


def test_hidden_contour_points_move_to_the_outline(head: Head) -> None:
    before = np.array([0.5, 0.0, 0.0], np.float32)
    face = face_of(head, before)
    after = np.array([1.4, 0.0, 0.0], np.float32)
    _, points = turned_face(spotted(face, 0), face, head.triangles, before, after)
    mesh = seen(ball(MESH, 1), after)
    width = np.ptp(mesh[:, 0])
    assert points[:16, 0].max() < points[:, 0].min() + width
    assert points[:, 0].min() > CENTRE[0] - width
    assert np.isfinite(points).all()


def test_only_heads_that_look_aside_are_turned() -> None:
    faces, meshes = aside_faces()
    assert fit_to_turn(faces, meshes).tolist() == [0, 2, 4]
    meshes[2] = np.nan
    faces.spread[4] = 0.2
    assert fit_to_turn(faces, meshes).tolist() == [0]


def test_profiles_look_further_aside_and_are_the_same_again() -> None:
    faces, meshes = aside_faces()
    made = profiles(faces, meshes, 8)
    assert len(made) == 8
    yaw = np.degrees(np.abs(made.euler[:, 0]))
    assert yaw.min() > FROM_YAW
    assert yaw.max() <= LAST + 1e-3
    again = profiles(faces, meshes, 8)
    np.testing.assert_array_equal(made.images, again.images)
    np.testing.assert_array_equal(made.euler, again.euler)
    assert not np.array_equal(made.euler, profiles(faces, meshes, 8, seed=1).euler)


def test_without_meshes_there_are_no_profiles() -> None:
    faces = made_up_faces()
    assert len(profiles(faces, np.full((len(faces), 478, 2), np.nan, np.float32), 5)) == 0


def test_pose_batches_mix_in_their_share_of_profiles() -> None:
    plain = made_up_sampler()
    turned = replace(plain.faces, euler=np.full_like(plain.faces.euler, 1.4))
    sampler = Sampler(plain.faces, plain.backgrounds, profiles=turned)
    yaw = sampler.posed(np.random.default_rng(0), 400)["euler"][:, 0].abs()
    share = float((yaw > 0.8).float().mean())
    assert abs(share - PROFILE_SHARE) < 0.1


def test_pose_batches_with_profiles_are_reproducible() -> None:
    plain = made_up_sampler()
    sampler = Sampler(plain.faces, plain.backgrounds, profiles=plain.faces)
    a, b = (sampler.posed(np.random.default_rng(3), 8) for _ in range(2))
    assert (a["image"] == b["image"]).all()
    assert (a["euler"] == b["euler"]).all()
