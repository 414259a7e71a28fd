"""What the labels are made of: hand labels of another scheme, a teacher that can miss, a mesh."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from atpn.landmarks import EXACT_68
from atpn_training.data.faces import load_faces
from atpn_training.data.labels import TEACHER_ASIDE, calibrated, hand_targets
from atpn_training.data.scenes import scrambled
from tests.training.synthetic import write_data

Array = NDArray[np.float32]
INNER = [(i68, i98) for i68, i98 in EXACT_68 if i68 >= 27]  # neither contour nor brows


def people(count: int) -> tuple[Array, Array]:
    """Faces of one shape in many places and sizes: 98 points, and the 68 that map by name."""
    rng = np.random.default_rng(3)
    shape = rng.uniform(-1, 1, (98, 2)) * 20
    shape[60:76, 1], shape[76:96, 1] = -25, 25  # eyes above the mouth
    size = rng.uniform(0.7, 1.3, (count, 1, 1))
    teacher = (shape + rng.normal(0, 0.5, (count, 98, 2))) * size + 96
    hand = np.repeat(teacher[:, :68], 1, axis=1).copy()
    for i68, i98 in EXACT_68:
        hand[:, i68] = teacher[:, i98]
    eyes = {37: (60, 62), 38: (62, 64), 40: (64, 66), 41: (60, 66)}
    eyes |= {43: (68, 70), 44: (70, 72), 46: (72, 74), 47: (68, 74)}
    for i68, (a, b) in eyes.items():
        hand[:, i68] = (teacher[:, a] + teacher[:, b]) / 2
    return teacher.astype(np.float32), hand.astype(np.float32)


def test_a_difference_that_all_faces_share_is_the_scheme_not_the_face() -> None:
    """Lip points that 300W places elsewhere do not move the target; a real difference does."""
    teacher, hand = people(40)
    hand[:, 57, 1] += 2.0  # everybody's lower lip: the scheme
    hand[5, 33] += 3.0  # one nose: what the annotator saw and the teacher did not
    targets, usable = hand_targets(teacher, hand)
    by_name = dict(EXACT_68)
    moved = np.linalg.norm(targets - teacher, axis=2)
    assert usable.all()
    assert moved[:, by_name[57]].max() < 1.0
    assert moved[5, by_name[33]] > 3.0


def test_where_the_teacher_missed_the_face_the_hand_places_all_points() -> None:
    teacher, hand = people(40)
    truth = teacher[7].copy()
    teacher[7] += 20.0
    targets, usable = hand_targets(teacher, hand)
    assert usable[7]
    assert np.linalg.norm(targets[7] - truth, axis=1).mean() < 3.0


def test_a_face_that_hand_and_teacher_see_in_different_places_is_not_used() -> None:
    teacher, hand = people(40)
    teacher[7] += 100.0
    assert not hand_targets(teacher, hand)[1][7]


def test_the_meshs_yaw_is_stretched_at_large_angles_and_mixed_with_where_people_looked() -> None:
    mesh = np.radians([[10, 4, 3], [55, 0, 0], [-55, 0, 0], [55, 8, 1]]).astype(np.float32)
    looked = np.full((4, 2), np.nan, np.float32)
    looked[3] = np.radians([90, 30])
    euler = np.degrees(calibrated(mesh, looked))
    np.testing.assert_allclose(euler[0], [10, 4, 3], atol=1e-4)
    np.testing.assert_allclose(euler[1:3, 0], [67, -67], atol=1e-4)
    np.testing.assert_allclose(euler[3], [67 + 0.9 * 23, 8 + 0.5 * 22, 1], atol=1e-3)


def test_a_scrambled_face_has_all_its_pixels_and_not_their_places() -> None:
    images = np.random.default_rng(0).integers(0, 256, (3, 192, 192, 3)).astype(np.uint8)
    made = scrambled(images, 5)
    assert len(made) == 5
    for picture in made:
        of = [np.array_equal(np.sort(picture, axis=None), np.sort(i, axis=None)) for i in images]
        assert sum(of) == 1
        assert not any(np.array_equal(picture, image) for image in images)
    assert all(np.array_equal(a, b) for a, b in zip(made, scrambled(images, 5), strict=True))


def test_a_picture_for_validation_is_not_trained_on_under_another_name(tmp_path: Path) -> None:
    write_data(tmp_path)
    listed = (tmp_path / "faces.csv").read_text().splitlines()
    for i in (4, 5, 7):  # of eight, all for validation
        listed[1 + i] = listed[1 + i].replace(",val,", ",train,")
    (tmp_path / "faces.csv").write_text("\n".join(listed))
    assert len(load_faces(tmp_path, "train")) == 3
    shutil.copy(tmp_path / "faces/lfpw/0.jpg", tmp_path / "faces/pointing04/4.jpg")
    assert len(load_faces(tmp_path, "train")) == 2
    assert len(load_faces(tmp_path, "val")) == 5


def test_the_teachers_points_are_moved_for_training_alone(tmp_path: Path) -> None:
    write_data(tmp_path)
    labels = dict(np.load(tmp_path / "labels.npz"))
    judged = load_faces(tmp_path, "val")
    assert (judged.teacher == labels["teacher98"]).all()
    listed = (tmp_path / "faces.csv").read_text()
    (tmp_path / "faces.csv").write_text(listed.replace(",val,", ",train,"))
    learned = load_faces(tmp_path, "train")
    moved = learned.points - labels["teacher98"]
    assert moved[learned.source == "web"][..., 0] == pytest.approx(TEACHER_ASIDE, abs=1e-4)
    assert moved[learned.source == "web"][..., 1] == pytest.approx(0, abs=1e-4)
    by_hand = learned.source == "wflw30"
    assert (learned.points[by_hand] == labels["hand98"][by_hand]).all()
