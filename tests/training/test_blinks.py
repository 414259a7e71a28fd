"""Blinks of a clip are counted by the service's own rules and held against those seen by eye."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from atpn.engine.inference import Predictions
from atpn.geometry import Image, square
from atpn_training.score.blinks import HEADINGS, Closure, compared, counted, row, table, truth
from atpn_training.score.following import Follower
from tests import clips
from tests.conftest import FakeDetector
from tests.heads import Head, crop_of
from tests.test_docs import page, rows, section


class Blinker:
    """A network that sees one head, whose eyes close in some of its runs."""

    def __init__(self, closed: set[int]) -> None:
        self._closed = closed
        self._runs = 0

    def run(self, crops: Image) -> Predictions:
        """The same head in each crop."""
        shut = self._runs in self._closed
        self._runs += 1
        face = crop_of(Head(left_eye=3, right_eye=3) if shut else Head())
        count = len(crops)
        pose = np.zeros((count, 3), np.float32)
        return Predictions(np.tile(face, (count, 1, 1)), pose, np.full(count, 0.9, np.float32))


def test_closures_are_told_by_the_frames_of_the_clip(tmp_path: Path) -> None:
    clip = clips.video(tmp_path / "x.mp4", [clips.empty(i) for i in range(60)], fps=25)
    detector = FakeDetector(square(160, 160, 120))
    found, length = counted(Follower(Blinker({20, 21, 22, 40}), detector), clip)
    assert length == 60
    assert [(c.first, c.last) for c in found] == [(20, 22), (40, 40)]
    assert found[0].low == pytest.approx(0.1, abs=0.01)


def test_a_blink_is_found_missed_or_false_and_other_closures_count_neither_way() -> None:
    true = [Closure(10, 12), Closure(30, 31), Closure(50, 80, "long"), Closure(90, 90, "unclear")]
    found = [Closure(9, 14), Closure(40, 41), Closure(55, 56), Closure(91, 92)]
    count = compared(found, true, 100)
    assert count.pairs == ((found[0], true[0]),)
    assert (count.begins, count.ends) == ([-1], [2])
    assert count.missed == (true[1],)
    assert count.false == (found[1],)


def test_one_long_closure_is_not_taken_for_two_blinks() -> None:
    count = compared([Closure(10, 20)], [Closure(10, 12), Closure(18, 20)], 30)
    assert (len(count.pairs), len(count.missed)) == (1, 1)


def test_the_blinks_seen_by_eye_are_in_order_and_apart() -> None:
    for name, closures in truth().items():
        assert all(c.first <= c.last for c in closures), name
        for before, after in pairwise(closures):
            assert before.last < after.first, name
        assert {c.kind for c in closures} <= {"blink", "long", "unclear"}


def test_the_table_of_the_documentation_has_these_clips_and_blinks() -> None:
    seen = {
        f"`{name}`": str(sum(c.kind == "blink" for c in closures))
        for name, closures in truth().items()
    }
    told = rows(section(page("conventions"), "### Blinks that were counted by eye"))
    *each, together = told
    assert {cells[0]: cells[2] for cells in each} == seen
    assert int(together[2]) == sum(map(int, seen.values()))
    for column in (1, 2, 3, 4, 5):
        assert int(together[column]) == sum(int(cells[column]) for cells in each)
    for cells in told:
        assert int(cells[2]) == int(cells[3]) + int(cells[4])


def test_the_table_has_a_row_a_clip_and_one_for_all() -> None:
    count = compared([Closure(9, 14)], [Closure(10, 12)], 50)
    head, _, one, together = table({"x": count})
    assert [cell.strip() for cell in head.strip("|").split("|")] == list(HEADINGS)
    assert one == "| `x` | 50 | 1 | 1 | 0 | 0 | -1 (-1) | +2 (+2) |"
    assert together == row("all", [count])
