"""The measures of signals: what turning changes, on heads that are known."""

from typing import Any

import numpy as np
import pytest

from atpn.faces.face import Face
from atpn.faces.signals import DOWNWARD, OUTWARD
from atpn.geometry import square
from atpn_training.data.faces import Faces
from atpn_training.score.signals import Looked, at_rest, changes, eyes, pupils, turning
from tests.heads import Head

ANGLES = [(yaw, pitch) for yaw in (-40, -20, 0, 20, 40) for pitch in (0, 20)]


def looked(heads: list[Head], angles: list[tuple[int, int]]) -> Looked:
    """Faces of heads that look in all these directions, one person a head."""
    faces = []
    for head in heads:
        for yaw, pitch in angles:
            points, _ = head.seen(yaw, pitch)
            pose = np.radians([yaw, pitch, 0]).astype(np.float32)
            faces.append(Face(square(96, 96, 144), points, 0.9, pose))
    count = len(faces)
    arrays: dict[str, Any] = {
        name: np.zeros(count, np.float32) for name in Faces.__dataclass_fields__
    }
    arrays["source"] = np.full(count, "pointing04")
    arrays["person"] = np.repeat([f"{i}" for i in range(len(heads))], len(angles))
    return Looked(faces, Faces(**arrays))


HEADS = [Head(), Head(left_eye=6, right_eye=6)]


def test_open_eyes_stay_as_they_are_in_their_own_planes_alone() -> None:
    people = looked(HEADS, ANGLES)
    own = eyes(people, OUTWARD, DOWNWARD)
    plain = eyes(people, 0, 0, corrected=False)
    assert changes(own, people.rows.person) == pytest.approx(0, abs=0.1)
    assert changes(plain, people.rows.person) > 5
    assert "in their own planes: 0.0 %" in turning(people)
    assert f"least in those that face ({OUTWARD}, {DOWNWARD}) outward" in turning(people)


def test_ratios_that_differ_by_a_tenth_are_a_tenth_from_their_median() -> None:
    ratios = np.array([[0.2, 0.3], [0.2, 0.3], [0.22, 0.27]])
    person = np.array(["a", "a", "a"])
    expected = 100 * (np.log(1.1) + -np.log(0.9)) / 6
    assert changes(ratios, person) == pytest.approx(expected)


def test_faces_at_rest_are_those_that_look_into_the_camera() -> None:
    told = at_rest(looked(HEADS, [(0, 0), (50, 0)]))
    assert told.startswith("2 faces")
    assert "left_eye: 0.21 0.23 0.25 0.28 0.29" in told


def test_pupils_that_follow_the_iris_do_so_wholly() -> None:
    heads = [Head(gaze=gaze) for gaze in (-4, -2, 0, 2, 4)]
    people = looked(heads, [(0, 0)])
    meshes = np.zeros((5, 478, 2), np.float32)
    for mesh, gaze in zip(meshes, (-4, -2, 0, 2, 4), strict=True):
        for (left, right), iris in (((33, 133), 468), ((362, 263), 473)):
            mesh[left], mesh[right], mesh[iris] = (-15, 0), (15, 0), (gaze, 0)
    assert "10 eyes move by 100 %" in pupils(people, meshes)
    assert "correlation 1.00" in pupils(people, meshes)
