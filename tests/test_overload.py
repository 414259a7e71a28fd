"""Cameras that send at their own rate are counted; what overload did is told and drawn."""

from pathlib import Path

import pytest
from loadtests.bodies import picture
from loadtests.cameras import load
from loadtests.overload import (
    FACTORS,
    LIMITED,
    PICTURE,
    PLAIN,
    SCRIPT,
    Photographs,
    Streams,
    draw,
    page,
    points,
    promise,
)
from loadtests.race import Record
from loadtests.served import service

DEADLINE_S = 5.0  # far beyond a frame, on a machine that is busy with other tests


async def test_every_frame_of_a_camera_is_answered_in_time_below_the_capacity() -> None:
    with service() as server:
        told = await load(server.port, 2, 10.0, 1.0, DEADLINE_S, picture())
    assert told["offered"] == 10
    # On a busy machine a frame may be replaced by the next one.
    assert 3 <= told["in_time"] <= 10
    assert told["refused"] == told["late"] == told["failed"] == 0
    assert 0 < told["in_time_per_s"] <= 2 * told["in_time"]
    assert told["p99_ms"] > 0


async def test_frames_of_streams_that_are_not_let_in_are_refused() -> None:
    with service(max_streams="1") as server:
        told = await load(server.port, 2, 10.0, 1.0, DEADLINE_S, picture())
    assert told["refused"] == 5
    assert 1 <= told["in_time"] <= 5


async def test_an_answer_after_the_deadline_is_late() -> None:
    with service() as server:
        told = await load(server.port, 1, 5.0, 1.0, 1e-6, picture())
    assert (told["in_time"], told["p99_ms"]) == (0, 0)


async def test_a_frame_that_is_no_picture_has_failed() -> None:
    with service() as server:
        told = await load(server.port, 1, 5.0, 1.0, DEADLINE_S, b"no picture")
    assert told["failed"] >= 1
    assert told["in_time"] == 0


def record(what: str, who: str, factor: float, of_capacity: float) -> Record:
    """One point of a curve."""
    return {
        "what": what,
        "who": who,
        "factor": factor,
        "capacity": 400.0,
        "of_capacity": of_capacity,
        "in_time_per_s": 400.0 * of_capacity,
        "p99_ms": 40.0 * factor,
        "refused": 0.25,
        "late": 0.125,
        "load_share": 0.3,
        "others_share": 0.02,
    }


def measured(at_twice: float) -> list[Record]:
    """Two rounds of all curves; photographs of atpn as given at twice the capacity."""
    whos = [("photographs", who) for who in (PLAIN, LIMITED, SCRIPT)]
    whos += [("streams", who) for who in (PLAIN, LIMITED)]
    return [
        record(what, who, factor, at_twice + step if factor == 2 else 0.5)
        for step in (-0.01, 0.01)
        for what, who in whos
        for factor in FACTORS
    ]


@pytest.mark.parametrize(("at_twice", "word"), [(0.95, "kept"), (0.86, "missed")])
def test_the_promise_is_kept_or_missed_with_its_figure(at_twice: float, word: str) -> None:
    text = promise(measured(at_twice))
    assert word in text
    assert f"{at_twice:.2f} ({at_twice - 0.01:.2f}-{at_twice + 0.01:.2f})" in text


def test_the_page_has_every_server_and_says_what_else_ran() -> None:
    text = page(measured(0.9), 2.5)
    rows = [line for line in text.splitlines() if line.startswith(("| atpn", "| FastAPI"))]
    assert len(rows) == 5
    assert "| 400 (400-400) |" in rows[0]
    assert "2 rounds of 2.5 s" in text
    assert "others 2% (2%-2%) of the cores" in text


def test_a_point_is_the_median_of_its_rounds() -> None:
    found = points(measured(0.9), "photographs", PLAIN)
    assert [point["factor"] for point in found] == [*FACTORS]
    assert found[FACTORS.index(2.0)]["of_capacity"] == pytest.approx(0.9)
    assert points(measured(0.9), "streams", SCRIPT) == []


def test_a_limit_is_the_capacity() -> None:
    assert Photographs().limits(412.4)["ATPN_RATE_LIMIT_PER_S"] == "412"
    assert Streams().limits(300.0) == {"ATPN_MAX_STREAMS": "20"}


def test_the_picture_is_small(tmp_path: Path) -> None:
    draw(measured(0.9), tmp_path / "overload.svg")
    assert (tmp_path / "overload.svg").stat().st_size < 150_000
    assert PICTURE.stat().st_size < 150_000
