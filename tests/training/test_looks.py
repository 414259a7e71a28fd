"""The tables of what further looks gain, and of which faces a search misses."""

import numpy as np
import pytest

from atpn.engine.inference import Predictions
from atpn.geometry import Box, Image, square
from atpn_training.score import finds, looks
from atpn_training.score.finds import Seen
from atpn_training.score.looks import Boxed
from atpn_training.score.served import Model
from tests.training.synthetic import Array

FACE, ASIDE = Box(10, 10, 50, 50), Box(100, 100, 140, 140)


class OneFace:
    """A network that sees the same face in each crop, turned by a quarter where it is told to."""

    def __init__(self, face: Array) -> None:
        self.face, self.runs = face, 0

    def run(self, crops: Image) -> Predictions:
        """(N, 112, 112, 3) to the same."""
        count, self.runs = len(crops), self.runs + len(crops)
        pose = np.zeros((count, 3), np.float32)
        return Predictions(np.tile(self.face, (count, 1, 1)), pose, np.full(count, 0.9, np.float32))


@pytest.fixture
def upright() -> Array:
    """(98, 2): fills the crop as a tracked face does, eyes above the mouth."""
    down = np.linspace(1 / 6, 5 / 6, 98, dtype=np.float32)
    return np.stack([np.where(np.arange(98) % 2, down[0], down[-1]), down], 1)


@pytest.mark.parametrize(
    ("way", "turned", "again", "runs"),
    [
        ("one look", True, 0, 3),
        ("normal", False, 0, 3),
        ("normal", True, 3, 6),
        ("best", True, 3, 12),
    ],
)
def test_the_table_counts_faces_that_are_looked_at_again(
    way: str, turned: bool, again: int, runs: int, upright: Array
) -> None:
    network = OneFace(upright[:, ::-1].copy() if turned else upright)
    images = [np.zeros((60, 60, 3), np.uint8)] * 3
    faces = Boxed("made", images, [FACE] * 3, np.zeros((3, 98, 2), np.float32))
    points, count = looks.answered(Model(network), faces, [square(30, 30, 40)] * 3, way)
    assert points.shape == (3, 98, 2)
    assert (count, network.runs) == (again, runs)


def test_an_unsure_face_is_told_only_where_no_sure_one_is() -> None:
    seen = Seen([FACE, ASIDE], [0.8, 0.5], [0.95, 0.99])
    assert seen.answered(0.7, 0.6, 0.9) == [FACE]
    assert Seen([ASIDE], [0.5], [0.99]).answered(0.7, 0.6, 0.9) == [ASIDE]
    assert Seen([ASIDE], [0.5], [0.8]).answered(0.7, 0.6, 0.9) == []
    assert Seen([ASIDE], [0.5], [0.99]).answered(0.7, 1, 0.5) == []


def test_rows_count_what_is_missed_and_what_is_told_besides() -> None:
    faces = [
        (Seen([FACE], [0.8], [0.9]), FACE, "a"),
        (Seen([FACE], [0.5], [0.95]), FACE, "b"),
        (Seen([ASIDE], [0.9], [0.9]), FACE, "b"),
    ]
    others = [Seen([], [], []), Seen([FACE], [0.5], [0.6])]
    table = {name: tuple(rest) for name, *rest in finds.rows(0.7, faces, others)}
    assert table["sure alone"] == (2, 0, "b 2")
    assert table["0.6 of the threshold, 0.9"] == (1, 0, "b 1")
    assert table["0.6 of the threshold, 0.5"] == (1, 1, "b 1")
