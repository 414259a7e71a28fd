"""The Python client from outside: real services, real faces, and networks that break."""

import asyncio
import hashlib
import itertools
import json
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import cv2
import msgpack
import numpy as np
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from websockets.frames import Frame as WsFrame
from websockets.frames import Opcode
from websockets.http11 import Request as Upgrade
from websockets.server import ServerProtocol
from websockets.sync.server import ServerConnection, serve
from websockets.typing import Subprotocol

from atpn import AsyncClient, Client
from atpn.client import ConnectionFailed, Frame, Picture, ServiceError, TimedOut
from atpn.client.aio import as_async
from atpn.client.connection import bound, options
from atpn.client.parts import NotAsked
from atpn.client.pictures import pixels
from atpn.client.requests import GROUP_BYTES, Endpoint, groups
from atpn.geometry import Image
from atpn.landmarks import to_5, to_68
from tests import clips
from tests.conftest import png, until
from tests.loopback import relay, served
from tests.server import Server, running
from tests.stores import redis_server

Connect = Callable[..., Client]

PHOTO = Path(__file__).parent / "photos" / "astronaut.jpg"


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """A real service."""
    with running(max_frame_bytes="200000", stream_idle_s="1") as started:
        yield started


@pytest.fixture(scope="module")
def client(server: Server) -> Iterator[Client]:
    """A client of it."""
    with Client(server.url) as opened:
        yield opened


@pytest.fixture
def connect() -> Iterator[Connect]:
    """A way to make clients, which are closed with the test."""
    with ExitStack() as stack:

        def made(url: str, **options: Any) -> Client:
            return stack.enter_context(Client(url, **options))

        yield made


def ids(frames: list[Frame]) -> set[tuple[int, ...]]:
    """The combinations of track ids that frames have."""
    return {tuple(face.track_id for face in frame.faces) for frame in frames}


async def collected(frames: AsyncIterator[Frame]) -> list[Frame]:
    return [frame async for frame in frames]


# one image


def test_a_face_has_landmarks_subsets_pose_box_and_confidence(client: Client) -> None:
    result = client.align(PHOTO, pose=True)
    [face] = result.faces
    assert face.landmarks.shape == (98, 2)
    assert face.landmarks.dtype == np.float32
    np.testing.assert_array_equal(face.points68, to_68(face.landmarks))
    np.testing.assert_array_equal(face.points5, to_5(face.landmarks))
    assert face.box == pytest.approx([*face.landmarks.min(0), *face.landmarks.max(0)], abs=0.01)
    assert (face.box.width, face.box.height) > (80, 80)
    assert face.confidence > 0.9
    assert abs(face.pose.yaw) < 15
    np.testing.assert_allclose(face.pose.matrix @ face.pose.matrix.T, np.eye(3), atol=1e-3)
    assert (result.width, result.height) == (512, 512)
    assert set(result.ms) == {"decode", "detect", "queue", "inference"}


def test_a_path_bytes_and_pixels_show_the_same_face(client: Client, astronaut: Image) -> None:
    ways: list[Picture] = [PHOTO, str(PHOTO), PHOTO.read_bytes(), astronaut]
    points = [client.align(way).faces[0].landmarks for way in ways]
    np.testing.assert_array_equal(points[0], points[1])
    np.testing.assert_array_equal(points[0], points[2])
    np.testing.assert_allclose(points[0], points[3], atol=1.5)


def test_grey_pixels_are_an_image_too_and_png_changes_nothing(
    server: Server, astronaut: Image, connect: Connect
) -> None:
    with Client(server.url, lossless=True) as client:
        by_png = client.align(astronaut).faces[0].landmarks
        assert client.align(astronaut.mean(2).astype(np.uint8)).faces
    assert np.abs(by_png - connect(server.url).align(PHOTO).faces[0].landmarks).max() < 1.5


@pytest.mark.parametrize("nothing", [5, 1.5, None, [0, 1]])
def test_what_is_no_image_is_refused_before_it_is_sent(client: Client, nothing: Any) -> None:
    with pytest.raises(TypeError, match="a path, bytes or an array, not"):
        client.align(nothing)


@pytest.mark.parametrize(
    "single",
    ["talk.mp4", Path("talk.mp4"), b"\xff\xd8", np.zeros((4, 4, 3), np.uint8)],
    ids=["str", "Path", "bytes", "array"],
)
async def test_a_single_image_or_a_video_file_is_no_list_of_images(single: Any) -> None:
    expected = "a list of images is expected, not .*; for a video file see"
    nobody = "http://127.0.0.1:9"
    with Client(nobody) as client:
        for realtime in (False, True):
            with pytest.raises(TypeError, match=expected):
                next(client.track(single, realtime=realtime))
        with pytest.raises(TypeError, match=expected):
            client.batch(single)
    async with AsyncClient(nobody) as client:
        with pytest.raises(TypeError, match=expected):
            await anext(client.track(single))
        with pytest.raises(TypeError, match=expected):
            await client.batch(single)


def test_a_stack_of_pixels_is_a_list_of_images(client: Client, astronaut: Image) -> None:
    stack = np.stack([astronaut, astronaut])
    assert [len(result.faces) for result in client.batch(stack)] == [1, 1]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "array",
    [np.zeros((4, 4, 3), np.float32), np.zeros((4, 4, 4), np.uint8), np.zeros((0, 4, 3), np.uint8)],
)
def test_an_array_that_is_no_image_is_refused_before_it_is_sent(client: Client, array: Any) -> None:
    with pytest.raises(ValueError, match="uint8"):
        client.align(array)


def test_boxes_say_where_the_faces_are(client: Client) -> None:
    found = client.align(PHOTO).faces[0]
    elsewhere = (300, 300, 400, 400)
    result = client.align(PHOTO, boxes=[elsewhere, found.box])
    assert len(result.faces) == 2
    assert result.ms["detect"] == 0
    assert result.faces[0].confidence < result.faces[1].confidence


@pytest.mark.parametrize("points", [68, 5])
def test_fewer_points_can_be_asked_for(client: Client, points: int) -> None:
    [face] = client.align(PHOTO, points=points).faces
    assert face.landmarks.shape == (points, 2)
    assert (face.points68 if points == 68 else face.points5) is face.landmarks
    with pytest.raises(NotAsked, match="points=98"):
        assert (face.points5 if points == 68 else face.points68) is None


def test_signals_come_with_every_call_that_asks(client: Client) -> None:
    [batch] = client.batch([PHOTO], signals=True)
    *_, frame = client.track([PHOTO] * 3, signals=True)
    for result in (client.align(PHOTO, signals=True), batch, frame):
        signals = result.faces[0].signals
        assert signals.mouth_open is not None
        assert 0.1 < signals.mouth_open < 0.6
        assert signals.right_eye.open is not None
    blinks = frame.faces[0].signals.blinks
    assert (blinks.count, blinks.closed_s, blinks.last) == (0, 0.0, None)
    assert "count=0" in repr(blinks)


async def test_the_asynchronous_client_asks_alike(server: Server) -> None:
    async with AsyncClient(server.url) as client:
        face = (await client.align(PHOTO, signals=True)).faces[0]
        alone = (await client.pose(PHOTO, signals=True)).faces[0]
        frames = [f async for f in client.track([PHOTO], signals=True, pose=False, fps=30)]
    assert face.signals == alone.signals
    assert "blinks" in frames[0].faces[0].answer["signals"]
    assert "pose" not in frames[0].faces[0].answer


def test_what_was_not_asked_for_says_how_to_ask(client: Client) -> None:
    [face] = client.align(PHOTO).faces
    with pytest.raises(NotAsked, match="pose=True"):
        assert face.pose
    with pytest.raises(NotAsked, match="track"):
        assert face.track_id
    with pytest.raises(NotAsked, match="smoothing=True"):
        assert face.smoothed.size
    with pytest.raises(NotAsked, match="signals=True"):
        assert face.signals
    with pytest.raises(NotAsked, match=r"track\(\)"):
        assert client.pose(PHOTO, signals=True).faces[0].signals.blinks
    with pytest.raises(NotAsked, match="align"):
        assert client.pose(PHOTO).faces[0].landmarks.size


def test_pose_alone_is_that_of_align(client: Client) -> None:
    alone, beside = client.pose(PHOTO).faces[0].pose, client.align(PHOTO, pose=True).faces[0].pose
    assert alone == beside
    assert client.pose(clips.two_faces(), max_faces=1).faces != ()


def test_limits_are_passed_on(client: Client) -> None:
    assert len(client.align(clips.two_faces()).faces) == 2
    assert len(client.align(clips.two_faces(), max_faces=1).faces) == 1
    assert client.align(clips.empty()).faces == ()


def test_arrays_cannot_be_changed_by_mistake(client: Client) -> None:
    [face] = client.align(PHOTO).faces
    with pytest.raises(ValueError, match="read-only"):
        face.landmarks[0] = 0


def test_results_are_shown_in_one_short_line(client: Client) -> None:
    shown = repr(client.align(PHOTO))
    assert shown.startswith("Result(width=512, height=512, faces=[Face(confidence=")
    assert len(shown) < 200


def test_a_result_draws_itself(client: Client, astronaut: Image) -> None:
    for result in (client.align(PHOTO, pose=True), client.align(PHOTO, points=68)):
        change = np.abs(result.draw().astype(int) - astronaut).max(2)
        assert (change[60:190, 165:285] > 60).mean() > 0.01
        assert (change[300:, :150] > 60).mean() < 0.003
    drawn = client.pose(PHOTO).draw()
    assert np.all(drawn == (40, 200, 60), axis=2).any()  # the axis that points down


def test_signals_are_written_below_the_face(client: Client) -> None:
    plain, told = (client.align(PHOTO, signals=signals) for signals in (False, True))
    [face] = told.faces
    changed = np.flatnonzero((plain.draw() != told.draw()).any((1, 2)))
    assert changed[0] > face.landmarks[:, 1].max()
    assert face.signals.notes[0].startswith("eyes ")
    assert face.signals.notes[1] == f"mouth {100 * (face.signals.mouth_open or 0):.0f}"


async def test_both_clients_agree(server: Server, client: Client) -> None:
    async with AsyncClient(server.url) as other:
        assert (await other.align(PHOTO)).faces == client.align(PHOTO).faces
        assert (await other.pose(PHOTO)).faces == client.pose(PHOTO).faces
        boxes = [client.align(PHOTO).faces[0].box]
        assert (await other.align(PHOTO, boxes=boxes)).faces == (
            client.align(PHOTO, boxes=boxes).faces
        )
        with pytest.raises(ServiceError, match="invalid_image"):
            await other.align(b"no image")
        frames = clips.panning(20)
        tracked = await collected(other.track(frames))
    assert [f.faces for f in tracked] == [f.faces for f in client.track(frames)]


# errors


def test_a_problem_of_the_service_is_an_error_with_its_code_and_status(client: Client) -> None:
    with pytest.raises(ServiceError) as refused:
        client.align(b"no image")
    assert (refused.value.code, refused.value.status) == ("invalid_image", 422)
    assert "no" in refused.value.detail
    assert refused.value.retry_after_s is None


def test_a_file_that_is_not_there_is_an_error_of_its_own(client: Client) -> None:
    with pytest.raises(FileNotFoundError):
        client.align("no such file.jpg")


async def test_where_nothing_listens_both_clients_say_so_at_once(connect: Connect) -> None:
    url = "http://127.0.0.1:9"
    started = time.monotonic()
    with pytest.raises(ConnectionFailed):
        connect(url).align(PHOTO)
    with pytest.raises(ConnectionFailed):
        list(connect(url).track([PHOTO]))
    async with AsyncClient(url) as client:
        with pytest.raises(ConnectionFailed):
            await client.align(PHOTO)
        with pytest.raises(ConnectionFailed):
            await collected(client.track([PHOTO]))
    assert time.monotonic() - started < 5


def test_an_address_without_a_scheme_is_refused() -> None:
    with pytest.raises(ValueError, match="http:// or https://"):
        Client("localhost:8000")


@pytest.mark.parametrize("key", ["sesame\n", " sesame", "schlüssel", ""])
def test_a_key_that_can_be_none_is_refused_and_not_repeated(key: str) -> None:
    with pytest.raises(ValueError, match="key: ASCII") as refused:
        Client("http://localhost:8000", key=key)
    assert not key.strip() or key.strip() not in str(refused.value)


Answers = Callable[[], Response]


def scripted(*answers: Answers) -> tuple[Starlette, list[Request]]:
    """An app that gives these answers in turn, the last one again and again."""
    seen: list[Request] = []
    script = itertools.chain(answers, itertools.repeat(answers[-1]))

    async def endpoint(request: Request) -> Response:
        seen.append(request)
        return next(script)()

    return Starlette(routes=[Route("/{path:path}", endpoint, methods=["POST", "GET"])]), seen


def problem(status: int, code: str, retry_after: str | None = None) -> Answers:
    headers = {} if retry_after is None else {"Retry-After": retry_after}
    body = {"code": code, "status": status, "detail": "because"}
    return lambda: JSONResponse(body, status, headers)


def good() -> Response:
    return JSONResponse({"faces": [], "image": {"width": 1, "height": 2}, "ms": {}})


async def test_a_full_queue_is_tried_again_after_the_time_it_names(connect: Connect) -> None:
    app, seen = scripted(problem(503, "overloaded", "0.5"), problem(429, "slow_down"), good)
    with served(app) as url:
        started = time.monotonic()
        assert connect(url).align(b"x").faces == ()
        assert time.monotonic() - started >= 0.5
    assert len(seen) == 3
    app, seen = scripted(problem(503, "overloaded", "0.3"), good)
    with served(app) as url:
        async with AsyncClient(url) as client:
            assert (await client.align(b"x")).height == 2
    assert len(seen) == 2


async def test_tries_are_bounded_and_the_last_refusal_is_told(connect: Connect) -> None:
    app, seen = scripted(problem(503, "overloaded", "0.01"))
    with served(app) as url:
        with pytest.raises(ServiceError) as refused:
            connect(url, retries=2).align(b"x")
        assert len(seen) == 3
        async with AsyncClient(url, retries=0) as client:
            with pytest.raises(ServiceError):
                await client.align(b"x")
    assert len(seen) == 4
    assert (refused.value.code, refused.value.retry_after_s) == ("overloaded", 0.01)


def test_a_call_whose_replica_died_behind_its_proxy_is_tried_again(connect: Connect) -> None:
    app, seen = scripted(lambda: Response("<h1>502 Bad Gateway</h1>", 502), good)
    with served(app) as url:
        assert connect(url).align(b"x").faces == ()
    assert len(seen) == 2


@pytest.mark.parametrize(("status", "code"), [(500, "internal"), (504, "deadline_exceeded")])
def test_other_problems_are_told_at_once(status: int, code: str, connect: Connect) -> None:
    app, seen = scripted(problem(status, code))
    with served(app) as url, pytest.raises(ServiceError, match=f"{code}: because"):
        connect(url).align(b"x")
    assert len(seen) == 1


def test_a_wait_that_is_too_long_is_left_to_the_caller(connect: Connect) -> None:
    app, seen = scripted(problem(503, "overloaded", "3600"))
    with served(app) as url, pytest.raises(ServiceError) as refused:
        connect(url).align(b"x")
    assert (len(seen), refused.value.retry_after_s) == (1, 3600)


@pytest.mark.parametrize(
    ("answer", "status", "code"),
    [
        (lambda: PlainTextResponse("<h1>Bad gateway</h1>", 502), 502, "http_502"),
        (lambda: PlainTextResponse("hello"), 200, "bad_answer"),
        (lambda: JSONResponse({"hello": 1}), None, "bad_answer"),
        (lambda: JSONResponse([]), 200, "bad_answer"),
    ],
)
def test_an_answer_of_something_else_is_an_error(
    answer: Answers, status: int | None, code: str, connect: Connect
) -> None:
    with served(scripted(answer)[0]) as url, pytest.raises(ServiceError) as refused:
        connect(url, retries=0).align(b"x")
    assert (refused.value.status, refused.value.code) == (status, code)


async def test_a_service_that_is_too_slow_is_given_up_and_told_to_give_up(connect: Connect) -> None:
    async def slow(request: Request) -> Response:
        told.append(request.headers["x-request-timeout"])
        await asyncio.sleep(4)
        return good()

    told: list[str] = []
    with served(Starlette(routes=[Route("/align", slow, methods=["POST"])])) as url:
        with pytest.raises(TimedOut, match=r"0\.8 s"):
            connect(url, timeout_s=0.8).align(b"x")
        async with AsyncClient(url, timeout_s=0.8) as client:
            with pytest.raises(TimedOut):
                await client.align(b"x")
    assert told == ["0.8", "0.8"]


async def test_a_key_opens_the_service_and_without_it_there_is_an_error(connect: Connect) -> None:
    key = "an example key"
    digest = hashlib.sha256(key.encode()).hexdigest()
    with running(api_key_hashes=json.dumps([digest])) as server:
        for refused in (connect(server.url), connect(server.url, key="wrong")):
            with pytest.raises(ServiceError) as error:
                refused.align(PHOTO)
            assert (error.value.code, error.value.status) == ("unauthorized", 401)
            with pytest.raises(ServiceError, match="unauthorized"):
                list(refused.track([PHOTO]))
        assert connect(server.url, key=key).align(PHOTO).faces
        assert len(list(connect(server.url, key=key).track([PHOTO]))) == 1
        async with AsyncClient(server.url, key=key) as client:
            assert len(await collected(client.track([PHOTO]))) == 1
    assert key not in repr(connect(server.url, key=key).endpoint)


# several images


async def test_a_batch_has_one_result_an_image_and_an_error_in_its_place(
    server: Server, client: Client
) -> None:
    images: list[Picture] = [PHOTO, b"no image", clips.two_faces()]
    results = client.batch(images, pose=True, points=5)
    assert [len(result.faces) for result in results] == [1, 0, 2]
    assert [r.error.code if r.error else None for r in results] == [None, "invalid_image", None]
    assert results[1].error is not None
    assert results[1].error.status == 422
    assert results[0].faces == client.align(PHOTO, pose=True, points=5).faces
    assert client.batch([]) == []
    async with AsyncClient(server.url) as other:
        again = await other.batch(images, pose=True, points=5)
        assert await other.batch([]) == []
    assert [r.faces for r in again] == [r.faces for r in results]
    assert again[1] == results[1]


async def test_a_large_batch_goes_in_several_requests(server: Server, client: Client) -> None:
    grey = png(np.full((64, 64, 3), 128, np.uint8))
    images: list[Picture] = [*[grey] * 32, PHOTO, *[grey] * 32]
    results = client.batch(images, points=5)
    assert [len(result.faces) for result in results] == [*[0] * 32, 1, *[0] * 32]
    async with AsyncClient(server.url) as other:
        assert [r.faces for r in await other.batch(images, points=5)] == [r.faces for r in results]


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ([1], [1]),
        ([1] * 32, [32]),
        ([1] * 33, [32, 1]),
        ([GROUP_BYTES, 1], [1, 1]),
        ([GROUP_BYTES // 2, GROUP_BYTES // 2, 1], [2, 1]),
        ([1, 2 * GROUP_BYTES, 1], [1, 1, 1]),  # too large for the service, which says so
    ],
)
def test_no_request_is_more_than_a_service_takes(sizes: list[int], expected: list[int]) -> None:
    images = [bytes(size) for size in sizes]
    parts = list(groups(images))
    assert [len(images[part]) for part in parts] == expected
    assert [image for part in parts for image in images[part]] == images


async def test_an_image_too_large_for_a_request_of_its_own_is_an_error_in_its_place(
    connect: Connect,
) -> None:
    large = bytes(GROUP_BYTES + 1)
    done = JSONResponse({"results": [{"faces": []}]})
    script = [lambda: done, problem(413, "too_many_bytes"), lambda: done] * 2
    app, _ = scripted(*script)
    with served(app) as url:
        results = connect(url).batch([b"1", large, b"2"])
        async with AsyncClient(url) as other:
            again = await other.batch([b"1", large, b"2"])
    for told in (results, again):
        assert [r.error.code if r.error else None for r in told] == [None, "too_many_bytes", None]
        assert told[1].faces == ()


def test_a_batch_with_an_answer_too_few_is_an_error(connect: Connect) -> None:
    app, _ = scripted(lambda: JSONResponse({"results": []}))
    with served(app) as url, pytest.raises(ServiceError, match="2 images"):
        connect(url).batch([b"1", b"2"])


# streams


def test_a_moving_face_keeps_its_id_and_every_frame_is_answered(client: Client) -> None:
    frames = list(client.track(clips.panning(30)))
    assert [f.index for f in frames] == list(range(30))
    assert [f.seq for f in frames] == list(range(1, 31))
    assert ids(frames) == {(1,)}
    assert [f.state for f in frames] == ["detected"] + ["tracked"] * 29
    assert frames[0].faces[0].pose.yaw is not None
    assert frames[0].faces[0].roi.width > frames[0].faces[0].box.width


def test_a_stream_is_told_what_to_answer(client: Client) -> None:
    [frame] = client.track([clips.two_faces()], points=5, pose=False, max_faces=1)
    [face] = frame.faces
    assert face.landmarks.shape == (5, 2)
    assert "pose" not in face.answer


def test_a_bad_frame_is_a_result_with_its_error_and_the_stream_goes_on(client: Client) -> None:
    good_ones = clips.panning(2)
    frames = list(client.track([good_ones[0], b"no image", b"x" * 200001, good_ones[1]]))
    assert [f.error.code if f.error else None for f in frames] == [
        None,
        "invalid_image",
        "too_many_bytes",
        None,
    ]
    assert frames[3].state == "tracked"


def test_a_bad_option_of_a_stream_is_an_error(client: Client) -> None:
    with pytest.raises(ServiceError, match="invalid_request: min_confidence"):
        list(client.track(clips.panning(1), min_confidence=2))


@pytest.mark.parametrize("realtime", [False, True], ids=["every", "newest"])
@pytest.mark.parametrize("asynchronous", [False, True], ids=["blocking", "asynchronous"])
async def test_a_stream_that_paused_until_the_service_hung_up_goes_on(
    client: Client, server: Server, asynchronous: bool, realtime: bool
) -> None:
    def frames() -> Iterator[bytes]:
        first, second = clips.panning(2)
        yield first
        time.sleep(2)  # twice the service's patience
        yield second

    if asynchronous:
        async with AsyncClient(server.url) as opened:
            one, two = await collected(opened.track(frames(), realtime=realtime))
    else:
        track = client.track
        one, two = await asyncio.to_thread(lambda: list(track(frames(), realtime=realtime)))
    assert (one.state, two.state) == ("detected", "resumed")
    assert (two.seq, two.session_id) == (2, one.session_id)


def test_a_cut_connection_loses_no_frame_and_no_id(server: Server) -> None:
    with relay(server.port) as network, Client(network.url) as client:
        answered = []
        for frame in client.track(clips.panning(24)):
            answered.append(frame)
            if frame.index in {5, 6, 15}:
                network.cut()
    assert network.connections == 4
    assert [f.index for f in answered] == list(range(24))
    assert ids(answered) == {(1,)}
    assert [f.index for f in answered if f.state == "resumed"] == [6, 7, 16]


async def test_a_cut_connection_loses_no_frame_and_no_id_with_asyncio(server: Server) -> None:
    with relay(server.port) as network:
        answered = []
        async with AsyncClient(network.url) as client:
            async for frame in client.track(clips.panning(24)):
                answered.append(frame)
                if frame.index in {5, 6, 15}:
                    network.cut()
    assert network.connections == 4
    assert [f.index for f in answered] == list(range(24))
    assert ids(answered) == {(1,)}


def test_a_stream_moves_to_another_replica_when_its_own_shuts_down() -> None:
    """The first drains (1012), the second shares its store: same ids, no detector run."""
    with redis_server() as store, running(redis_url=store.url) as second:
        first = Server(redis_url=store.url)
        first.wait_ready()
        with relay(first.port) as network, Client(network.url) as client:
            answered = []
            for frame in client.track(clips.panning(16)):
                answered.append(frame)
                if frame.index == 7:
                    network.target_port = second.port
                    assert first.stop() == 0
    assert [f.seq for f in answered] == list(range(1, 17))
    assert ids(answered) == {(1,)}
    assert [f.index for f in answered if f.state != "tracked"] == [0, 8]
    assert answered[8].state == "resumed"
    assert len({f.session_id for f in answered}) == 1


async def test_a_service_that_stays_away_is_an_error_in_the_end(server: Server) -> None:
    gone = "no answer for 0.5 s"
    with relay(server.port) as network, Client(network.url) as client:
        frames = client.track(clips.panning(3), patience_s=0.5)
        assert next(frames).state == "detected"
        network.close()
        with pytest.raises(ConnectionFailed, match=gone):
            next(frames)
    with relay(server.port) as network:
        async with AsyncClient(network.url) as other:
            coming = other.track(clips.panning(3), patience_s=0.5)
            assert (await anext(coming)).state == "detected"
            network.close()
            with pytest.raises(ConnectionFailed, match=gone):
                await anext(coming)


class Camera:
    """Gives frames at a steady rate, whether or not somebody is quick enough."""

    def __init__(self, count: int, fps: float) -> None:
        self.frames = clips.panning(count)
        self.pause_s = 1 / fps

    def __iter__(self) -> Iterator[bytes]:
        for frame in self.frames:
            time.sleep(self.pause_s)
            yield frame

    async def live(self) -> AsyncIterator[bytes]:
        """The same for asyncio."""
        for frame in self.frames:
            await asyncio.sleep(self.pause_s)
            yield frame


def slow_viewer(frames: Iterator[Frame]) -> list[Frame]:
    """Takes its time with each result."""
    seen = []
    for frame in frames:
        time.sleep(0.05)
        seen.append(frame)
    return seen


def test_in_real_time_the_newest_frame_wins_and_the_others_are_reported(client: Client) -> None:
    seen = slow_viewer(client.track(Camera(40, fps=200), realtime=True))
    assert seen[-1].index == 39
    assert 1 < len(seen) < 30
    assert len(seen) + sum(f.dropped for f in seen) == 40
    assert [f.index for f in seen] == sorted({f.index for f in seen})
    assert ids(seen) == {(1,)}


async def test_in_real_time_the_newest_frame_wins_with_asyncio_too(server: Server) -> None:
    seen = []
    async with AsyncClient(server.url) as client:
        async for frame in client.track(Camera(40, fps=200).live(), realtime=True):
            await asyncio.sleep(0.05)
            seen.append(frame)
    assert seen[-1].index == 39
    assert 1 < len(seen) < 30
    assert len(seen) + sum(f.dropped for f in seen) == 40
    assert ids(seen) == {(1,)}


def test_in_real_time_a_cut_connection_keeps_the_ids(server: Server) -> None:
    with relay(server.port) as network, Client(network.url) as client:
        seen: list[Frame] = []
        for frame in client.track(Camera(40, fps=40), realtime=True):
            if len(seen) == 3:
                network.cut()
            seen.append(frame)
    assert network.connections == 2
    assert "resumed" in {f.state for f in seen}
    assert ids(seen) == {(1,)}
    assert seen[-1].index == 39


async def test_frames_that_fail_to_come_are_the_callers_own_error(
    server: Server, connect: Connect
) -> None:
    def broken() -> Iterator[bytes]:
        yield clips.panning(1)[0]
        raise RuntimeError("the camera fell")

    for realtime in (False, True):
        with pytest.raises(RuntimeError, match="the camera fell"):
            list(connect(server.url).track(broken(), realtime=realtime))
        async with AsyncClient(server.url) as client:
            with pytest.raises(RuntimeError, match="the camera fell"):
                await collected(client.track(broken(), realtime=realtime))


def test_frames_that_may_be_left_out_have_no_times_of_a_recording(client: Client) -> None:
    with pytest.raises(ValueError, match="fps is a recording's"):
        next(iter(client.track([PHOTO], realtime=True, fps=25)))


def test_a_stream_that_is_left_early_leaves_no_thread_behind(client: Client) -> None:
    before = threading.active_count()
    frames = client.track(Camera(400, fps=100), realtime=True)
    next(frames)
    frames.close()  # type: ignore[attr-defined] # a generator
    for _ in range(100):
        if threading.active_count() <= before:
            break
        time.sleep(0.05)
    assert threading.active_count() <= before


def test_no_frames_are_no_results_and_no_connection(connect: Connect) -> None:
    client = connect("http://127.0.0.1:9")
    assert list(client.track([])) == []
    assert list(client.track([], realtime=True)) == []


async def test_a_service_that_knows_msgpack_is_spoken_to_in_it(connect: Connect) -> None:
    packed = Subprotocol("atpn.v1.msgpack")
    said: list[Any] = []

    def answer(socket: ServerConnection) -> None:
        said.append(socket.subprotocol)
        session = {"type": "session", "session_id": "s", "token": "t", "limits": {}}
        socket.send(msgpack.packb(session))
        said.append(json.loads(socket.recv()))
        for seq, frame in enumerate(socket, 1):
            said.append(frame)
            told = {"type": "frame", "seq": seq, "state": "lost", "dropped": 0, "faces": []}
            socket.send(msgpack.packb(told))

    with serve(answer, "127.0.0.1", 0, subprotocols=[packed]) as fake:
        thread = threading.Thread(target=fake.serve_forever)
        thread.start()
        url = f"http://127.0.0.1:{fake.socket.getsockname()[1]}"
        results = await asyncio.to_thread(lambda: list(connect(url).track([b"1"], smoothing=True)))
        fake.shutdown()
        thread.join()
    assert [f.state for f in results] == ["lost"]
    assert said[0] == packed
    assert said[1]["smoothing"] is True
    assert said[2] == b"1"


def greeted(listener: socket.socket) -> tuple[socket.socket, ServerProtocol]:
    """The next connection of a stream, to which the service has said hello."""
    peer, _ = listener.accept()
    protocol = ServerProtocol(subprotocols=[Subprotocol("atpn.v1.json")], max_size=None)
    protocol.receive_data(peer.recv(65536))
    [request] = protocol.events_received()
    assert isinstance(request, Upgrade)
    protocol.send_response(protocol.accept(request))
    session = {"type": "session", "session_id": "s", "token": "t", "limits": {}}
    protocol.send_text(json.dumps(session).encode())
    peer.sendall(b"".join(protocol.data_to_send()))
    return peer, protocol


def read_nothing_then_answer(listener: socket.socket) -> None:
    """A replica that takes nothing more after its hello, and another that answers a frame."""
    first, _ = greeted(listener)
    second, protocol = greeted(listener)
    with first, second:
        while True:
            protocol.receive_data(second.recv(1 << 20))
            frames = [e for e in protocol.events_received() if isinstance(e, WsFrame)]
            if any(frame.opcode is Opcode.BINARY for frame in frames):
                break
        told = {"type": "frame", "seq": 1, "state": "lost", "dropped": 0, "faces": []}
        protocol.send_text(json.dumps(told).encode())
        second.sendall(b"".join(protocol.data_to_send()))
        second.settimeout(5)
        while second.recv(1 << 20):
            pass


@pytest.mark.skipif(not hasattr(socket, "TCP_USER_TIMEOUT"), reason="Linux alone bounds a send")
@pytest.mark.parametrize("asynchronous", [False, True], ids=["blocking", "asynchronous"])
@pytest.mark.parametrize("realtime", [False, True], ids=["every", "newest"])
async def test_a_service_that_reads_nothing_more_is_left_for_another(
    connect: Connect, asynchronous: bool, realtime: bool
) -> None:
    done = threading.Event()
    large = bytes(8_000_000)  # more than the buffers between hold

    def frames() -> Iterator[Picture]:
        yield large
        while realtime and not done.wait(0.05):
            yield large

    async def states(url: str) -> list[str]:
        if not asynchronous:
            track = connect(url, timeout_s=1).track
            return await asyncio.to_thread(lambda: first_of(track(frames(), realtime=realtime)))
        async with AsyncClient(url, timeout_s=1) as client:
            results: Any = client.track(frames(), realtime=realtime)
            first = await anext(results)
            done.set()
            await results.aclose()
            return [first.state]

    def first_of(results: Iterator[Frame]) -> list[str]:
        for result in results:
            done.set()
            return [result.state]
        return []

    with socket.create_server(("127.0.0.1", 0)) as listener:
        peer = threading.Thread(target=read_nothing_then_answer, args=(listener,))
        peer.start()
        try:
            url = f"http://127.0.0.1:{listener.getsockname()[1]}"
            assert await asyncio.wait_for(states(url), 10) == ["lost"]
        finally:
            done.set()
            peer.join()


async def test_cameras_that_show_nothing_leave_the_loops_threads_to_others() -> None:
    shown, waiting = threading.Event(), []

    def camera() -> Iterator[Picture]:
        waiting.append(1)
        shown.wait(20)
        yield b"frame"

    async def first() -> Picture:
        return await anext(as_async(camera()))

    streams = [asyncio.create_task(first()) for _ in range(40)]  # more than a loop has threads
    try:
        await until(lambda: len(waiting) == 40)
        assert await asyncio.wait_for(asyncio.to_thread(lambda: 1), 5) == 1
    finally:
        shown.set()
    assert await asyncio.gather(*streams) == [b"frame"] * 40


async def test_the_frames_of_a_plain_iterable_end_with_it_or_with_its_error() -> None:
    def two(error: bool) -> Iterator[Picture]:
        yield from (b"1", b"2")
        if error:
            raise RuntimeError("the camera fell")

    assert [frame async for frame in as_async(two(error=False))] == [b"1", b"2"]
    with pytest.raises(RuntimeError, match="the camera fell"):
        _ = [frame async for frame in as_async(two(error=True))]


async def test_no_frame_is_taken_before_it_is_asked_for() -> None:
    taken = itertools.count()
    source = as_async(str(next(taken)).encode() for _ in range(9))
    assert [await anext(source), await anext(source)] == [b"0", b"1"]
    await asyncio.sleep(0.1)
    assert next(taken) == 2


@pytest.mark.parametrize("end", ["given up", "abandoned"])
def test_a_process_ends_although_its_camera_shows_nothing(end: str) -> None:
    code = f"""
import asyncio, queue
from contextlib import suppress
from atpn.client.aio import as_async

async def watch():
    taking = asyncio.ensure_future(anext(as_async(iter(queue.Queue().get, None))))
    await asyncio.wait([taking], timeout=0.2)
    if {end == "given up"}:
        taking.cancel()
        with suppress(asyncio.CancelledError):
            await taking

asyncio.run(watch())
print("done")
"""
    done = python(code)
    assert (done.returncode, done.stdout, done.stderr) == (0, "done\n", "")


def test_a_connection_that_was_closed_at_once_is_still_asked_why() -> None:
    with socket.socket() as closed:
        pass
    bound(closed, 1)


@pytest.mark.parametrize(
    "url",
    [
        *("http://localhost:80o0", "http://[::1", "http://:8000", "https://", "http://a..b"),
        *(f"http://{'a' * 64}.example", "http://127.0.0.1:99999"),
    ],
)
def test_an_address_that_is_none_is_refused_when_the_client_is_made(url: str) -> None:
    for kind in (Client, AsyncClient):
        with pytest.raises(ValueError, match="url: "):
            kind(url)


def test_a_picture_of_sixteen_bits_is_drawn_as_bright_as_it_is() -> None:
    ramp = np.linspace(0, 65535, 256).astype(np.uint16)
    ok, data = cv2.imencode(".png", np.tile(ramp, (4, 1)))
    assert ok
    assert np.abs(pixels(data.tobytes())[0, :, 0].astype(int) - np.arange(256)).max() <= 1


def test_photographs_and_streams_trust_the_same_certificates() -> None:
    endpoint = Endpoint("https://faces.example")
    assert endpoint.http["verify"] is options(endpoint)["ssl"] is endpoint.trusted
    assert len(endpoint.trusted.get_ca_certs()) > 10
    own = ssl.create_default_context()
    endpoint = Endpoint("https://faces.example", ssl_context=own)
    assert endpoint.http["verify"] is options(endpoint)["ssl"] is own
    assert "ssl" not in options(Endpoint("http://faces.example"))


# the package


def python(code: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )


def test_the_client_needs_nothing_of_the_server() -> None:
    code = """
import sys
for name in ("fastapi", "uvicorn", "onnxruntime", "redis", "cv2", "pydantic_settings", "starlette"):
    sys.modules[name] = None  # importing it raises ImportError
from atpn import AsyncClient, Client
import atpn.client
assert "PIL" not in sys.modules
"""
    done = python(code)
    assert done.returncode == 0, done.stderr


def test_importing_the_package_alone_imports_nothing_else() -> None:
    code = "import atpn, sys; assert not {'numpy', 'httpx', 'websockets'} & set(sys.modules)"
    done = python(code)
    assert done.returncode == 0, done.stderr


def test_drawing_without_opencv_says_what_to_install() -> None:
    code = """
import sys
sys.modules["cv2"] = None
from atpn.client import Result
Result({"faces": []}, picture=b"x").draw()
"""
    done = python(code)
    assert "pip install '.[video]'" in done.stderr


def test_a_name_that_the_package_has_not_is_an_attribute_error() -> None:
    import atpn  # noqa: PLC0415

    with pytest.raises(AttributeError, match="no attribute 'Clint'"):
        assert atpn.Clint
