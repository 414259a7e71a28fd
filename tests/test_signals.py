"""Signals are those of the face, however the head is turned; what is turned away is not told."""

from itertools import product

import numpy as np
import pytest
from numpy.typing import NDArray

from atpn.api.schemas import FaceAnswer
from atpn.client.results import Face as ClientFace
from atpn.faces.signals import AVERAGE, Rest, Signals, measured, signals_of
from atpn.landmarks import MIRROR
from tests.conftest import Service
from tests.heads import EYE, LIPS, NEAR, Head

TURNS = list(product([-30, -15, 0, 15, 30], [-15, 0, 20], [-25, 0, 25]))  # yaw, pitch, roll
BUSY = Head(left_eye=6, right_eye=6, lips=14, mouth=60, brows=22, gaze=4)


def told(head: Head, yaw: float = 0, pitch: float = 0, roll: float = 0) -> Signals:
    """The signals of a head turned by degrees, beside the average face."""
    return signals_of(measured(*head.seen(yaw, pitch, roll)), AVERAGE)


def numbers(signals: Signals) -> NDArray[np.float64]:
    """All of them: the eyes' first, the pupils', the mouth's, smile and brows."""
    left, right = signals.left_eye, signals.right_eye
    assert left.pupil is not None
    assert right.pupil is not None
    rest = (signals.mouth_open, signals.smile, signals.brow_raise)
    return np.array([left.open, right.open, *left.pupil, *right.pupil, *rest], np.float64)


def test_a_face_at_rest_has_open_eyes_and_no_expression() -> None:
    seen = told(Head())
    assert (seen.left_eye.open, seen.right_eye.open) == pytest.approx((1, 1), abs=0.1)
    assert (seen.mouth_open, seen.smile, seen.brow_raise) == pytest.approx((0, 0, 0), abs=0.1)
    assert seen.left_eye.pupil == pytest.approx((0, 0), abs=0.02)


def test_each_signal_follows_its_own_part_alone() -> None:
    rest = told(Head())
    lips, smile, brows = Head(lips=18), Head(mouth=60), Head(brows=27)
    assert told(Head(left_eye=5)).left_eye.open == pytest.approx(0.21, abs=0.01)
    assert told(Head(left_eye=5)).right_eye == rest.right_eye
    assert told(lips).mouth_open == pytest.approx(18 / LIPS, abs=0.01)
    assert told(smile).smile == pytest.approx((60 / 64 - AVERAGE.mouth_width) / 0.2, abs=0.01)
    assert told(brows).brow_raise > 0.5  # type: ignore[operator]
    assert [told(head).left_eye.open for head in (lips, smile, brows)] == [rest.left_eye.open] * 3


@pytest.mark.parametrize(("yaw", "pitch", "roll"), TURNS)
def test_turning_the_head_changes_nothing(yaw: float, pitch: float, roll: float) -> None:
    np.testing.assert_allclose(
        numbers(told(BUSY, yaw, pitch, roll)), numbers(told(BUSY)), atol=2e-3
    )


@pytest.mark.parametrize(("yaw", "pitch", "roll"), TURNS)
def test_a_webcam_at_60_cm_changes_little(yaw: float, pitch: float, roll: float) -> None:
    """Perspective is left out of the sums: docs/conventions.md has these tolerances."""
    near = signals_of(measured(*BUSY.seen(yaw, pitch, roll, NEAR)), AVERAGE)
    off = np.abs(numbers(near) - numbers(told(BUSY)))
    eyes, pupils, (mouth, smile, brows) = off[:2], off[2:6], off[6:]
    assert (eyes < 0.06).all()
    assert (pupils < 0.05).all()
    assert mouth < 0.05
    assert smile < 0.35
    assert brows < 0.15


def test_a_face_that_lies_on_its_side_is_measured_as_an_upright_one() -> None:
    np.testing.assert_allclose(numbers(told(BUSY, roll=90)), numbers(told(BUSY)), atol=2e-3)


def test_uncorrected_the_same_turns_would_change_them() -> None:
    """The test above can fail: without the rotation a turned eye seems wider open."""
    points, _ = Head(left_eye=5, right_eye=5).seen(yaw=40)
    ahead = told(Head(left_eye=5, right_eye=5)).left_eye.open
    seen = signals_of(measured(points, np.eye(3)), AVERAGE).left_eye.open
    assert seen is not None
    assert ahead is not None
    assert seen > ahead + 0.2


def test_a_mirrored_face_swaps_left_and_right() -> None:
    head = Head(left_eye=5, right_eye=8, lips=5, gaze=4)
    points, rotation = head.seen(yaw=25, pitch=10)
    flip = np.diag([-1.0, 1.0, 1.0])
    mirrored = (points * (-1, 1) + (640, 0)).astype(np.float32)[MIRROR]
    a = signals_of(measured(points, rotation), AVERAGE)
    b = signals_of(measured(mirrored, flip @ rotation @ flip), AVERAGE)
    assert b.left_eye.open == pytest.approx(a.right_eye.open, abs=1e-4)
    assert b.right_eye.open == pytest.approx(a.left_eye.open, abs=1e-4)
    assert a.right_eye.pupil is not None
    assert b.left_eye.pupil == pytest.approx(
        (-a.right_eye.pupil[0], a.right_eye.pupil[1]), abs=1e-4
    )
    assert b.smile == pytest.approx(a.smile, abs=1e-4)


def test_an_eye_that_is_turned_away_is_not_told_and_the_other_is() -> None:
    seen = told(Head(), yaw=47)  # the nose points to the image's left: so does the left eye
    assert (seen.left_eye.open, seen.left_eye.pupil) == (None, None)
    assert seen.right_eye.open == pytest.approx(1, abs=0.1)
    profile = told(Head(), yaw=-70)
    assert (profile.left_eye.open, profile.right_eye.open) == (None, None)
    assert (profile.mouth_open, profile.smile, profile.brow_raise) == (None, None, None)


def test_just_before_it_is_turned_away_it_is_told() -> None:
    assert told(Head(), yaw=44).left_eye.open is not None
    assert told(Head(), yaw=-67).left_eye.open is not None
    seen = told(Head(), yaw=58)
    assert seen.smile is not None
    assert seen.brow_raise is None


def test_a_covered_pupil_is_not_told() -> None:
    seen = told(Head(left_eye=3.5, gaze=5))
    assert seen.left_eye.pupil is None
    assert seen.right_eye.pupil == pytest.approx((5 / (EYE / 2), 0), abs=0.02)


def test_another_face_at_rest_is_another_measure() -> None:
    ratios = measured(*Head(left_eye=6).seen())
    narrow = Rest(open_eye=0.2, closed_eye=0.08, mouth_width=0.9, brows=0.4)
    assert signals_of(ratios, narrow).left_eye.open == 1
    assert signals_of(ratios, AVERAGE).left_eye.open == pytest.approx(0.41, abs=0.01)


def test_points_that_fall_together_are_no_error() -> None:
    seen = signals_of(measured(np.zeros((98, 2), np.float32), np.eye(3)), AVERAGE)
    assert seen.left_eye.open == 0


async def test_align_and_pose_tell_the_signals_that_are_asked_for(
    service: Service, astronaut_jpeg: bytes
) -> None:
    for path, there in [
        ("/align?include=signals", {"landmarks", "signals"}),
        ("/align?include=pose,signals&points=5", {"landmarks", "pose", "signals"}),
        ("/align?include=signals&include=pose", {"landmarks", "pose", "signals"}),
        ("/align?include=pose", {"landmarks", "pose"}),
        ("/pose?include=signals", {"pose", "signals"}),
        ("/pose", {"pose"}),
    ]:
        (face,) = (await service.post(path, astronaut_jpeg)).json()["faces"]
        assert face.keys() - {"box", "confidence"} == there, path
        FaceAnswer.model_validate(face)


async def test_the_astronaut_smiles_with_open_eyes(service: Service, astronaut_jpeg: bytes) -> None:
    answer = await service.post("/align?include=signals", astronaut_jpeg)
    signals = ClientFace(answer.json()["faces"][0]).signals
    assert signals.smile is not None
    assert signals.smile > 0.4
    assert signals.left_eye.open is not None
    assert signals.left_eye.open > 0.8
    assert signals.right_eye.pupil is not None
    assert abs(signals.right_eye.pupil[0]) < 0.3
    assert "smile" in repr(signals)


async def test_an_unknown_part_is_refused(service: Service, astronaut_jpeg: bytes) -> None:
    answer = await service.post("/align?include=pose,hat", astronaut_jpeg)
    assert answer.status_code == 422
    assert "include" in answer.json()["detail"]
