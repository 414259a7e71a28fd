"""Several workers on one port: one sum of metrics, replaced when they die, drained together."""

import asyncio
import json
import os
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from unittest.mock import Mock

import httpx
import pytest
from websockets.asyncio.client import connect

import atpn.workers
from atpn.workers import Workers
from tests import clips
from tests.conftest import SettingsFactory
from tests.load import Streamed
from tests.server import Server, metric, running
from tests.stores import redis_server

STREAMS = 4


def children(pid: int) -> set[int]:
    """Processes that serve: those of the parent's children that run our code."""
    found = set()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
            command = (stat.parent / "cmdline").read_bytes()
        except OSError:
            continue
        if int(fields[1]) == pid and b"spawn_main" in command:
            found.add(int(stat.parent.name))
    return found


def kill(server: Server, pid: int) -> None:
    """End one worker as the kernel does when memory is short; return when another replaces it."""
    os.kill(pid, signal.SIGKILL)
    deadline = time.monotonic() + 60
    while len(children(server.process.pid) - {pid}) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.1)


def answered(server: Server) -> float:
    """Frames of streams that the service counted."""
    states = ("detected", "tracked", "resumed", "lost", "error")
    return sum(metric(server.url, f'atpn_frames_total{{state="{state}"}}') for state in states)


@asynccontextmanager
async def crowded(server: Server) -> AsyncIterator[list[Streamed]]:
    """Streams at work on both workers, ended with the block."""
    streams = [Streamed(faces=1) for _ in range(STREAMS)]
    ended = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        for stream in streams:
            group.create_task(stream.run(server.url, ended, pause_s=0.1))
        await all_answered(streams)
        yield streams
        ended.set()


async def all_answered(streams: list[Streamed], count: int = 5) -> None:
    """Return when each stream has so many answers more."""
    goals = [len(stream.frames) + count for stream in streams]
    async with asyncio.timeout(90):
        while any(len(s.frames) < goal for s, goal in zip(streams, goals, strict=True)):
            await asyncio.sleep(0.05)


@pytest.mark.long
async def test_streams_of_a_worker_that_is_killed_resume_on_another() -> None:
    with (
        redis_server() as store,
        running(workers="2", redis_url=store.url, redis_timeout_s="5") as server,
    ):
        async with crowded(server) as streams:
            victims = sorted(children(server.process.pid))
            # Which worker took which stream is chance: after both are gone, each has moved.
            for pid in victims:
                await asyncio.to_thread(kill, server, pid)
                await all_answered(streams)
            assert metric(server.url, "atpn_streams") == STREAMS
        for stream in streams:
            stream.check(killed=True)
            assert 1 <= stream.resumes <= len(victims)
        total = sum(len(stream.frames) for stream in streams)
        # What a worker counted before it was killed, answered or not, stays in the sum.
        assert total <= answered(server) <= total + STREAMS * len(victims)


@pytest.mark.long
async def test_without_redis_streams_of_a_worker_that_is_killed_begin_anew_and_are_told_so() -> (
    None
):
    with running(workers="2") as server:
        async with crowded(server) as streams:
            for pid in sorted(children(server.process.pid)):
                await asyncio.to_thread(kill, server, pid)
                await all_answered(streams)
        async with connect(server.track_url) as socket:
            token = json.loads(await socket.recv())["token"]
            await socket.send(clips.panning(1)[0])
            await socket.recv()
        for pid in sorted(children(server.process.pid)):
            kill(server, pid)
        async with connect(f"{server.track_url}?token={token}") as socket:
            hello = json.loads(await socket.recv())
        assert hello["state"] == "expired"
        assert hello["token"] != token
    for stream in streams:
        assert stream.resumes == 0
        assert {f.state for f in stream.frames} == {"detected", "tracked"}
        sessions = {
            f.session_id: [g for g in stream.frames if g.session_id == f.session_id]
            for f in stream.frames
        }
        assert len(sessions) in {2, 3}
        for frames in sessions.values():
            assert [f.seq for f in frames] == list(range(1, len(frames) + 1))


def test_workers_share_a_port_add_up_their_metrics_and_end_together(astronaut_jpeg: bytes) -> None:
    name = 'atpn_requests_total{route="/align",status="200"}'
    with running(workers="2") as server:
        pids = children(server.process.pid)
        assert len(pids) == 2
        seen = []
        for count in range(1, 9):
            # A new connection each time: either worker may take it.
            answer = httpx.post(
                f"{server.url}/align",
                content=astronaut_jpeg,
                headers={"content-type": "image/jpeg"},
                trust_env=False,
                timeout=30,
            )
            assert answer.status_code == 200
            seen.append(metric(server.url, name))
            assert seen[-1] == count
        info = 'atpn_model_info{name="atpn",provider="CPUExecutionProvider",version="1"}'
        assert metric(server.url, info) == 1

        kill(server, min(pids))
        assert metric(server.url, name) == 8  # counters never go back
        assert server.stop() == 0
        assert all(not Path(f"/proc/{pid}").exists() for pid in pids)


def test_workers_end_when_their_parent_is_killed() -> None:
    with running(workers="2") as server:
        pids = children(server.process.pid)
        assert len(pids) == 2
        server.kill()
    deadline = time.monotonic() + 60
    while any(Path(f"/proc/{pid}").exists() for pid in pids):
        assert time.monotonic() < deadline
        time.sleep(0.1)


def dying(
    settings: SettingsFactory, monkeypatch: pytest.MonkeyPatch
) -> tuple[Workers, list[float]]:
    """Two workers, each of which has ended whenever it is looked at, and a clock to set."""
    now = [0.0]
    workers = Workers(settings(workers=2), Mock())
    dead = Mock(pid=1, exitcode=-9, is_alive=lambda: False)
    monkeypatch.setattr(workers, "_start", lambda: dead)
    monkeypatch.setattr(atpn.workers, "mark_process_dead", Mock())
    monkeypatch.setattr(atpn.workers, "time", Mock(monotonic=lambda: now[0]))
    workers._running = [workers._start() for _ in range(2)]
    return workers, now


def test_a_worker_that_is_being_started_when_the_others_are_told_to_stop_is_told_too(
    settings: SettingsFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    listener = Mock()
    started: list[Mock] = []
    workers = Workers(settings(workers=3), listener)

    def start() -> Mock:
        process = Mock(exitcode=0)
        process.is_alive = lambda: not process.terminate.called
        started.append(process)
        if len(started) == 2:
            workers._on_signal(signal.SIGTERM, None)
        return process

    monkeypatch.setattr(workers, "_start", start)
    monkeypatch.setattr(signal, "signal", Mock())
    assert workers.run() == 0
    assert [process.terminate.call_count for process in started] == [1, 1]
    assert not any(process.kill.called for process in started)
    listener.close.assert_called_once()


def test_workers_that_die_now_and_then_are_replaced_for_ever(
    settings: SettingsFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    workers, now = dying(settings, monkeypatch)
    for _ in range(50):
        now[0] += 200
        workers._replace_dead()
    assert not workers._stopping.is_set()


def test_workers_that_keep_dying_are_given_up(
    settings: SettingsFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    workers, now = dying(settings, monkeypatch)
    for _ in range(3):
        assert not workers._stopping.is_set()
        now[0] += 5
        workers._replace_dead()
    assert workers._stopping.is_set()
    assert workers._keep_dying


def test_a_first_worker_that_cannot_start_ends_all(
    settings: SettingsFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    workers, _ = dying(settings, monkeypatch)
    workers._refusals.put("no model")
    workers._replace_dead()
    assert workers._stopping.is_set()


def test_a_later_worker_that_cannot_start_is_tried_again_beside_those_that_serve(
    settings: SettingsFactory, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    workers, now = dying(settings, monkeypatch)
    serving = Mock(pid=2, is_alive=lambda: True)
    workers._running[1] = serving
    workers._replace_dead()
    started = Mock(return_value=workers._running[0])
    monkeypatch.setattr(workers, "_start", started)
    workers._refusals.put("the model server does not answer")
    for second in range(1, 200):
        now[0] = float(second)
        if second % 20 == 19:  # it refuses again
            workers._refusals.put("the model server does not answer")
        workers._replace_dead()
        if second < 19:
            assert started.call_count == (second >= 1 + atpn.workers.RETRY_S)
            assert not workers._deaths or len(workers._deaths) == 1
        monkeypatch.setattr(workers._running[0], "is_alive", lambda: started.called)
        started.reset_mock() if second % 20 == 18 else None
    assert "the model server does not answer" in caplog.text
    assert not workers._stopping.is_set()
    serving.terminate.assert_not_called()
