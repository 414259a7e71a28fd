"""The race's arithmetic: what wrk tells, ratios, tables, and that unlike answers end it."""

import asyncio
import json
import struct
from pathlib import Path

import numpy as np
import pytest
from loadtests import bodies, contestants, processes, race, standings, streams, wrk
from loadtests.client import steady
from loadtests.open_loop import Crowd

RESULT = 'result {"answers": 300, "wall_s": 3.0, "failed": 0, "p50_ms": 9.5, "p99_ms": 20.25}'


def points(right_eye_x: float = 100.0) -> contestants.Landmarks:
    """98 landmarks, the eyes' outer corners so far apart."""
    found = np.zeros((98, 2))
    found[contestants.RIGHT_EYE, 0] = right_eye_x
    return found


def answer(found: contestants.Landmarks) -> bytes:
    """What a server says of them."""
    face = {"landmarks": found.tolist(), "pose": {"yaw": 0.0}}
    return json.dumps({"faces": [face]}).encode().replace(b'{"faces": ', b'{"faces":')


def a_race(tmp_path: Path) -> race.Race:
    return race.Race(1.0, race.LOADS, tmp_path)


def record(
    who: str, number: int, per_s: float, load: str = "given", clients: int = 16
) -> race.Record:
    """One measurement of a server."""
    return {
        **{"who": who, "round": number, "load": load, "clients": clients, "per_s": per_s},
        **{"p50_ms": 5.0, "p99_ms": 9.0, "cpu_ms": 4.0, "client_cpu_ms": 1.0, "memory_mb": 100.0},
        **{"others_share": 0.01, "threads_cpu_ms": {"main python": 1.5}},
    }


def parts(number: int) -> race.Record:
    return {"who": "parts", "round": number, "decode_ms": 1.0, "network_ms": 2.0}


def test_wrks_result_is_found_among_its_other_lines() -> None:
    told = wrk.parsed(f"Running 3s test\n  Latency 9.5ms\n{RESULT}\n")
    assert told == wrk.Answers(300, 3.0, 0, 9.5, 20.25)
    assert told.per_s == 100


@pytest.mark.parametrize(
    "output",
    ["Running 3s test\n", RESULT.replace('"failed": 0', '"failed": 1'), RESULT.replace("300", "0")],
)
def test_a_run_without_result_or_with_a_failed_answer_is_an_error(output: str) -> None:
    with pytest.raises(RuntimeError):
        wrk.parsed(output)


def test_a_server_that_answers_other_landmarks_ends_the_race(tmp_path: Path) -> None:
    running = a_race(tmp_path)
    race.check(running, "atpn", "given", answer(points()))
    almost, other = points(), points()
    almost[5, 1], other[5, 1] = 0.4, 0.6  # of 100 pixels between the eyes
    race.check(running, "script", "given", answer(almost))
    with pytest.raises(RuntimeError, match=r"mosec answers other landmarks: one lies 0.60%"):
        race.check(running, "mosec", "given", answer(other))


@pytest.mark.parametrize(
    "body", [b'{"faces":[]}', b'{"faces":[{"landmarks":[[1,2]],"pose":{}}]}', b'{"detail":"no"}']
)
def test_an_answer_without_one_whole_face_is_an_error(body: bytes) -> None:
    with pytest.raises(ValueError, match="expected"):
        contestants.landmarks(body)


def test_tritons_header_before_the_answer_is_passed_over() -> None:
    found = contestants.landmarks(b'{"outputs":[]}\x10\0\0\0' + answer(points(7)))
    assert found[contestants.RIGHT_EYE, 0] == 7


def test_ratios_are_taken_within_each_round_that_both_have() -> None:
    ours = [record("atpn", 0, 300), record("atpn", 1, 200)]
    theirs = [record("script", 0, 100), record("script", 2, 1)]
    assert standings.ratios(ours, theirs) == [3.0]


def test_the_page_has_a_row_a_server_and_sets_the_best_peer_against_the_goals() -> None:
    records = [
        *(parts(number) for number in (0, 1)),
        *(record("atpn", number, 260 + 20 * number) for number in (0, 1)),
        *(record("script", number, 100) for number in (0, 1)),
        *(record("mosec", number, 200) for number in (0, 1)),
        *(record("atpn", number, 330, "track") for number in (0, 1)),
        {**record("atpn", 0, 90, "track", 1), "p50_ms": 4.25},
    ]
    result = {"machine": {"cpu": "X", "cores": 2}, "seconds": 5, "records": records}
    page = standings.page(result, {"atpn": "ours", "script": "a", "mosec": "b"})
    assert "| **atpn**, ours | 270 (260-280) |  | 5.0 · 9.0 | 4.00 | 100 |" in page
    assert "| script, a | 100 (100-100) | 2.70 (2.60-2.80) |" in page
    assert "| 16 clients ÷ the best peer (mosec) | >= 1.3 | 1.35 (1.30-1.40) |" in page
    assert "| frames of 16 streams ÷ the best peer's photos (mosec) | >= 1.5 | 1.65" in page
    assert "| one stream's p50 - decoding - network | <= 1.5 ms | 1.25 |" in page
    assert "main python 1.50" in page
    assert "measure again" not in page


def test_the_page_says_where_other_processes_disturbed_the_race() -> None:
    records = [parts(0), {**record("atpn", 0, 100), "others_share": 0.3}]
    result = {"machine": {"cpu": "X", "cores": 2}, "seconds": 5, "records": records}
    assert "Other processes used up to 30% of the cores" in standings.page(result, {"atpn": ""})


def test_the_picture_is_640_by_480_of_about_75_kb_and_always_the_same() -> None:
    picture = bodies.picture()
    assert 70_000 < len(picture) < 80_000
    bodies.picture.cache_clear()
    assert bodies.picture() == picture


def test_a_request_on_the_wire_tells_the_length_of_its_body() -> None:
    head, _, body = bodies.packed("/x").on_the_wire().partition(b"\r\n\r\n")
    assert head.startswith(b"POST /x HTTP/1.1\r\nHost: ")
    assert f"Content-Length: {len(body)}".encode() in head
    assert struct.unpack_from("<4f", body) == pytest.approx(bodies.BOX, abs=1e-3)


@pytest.mark.parametrize("size", [0, 125, 126, 65535, 65536])
def test_a_frame_of_any_size_is_taken_off_the_buffer_when_all_of_it_is_there(size: int) -> None:
    sent = streams.masked(b"x" * size)
    head = len(sent) - size - 4  # a server's frames are not masked
    frame = bytes([sent[0], sent[1] & 0x7F]) + sent[2:head] + b"x" * size
    assert streams.unframed(bytearray(frame[:-1])) is None
    buffer = bytearray(frame + b"next")
    assert streams.unframed(buffer) == (streams.BINARY, b"x" * size)
    assert buffer == b"next"


def test_a_tree_of_processes_is_the_root_and_all_that_descends_from_it() -> None:
    def child_of(parent: int) -> processes.Task:
        return processes.Task("python", parent, 0.0)

    running = {1: child_of(0), 2: child_of(1), 3: child_of(2), 4: child_of(1), 5: child_of(9)}
    assert sorted(processes.tree(2, running)) == [2, 3]
    assert sorted(processes.tree(1, running)) == [1, 2, 3, 4]
    assert processes.tree(7, running) == []


def test_the_rate_of_an_overload_is_that_of_its_steady_part() -> None:
    """100 answers a second from 0.4 s on, and half a second of queue behind the last request."""
    came_at = [0.4 + 0.01 * i for i in range(210)]
    assert steady(came_at, 2.0, 0.5) == pytest.approx(100, rel=0.02)
    assert steady(came_at, 0.8, 0.5) == pytest.approx(100, rel=0.04)
    assert steady([], 1.0, 0.5) == 0


async def test_callers_count_what_is_in_time_what_is_refused_and_what_is_late() -> None:
    statuses = [b"200", b"503", None]

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(1):
            if status := statuses.pop(0):
                writer.write(b"HTTP/1.1 %b X\r\nX-Content-Length: 9\r\n" % status)
                writer.write(b"Content-Length: 2\r\n\r\nok")
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        crowd = Crowd(server.sockets[0].getsockname()[1], b"?", deadline_s=0.3)
        for _ in range(3):
            await crowd.call()
    assert (len(crowd.in_time_ms), crowd.refused, crowd.late) == (1, 1, 1)
    assert crowd.free == []  # the late one hung up
