"""Heads' directions are told from their yaw and pitch, and people are judged one by one."""

import csv
import math
from pathlib import Path

import numpy as np
import pytest

from atpn.geometry import euler_from_rotation, rotation_from_euler
from atpn_training.data.directions import directions
from atpn_training.score.people import QUESTIONS, People, in_turn, judged, main, tables
from tests.training.synthetic import write_data
from tests.training.test_judge import SHIPPED


def turned(azimuth: float, elevation: float, tilt: float) -> list[float]:
    """Yaw, pitch, roll of a head that turns aside, then nods, then tilts; degrees to radians."""
    about_vertical = rotation_from_euler(math.radians(azimuth), 0, 0)
    nod = rotation_from_euler(0, math.radians(elevation), 0)
    tilted = rotation_from_euler(0, 0, math.radians(tilt))
    return list(euler_from_rotation(about_vertical @ nod @ tilted))


@pytest.mark.parametrize("azimuth", [-75, -30, 0, 15, 60])
@pytest.mark.parametrize("elevation", [-60, 0, 30])
@pytest.mark.parametrize("tilt", [0, 20])
def test_a_head_that_turns_and_nods_points_where_it_was_turned(
    azimuth: float, elevation: float, tilt: float
) -> None:
    euler = np.array([turned(azimuth, elevation, tilt)], np.float32)
    found = np.degrees(directions(euler))
    np.testing.assert_allclose(found, [[azimuth, elevation]], atol=0.01)


def test_yaw_is_less_than_the_azimuth_of_a_head_that_looks_up() -> None:
    yaw, pitch, _ = np.degrees(turned(75, 30, 0))
    assert (round(yaw), round(pitch)) == (57, 66)


def asked_everything() -> People:
    """Two people who were asked for every direction."""
    steps = np.arange(-90, 91, 15.0)
    asked = np.array([(a, e) for a in steps for e in (-60, -30, -15, 0, 15, 30, 60)])
    count = len(asked)
    return People(
        crops=np.zeros((2 * count, 112, 112, 3), np.uint8),
        asked=np.tile(asked, (2, 1)),
        mesh=np.full((2 * count, 3), np.nan, np.float32),
        person=np.repeat(["2", "10"], count),
        trained=np.repeat([True, False], count),
    )


def test_a_persons_habit_is_no_error_from_the_persons_own_line() -> None:
    people = asked_everything()
    lazy = people.asked * [0.8, 0.5] + [4.0, 0.0]
    one = judged(lazy, people.asked, QUESTIONS[0])
    assert one is not None
    assert one.asked > 4
    assert one.own < 1e-6


def test_whoever_was_not_asked_is_left_out() -> None:
    asked = np.array([[0.0, 0], [15, 0], [30, 0]])
    assert judged(asked, asked, QUESTIONS[1]) is None


def test_persons_come_in_order_and_those_trained_on_have_a_mean_of_their_own() -> None:
    people = asked_everything()
    found = people.asked + np.where(people.trained, 3, 5)[:, None]
    rows = in_turn(found, people, QUESTIONS[0])
    assert list(rows) == [
        "person 2, trained on",
        "person 10",
        "mean of the trained on",
        "mean of the others",
    ]
    assert rows["mean of the trained on"].asked == pytest.approx(3)
    assert rows["person 10"].asked == pytest.approx(5)


def test_answers_in_the_asked_direction_have_no_error_whatever_yaw_and_pitch_are() -> None:
    people = asked_everything()
    euler = np.array([turned(a, e, 0) for a, e in people.asked], np.float32)
    text = tables({"true": euler}, people)
    assert text.count("| person 10 | 0.0 / 0.0 |") == len(QUESTIONS)


def test_the_command_judges_the_mesh_beside_the_networks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_data(tmp_path)
    with (tmp_path / "faces.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    trained, other = (row for row in rows if row["source"] == "pointing04")
    trained |= {"person": "1", "split": "train"}
    other |= {"person": "9"}
    with (tmp_path / "faces.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    monkeypatch.setattr("sys.argv", ["people", "--data", str(tmp_path), f"new={SHIPPED}"])
    main()
    assert "| mesh | new |" in capsys.readouterr().out
