"""/track from outside: a real service process, a real WebSocket client, real faces."""

import asyncio
import hashlib
import json
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import httpx
import msgpack
import numpy as np
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.frames import Frame, Opcode
from websockets.typing import Subprotocol

from atpn.faces.stream import Stream, rules_of
from atpn.faces.tracking import State, wants_detection
from tests import clips
from tests.conftest import FakeServiceFactory
from tests.server import Server, running
from tests.stores import RedisServer, redis_server

Message = dict[str, Any]


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """One service with in-process sessions."""
    with running(max_frame_bytes="200000", max_streams="8") as started:
        yield started


@pytest.fixture(scope="module")
def redis() -> Iterator[RedisServer]:
    """A real Redis-compatible server."""
    with redis_server() as started:
        yield started


async def received(socket: ClientConnection) -> Message:
    async with asyncio.timeout(10):
        return json.loads(await socket.recv())  # type: ignore[no-any-return]


@asynccontextmanager
async def stream(
    server: Server, token: str | None = None
) -> AsyncIterator[tuple[ClientConnection, Message]]:
    """An open stream and the service's first message."""
    url = server.track_url + (f"?token={token}" if token else "")
    async with connect(url, subprotocols=[Subprotocol("atpn.v1.json")], max_size=None) as socket:
        yield socket, await received(socket)


async def answered(socket: ClientConnection, frame: bytes) -> Message:
    """Send one frame and wait for its answer."""
    await socket.send(frame)
    return await received(socket)


def ids(answer: Message) -> list[int]:
    return [face["track_id"] for face in answer["faces"]]


async def test_the_first_message_tells_the_session_its_token_the_model_and_the_limits(
    server: Server,
) -> None:
    async with stream(server) as (socket, hello):
        assert socket.subprotocol == "atpn.v1.json"
    assert hello["type"] == "session"
    assert hello["state"] == "new"
    assert len(hello["token"]) >= 43
    assert hello["session_id"] not in hello["token"]
    assert hello["model"]["name"] == "atpn"
    assert hello["limits"]["max_frame_bytes"] == 200000


async def test_a_moving_face_is_detected_once_and_then_tracked_under_one_id(
    server: Server,
) -> None:
    async with stream(server) as (socket, _):
        answers = [await answered(socket, frame) for frame in clips.panning(60)]
    assert [a["seq"] for a in answers] == list(range(1, 61))
    assert answers[0]["state"] == "detected"
    assert {a["state"] for a in answers[1:]} == {"tracked"}
    assert {tuple(ids(a)) for a in answers} == {(1,)}
    assert all(a["faces"][0]["confidence"] >= 0.7 for a in answers)


async def test_the_region_of_a_frame_is_the_last_upright_landmark_rectangle_plus_a_quarter(
    server: Server,
) -> None:
    async with stream(server) as (socket, _):
        first, second = [await answered(socket, frame) for frame in clips.panning(2)]
    points = np.array(first["faces"][0]["landmarks"])
    down = points[76:96].mean(0) - points[60:76].mean(0)
    angle = np.arctan2(-down[0], down[1])
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    low, high = (points @ turn.T).min(0), (points @ turn.T).max(0)
    side = (high - low).max() * 1.5
    centre = turn.T @ ((low + high) / 2)
    expected = [*(centre - side / 2), *(centre + side / 2)]
    assert second["faces"][0]["roi"] == pytest.approx(expected, abs=0.1)
    assert second["faces"][0]["roi_angle"] == pytest.approx(np.degrees(angle), abs=0.1)


async def test_msgpack_carries_the_same_messages(server: Server) -> None:
    frame = clips.panning(1)[0]
    async with stream(server) as (socket, _):
        plain = await answered(socket, frame)
    subprotocols = [Subprotocol("unknown"), Subprotocol("atpn.v1.msgpack")]
    async with connect(server.track_url, subprotocols=subprotocols) as packed:
        assert packed.subprotocol == "atpn.v1.msgpack"
        hello = msgpack.unpackb(await packed.recv())
        assert hello["type"] == "session"
        await packed.send(frame)
        answer = msgpack.unpackb(await packed.recv())
        await packed.send("not JSON")
        error = msgpack.unpackb(await packed.recv())
    assert answer["faces"] == plain["faces"]
    assert answer.keys() == plain.keys()
    assert error["code"] == "invalid_request"


async def test_smoothed_points_come_beside_the_raw_ones_where_they_are_asked_for(
    server: Server,
) -> None:
    frames = clips.panning(12)
    async with stream(server) as (socket, _):
        assert "smoothed" not in (await answered(socket, frames[0]))["faces"][0]
        await socket.send(json.dumps({"type": "config", "smoothing": True, "points": 68}))
        faces = [(await answered(socket, frame))["faces"][0] for frame in frames]
    assert faces[0]["smoothed"] == faces[0]["landmarks"]
    raw, smooth = (np.array([f[name] for f in faces]) for name in ("landmarks", "smoothed"))
    assert smooth.shape == raw.shape == (12, 68, 2)
    assert 0 < np.abs(smooth - raw).mean() < 10


async def test_a_face_that_was_found_again_is_of_the_next_generation(server: Server) -> None:
    frame = clips.panning(1)[0]
    async with stream(server) as (socket, _):
        first = await answered(socket, frame)
        await answered(socket, clips.empty())
        again = await answered(socket, frame)
    assert [(f["track_id"], f["generation"]) for f in first["faces"]] == [(1, 1)]
    assert [(f["track_id"], f["generation"]) for f in again["faces"]] == [(1, 2)]


async def test_an_old_stream_is_asked_to_reconnect_and_resumes() -> None:
    frame = clips.panning(1)[0]
    with running(stream_max_age_s="1.5") as server:
        async with stream(server) as (socket, hello):
            await answered(socket, frame)
            closing = await received(socket)
            assert (closing["type"], closing["reason"]) == ("closing", "reconnect")
            await socket.wait_closed()
            assert socket.close_code == 1012
        async with stream(server, hello["token"]) as (socket, again):
            assert again["state"] == "resumed"


async def test_two_faces_keep_two_ids(server: Server) -> None:
    async with stream(server) as (socket, _):
        answers = [await answered(socket, clips.two_faces()) for _ in range(5)]
    assert [sorted(ids(a)) for a in answers] == [[1, 2]] * 5
    assert len({face["box"][0] // 320 for face in answers[-1]["faces"]}) == 2


async def test_a_face_that_leaves_is_lost_and_gets_its_id_back_when_it_returns(
    server: Server,
) -> None:
    face = clips.panning(3)
    async with stream(server) as (socket, _):
        for frame in face:
            await answered(socket, frame)
        gone = [await answered(socket, clips.empty(i)) for i in range(3)]
        back = await answered(socket, face[-1])
    assert [a["state"] for a in gone] == ["lost"] * 3
    assert all(a["faces"] == [] for a in gone)
    assert back["state"] == "detected"
    assert ids(back) == [1]


async def test_a_bad_frame_is_an_error_of_its_own_and_the_stream_lives(server: Server) -> None:
    good = clips.panning(2)
    async with stream(server) as (socket, _):
        await answered(socket, good[0])
        for bad, code in [
            (b"", "invalid_image"),
            (b"no image at all", "invalid_image"),
            (good[0][: len(good[0]) // 2], "invalid_image"),
            (b"x" * 200001, "too_many_bytes"),
        ]:
            answer = await answered(socket, bad)
            assert (answer["type"], answer["code"]) == ("error", code)
        assert (await answered(socket, good[1]))["state"] == "tracked"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "not JSON",
        "[]",
        "{}",
        '{"type": "dance"}',
        '{"type": "config", "max_faces": 0}',
        '{"type": "config", "points": 97}',
        '{"type": "config", "include": ["smell"]}',
        '{"type": "config", "fps": 0}',
        '{"type": "config", "unknown": 1}',
        '{"type": "config", "min_confidence": NaN}',
        "[" * 5000,
        '{"type": "config", "x": "' + "y" * 5000 + '"}',
    ],
)
async def test_a_bad_control_message_is_answered_and_the_stream_lives(
    server: Server, text: str
) -> None:
    async with stream(server) as (socket, _):
        await socket.send(text)
        assert (await received(socket))["type"] == "error"
        assert (await answered(socket, clips.panning(1)[0]))["state"] == "detected"


async def test_config_chooses_points_pose_and_number_of_faces(server: Server) -> None:
    config = {"type": "config", "points": 5, "include": [], "max_faces": 1}
    async with stream(server) as (socket, _):
        await socket.send(json.dumps(config))
        answer = await answered(socket, clips.two_faces())
    assert len(answer["faces"]) == 1
    assert len(answer["faces"][0]["landmarks"]) == 5
    assert "pose" not in answer["faces"][0]


async def test_fewer_faces_are_followed_from_the_next_frame_on(server: Server) -> None:
    frame = clips.two_faces()
    async with stream(server) as (socket, _):
        assert ids(await answered(socket, frame)) == [1, 2]
        await socket.send('{"type": "config", "max_faces": 1}')
        assert ids(await answered(socket, frame)) == [1]
        assert ids(await answered(socket, frame)) == [1]


async def test_reset_forgets_the_faces_but_gives_no_id_twice(server: Server) -> None:
    frame = clips.panning(1)[0]
    async with stream(server) as (socket, _):
        assert ids(await answered(socket, frame)) == [1]
        await socket.send('{"type": "reset"}')
        answer = await answered(socket, frame)
    assert answer["state"] == "detected"
    assert ids(answer) == [2]


async def test_after_a_reset_the_detector_looks_at_once(
    fake_service: FakeServiceFactory,
) -> None:
    """It rests longer and longer while it finds nobody, but this may be another scene."""
    core = (await fake_service()).core
    stream = Stream(core.pipeline, core.store, core.tokens, None, rules_of(core.settings))
    rested = stream._state = State(seq=100, detected=99, vain=50)
    assert not wants_detection(rested, replace(rested, seq=101), stream.rules)
    stream.reset()
    assert wants_detection(rested, replace(stream._state, seq=101), stream.rules)


async def test_a_reset_that_arrives_while_a_frame_is_in_flight_holds_for_the_next(
    server: Server,
) -> None:
    frame = clips.panning(1)[0]
    async with stream(server) as (socket, _):
        await socket.send(frame)
        await socket.send('{"type": "reset"}')
        assert ids(await received(socket)) == [1]
        assert ids(await answered(socket, frame)) == [2]


async def test_of_frames_sent_too_fast_the_newest_wins_and_the_others_are_counted(
    server: Server,
) -> None:
    frames = clips.panning(40)
    async with stream(server) as (socket, _):
        for frame in frames:
            await socket.send(frame)
        answers = [await received(socket)]
        while answers[-1]["seq"] < len(frames):
            answers.append(await received(socket))
    seqs = [a["seq"] for a in answers]
    assert seqs == sorted(set(seqs))
    assert len(answers) + sum(a["dropped"] for a in answers) == len(frames)
    assert seqs == list(np.cumsum([a["dropped"] + 1 for a in answers]))


async def test_a_client_that_vanishes_mid_frame_leaves_nothing_behind(server: Server) -> None:
    for _ in range(20):
        socket = await connect(server.track_url)
        await received(socket)
        await socket.send(clips.panning(1)[0])
        socket.transport.abort()
    async with asyncio.timeout(10):
        while httpx.get(f"{server.url}/readyz").json()["streams"]:
            await asyncio.sleep(0.05)


async def test_a_message_far_above_the_limit_closes_this_stream_only(server: Server) -> None:
    async with stream(server) as (other, _), stream(server) as (socket, _):
        with pytest.raises(ConnectionClosed) as closed:
            await socket.send(b"x" * 500000)
            while True:
                await received(socket)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1009
        assert (await answered(other, clips.panning(1)[0]))["state"] == "detected"


async def test_more_streams_than_the_limit_are_told_to_try_later(server: Server) -> None:
    sockets = [await connect(server.track_url) for _ in range(8)]
    for socket in sockets:
        await received(socket)
    async with connect(server.track_url) as refused:
        assert (await received(refused))["code"] == "too_many_streams"
        with pytest.raises(ConnectionClosed) as closed:
            await received(refused)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1013
    for socket in sockets:
        await socket.close()


async def test_a_token_resumes_in_the_same_process(server: Server) -> None:
    frames = clips.panning(4)
    async with stream(server) as (socket, hello):
        for frame in frames[:3]:
            await answered(socket, frame)
    async with stream(server, hello["token"]) as (socket, again):
        answer = await answered(socket, frames[3])
    assert again["state"] == "resumed"
    assert again["session_id"] == hello["session_id"]
    assert (answer["state"], answer["seq"], ids(answer)) == ("resumed", 4, [1])


async def test_a_token_resumes_on_another_process_without_a_detector_run(
    redis: RedisServer,
) -> None:
    frames = clips.panning(6)
    with running(redis_url=redis.url) as first, running(redis_url=redis.url) as second:
        async with stream(first) as (socket, hello):
            for frame in frames[:3]:
                before = await answered(socket, frame)
            first.kill()
        async with stream(second, hello["token"]) as (socket, again):
            after = [await answered(socket, frame) for frame in frames[3:]]
        metrics = httpx.get(f"{second.url}/metrics").text
    assert again["state"] == "resumed"
    assert [a["state"] for a in after] == ["resumed", "tracked", "tracked"]
    first_seq = after[0]["seq"]  # the state is saved after the answer: the kill may forestall it
    assert first_seq in {3, 4}
    assert [a["seq"] - first_seq for a in after] == [0, 1, 2]
    assert {tuple(ids(a)) for a in [before, *after]} == {(1,)}
    assert "atpn_detections_total{" not in metrics


async def test_text_that_is_no_utf_8_ends_the_stream_without_filling_the_log(
    capfd: pytest.CaptureFixture[str],
) -> None:
    with running() as server:
        async with stream(server) as (socket, _):
            socket.protocol.send_frame(Frame(Opcode.TEXT, b"\xff{}"))
            socket.transport.writelines(socket.protocol.data_to_send())
            with pytest.raises(ConnectionClosed) as closed:
                await socket.recv()
        async with stream(server) as (socket, _):
            assert (await answered(socket, clips.panning(1)[0]))["state"] == "detected"
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1007
    log = capfd.readouterr().err
    assert "serving on" in log
    assert "Traceback" not in log


@pytest.mark.parametrize("token", ["forged", "x" * 43, "%00%ff", "a" * 4000])
async def test_a_forged_token_gets_a_fresh_session_of_its_own(server: Server, token: str) -> None:
    async with stream(server, token) as (socket, hello):
        assert hello["state"] == "expired"
        assert hello["token"] != token
        assert (await answered(socket, clips.panning(1)[0]))["state"] == "detected"


async def test_a_signed_token_resumes_where_its_key_is_known_and_a_forged_one_asks_no_store(
    redis: RedisServer,
) -> None:
    old, new = "o" * 32, "n" * 32
    frames = clips.panning(3)
    with (
        running(redis_url=redis.url, token_keys=json.dumps([old])) as first,
        running(redis_url=redis.url, token_keys=json.dumps([new, old])) as second,
    ):
        async with stream(first) as (socket, hello):
            before = await answered(socket, frames[0])
        async with stream(second, hello["token"]) as (socket, again):
            after = await answered(socket, frames[1])
        redis.stop()  # whoever asked it now would wait and count an error
        async with stream(second, hello["token"][:-1]) as (_, forged):
            pass
        async with stream(first, forged["token"]) as (_, newer):
            metrics = httpx.get(f"{second.url}/metrics").text
        redis.start()
    assert (again["state"], again["token"]) == ("resumed", hello["token"])
    assert ids(after) == ids(before)
    assert (forged["state"], newer["state"]) == ("expired", "expired")
    assert 'atpn_store_errors_total{operation="load"}' not in metrics


async def test_streams_go_on_while_redis_is_gone_and_are_stored_again_when_it_is_back() -> None:
    frames = clips.panning(30)
    with redis_server() as store, running(redis_url=store.url) as server:
        async with stream(server) as (socket, hello):
            await answered(socket, frames[0])
            store.stop()
            during = [await answered(socket, frame) for frame in frames[1:20]]
            assert httpx.get(f"{server.url}/readyz").json()["store"] == "degraded"
            store.start()
            after = [await answered(socket, frame) for frame in frames[20:]]
            assert httpx.get(f"{server.url}/readyz").json()["store"] == "ok"
        async with stream(server, hello["token"]) as (socket, again):
            assert again["state"] == "resumed"
            assert again["seq"] == 30
        metrics = httpx.get(f"{server.url}/metrics").text
    assert {a["state"] for a in during + after} == {"tracked"}
    assert {tuple(ids(a)) for a in during + after} == {(1,)}
    assert 'atpn_store_errors_total{operation="save"}' in metrics
    assert "atpn_frame_seconds_count 30.0" in metrics
    assert "atpn_decode_seconds_count 30.0" in metrics


async def test_a_stopping_service_tells_its_streams_to_resume_and_ends_cleanly() -> None:
    with running() as server:
        async with stream(server) as (socket, hello):
            await answered(socket, clips.panning(1)[0])
            server.process.terminate()
            assert await received(socket) == {
                "type": "closing",
                "reason": "shutting_down",
                "token": hello["token"],
            }
            with pytest.raises(ConnectionClosed) as closed:
                await received(socket)
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 1012
        assert server.process.wait(10) == 0


async def test_a_service_that_lingers_wants_no_traffic_but_serves_what_comes(
    astronaut_jpeg: bytes,
) -> None:
    with running(linger_s="4") as server:
        async with stream(server) as (old, _):
            server.process.terminate()
            while httpx.get(f"{server.url}/readyz").status_code == 200:
                await asyncio.sleep(0.05)
            assert not httpx.get(f"{server.url}/v2/health/ready").json()["ready"]
            headers = {"content-type": "image/jpeg"}
            url = f"{server.url}/align"
            assert httpx.post(url, content=astronaut_jpeg, headers=headers).status_code == 200
            async with stream(server) as (late, _):
                assert (await answered(late, clips.panning(1)[0]))["state"] == "detected"
                assert [(await received(s))["type"] for s in (old, late)] == ["closing"] * 2
        assert server.process.wait(60) == 0


async def test_a_stream_without_frames_is_closed_after_a_while_and_can_be_resumed() -> None:
    frames = clips.panning(2)
    with running(stream_idle_s="0.5") as server:
        async with stream(server) as (socket, hello):
            await answered(socket, frames[0])
            await socket.send('{"type": "config", "points": 98}')
            said = time.monotonic()
            await asyncio.sleep(0.4)
            await socket.send('{"type": "config", "points": 98}')  # no frame
            assert (await received(socket))["reason"] == "idle"
            assert time.monotonic() - said < 0.85
        async with stream(server, hello["token"]) as (socket, again):
            assert again["state"] == "resumed"
            assert ids(await answered(socket, frames[1])) == [1]


async def test_where_keys_are_set_a_stream_needs_one() -> None:
    key = "an example key"
    digest = hashlib.sha256(key.encode()).hexdigest()
    with running(api_key_hashes=json.dumps([digest])) as server:
        async with connect(server.track_url) as refused:
            assert (await received(refused))["code"] == "unauthorized"
            with pytest.raises(ConnectionClosed) as closed:
                await received(refused)
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 1008
        headers = {"Authorization": f"Bearer {key}"}
        async with connect(server.track_url, additional_headers=headers) as socket:
            assert (await received(socket))["type"] == "session"


async def test_a_plain_http_request_to_track_is_not_found(server: Server) -> None:
    assert httpx.get(f"{server.url}/track").status_code == 404


async def test_an_unknown_websocket_path_is_refused(server: Server) -> None:
    with pytest.raises(InvalidStatus):
        await connect(server.track_url + "/other")


@pytest.mark.skipif(not clips.SHARED_VIDEO.is_dir(), reason="real clips are not distributed")
@pytest.mark.parametrize("name", ["webcam_talking.mp4", "big_motion.mp4"])
async def test_a_real_clip_is_tracked_under_one_id(server: Server, name: str) -> None:
    async with stream(server) as (socket, _):
        answers = [await answered(socket, frame) for frame in clips.real(name, 90)]
    found = [a for a in answers if a["faces"]]
    assert len(found) >= 0.95 * len(answers)
    assert {a["faces"][0]["track_id"] for a in found} == {1}


@pytest.mark.skipif(not clips.SHARED_VIDEO.is_dir(), reason="real clips are not distributed")
async def test_a_face_that_leaves_a_real_clip_is_not_tracked_into_the_background(
    server: Server,
) -> None:
    async with stream(server) as (socket, _):
        frames = clips.real("face_then_none.mov", 400, step=2)
        answers = [await answered(socket, frame) for frame in frames]
    assert answers[5]["faces"]
    assert answers[-1]["state"] == "lost"
