"""Connections that begin something and never finish it: closed in time, while others are served."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass, field

import httpx
import pytest
from starlette.types import Receive, Scope, Send
from websockets.asyncio.client import connect

from atpn.app import create_app
from atpn.assembly import run_core
from atpn.connections import MOST_HEADER_BYTES, Config
from atpn.core import Core
from atpn.geometry import Box
from atpn.server import uvicorn_config
from atpn.settings import Settings
from tests.conftest import FakeDetector, FakeNetwork, SettingsFactory, until
from tests.loopback import served
from tests.stores import free_port

TIMEOUT_S = 1.0  # for headers, and for requests
HEAD = (
    b"POST /align HTTP/1.1\r\nHost: here\r\nContent-Type: image/png\r\nContent-Length: %d\r\n\r\n"
)

CHUNKED = (
    b"POST /align HTTP/1.1\r\nHost: here\r\nContent-Type: image/png\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n"
)


@dataclass
class Running:
    """A service around a fake model, on a loopback port."""

    port: int = field(default_factory=free_port)
    network: FakeNetwork = field(default_factory=FakeNetwork)

    def opener(self, settings: Settings) -> AbstractAsyncContextManager[Core]:
        """The core of `create_app`."""
        return run_core(settings, self.network, FakeDetector(Box(8, 8, 40, 40)))

    @asynccontextmanager
    async def connection(
        self, sent: bytes = b""
    ) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        """An open connection on which ``sent`` was sent."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            writer.write(sent)
            await writer.drain()
            yield reader, writer
        finally:
            writer.close()

    async def ends(self, sent: bytes) -> tuple[bytes, float]:
        """All that is answered to ``sent`` until the service closes, and after how long it does."""
        begun = time.monotonic()
        async with asyncio.timeout(10), self.connection(sent) as (reader, _):
            return await reader.read(), time.monotonic() - begun


@pytest.fixture
def running(settings: SettingsFactory) -> Iterator[Running]:
    """A service whose patience is short, but not with a request in work."""
    made = Running()
    short = settings(port=made.port, header_timeout_s=TIMEOUT_S, request_timeout_s=10)
    app = create_app(short, made.opener)
    with served(app, uvicorn_config(app, short)):
        yield made
        made.network.gate.set()


@pytest.fixture
def patient(settings: SettingsFactory) -> Iterator[Running]:
    """The same, with much time for headers."""
    made = Running()
    long = settings(port=made.port, header_timeout_s=60, request_timeout_s=60)
    app = create_app(long, made.opener)
    with served(app, uvicorn_config(app, long)):
        yield made


@pytest.fixture
def hurried(settings: SettingsFactory) -> Iterator[Running]:
    """The same, whose requests have little time, too."""
    made = Running()
    short = settings(port=made.port, header_timeout_s=TIMEOUT_S, request_timeout_s=TIMEOUT_S)
    app = create_app(short, made.opener)
    with served(app, uvicorn_config(app, short)):
        yield made
        made.network.gate.set()


async def test_two_hundred_requests_that_never_end_are_closed_while_others_are_served(
    hurried: Running, small_png: bytes
) -> None:
    half = [hurried.ends(HEAD[:60]) for _ in range(100)]
    bodiless = [hurried.ends(HEAD % 1000) for _ in range(100)]
    slow = asyncio.gather(*half, *bodiless)
    url = f"http://127.0.0.1:{hurried.port}"
    async with httpx.AsyncClient(base_url=url, trust_env=False) as client:
        served_meanwhile = 0
        while not slow.done():
            kind = {"content-type": "image/png"}
            assert (await client.post("/align", content=small_png, headers=kind)).status_code == 200
            served_meanwhile += 1
        answers = await slow
        counted = (await client.get("/metrics")).text
    assert served_meanwhile > 1
    assert all(TIMEOUT_S * 0.9 < seconds < TIMEOUT_S + 3 for _, seconds in answers)
    assert {answer for answer, _ in answers[:100]} == {b""}
    for answer, _ in answers[100:]:
        head, _, body = answer.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 408 ")
        assert b"connection: close" in head.lower()
        assert json.loads(body)["code"] == "request_timeout"
    assert 'atpn_errors_total{code="request_timeout"} 100.0' in counted
    assert 'atpn_requests_total{route="/align",status="408"} 100.0' in counted


@pytest.mark.parametrize(
    "path", ["/align", "/pose", "/align/batch", "/v2/models/fake/infer"], ids=lambda p: p[1:]
)
async def test_a_caller_may_allow_a_body_less_time_than_the_setting(
    running: Running, path: str
) -> None:
    head = HEAD.replace(b"/align", path.encode())
    kind = b"multipart/form-data; boundary=b" if "batch" in path else b"image/png"
    head = head.replace(b"image/png", kind).replace(b"Host", b"X-Request-Timeout: 0.3\r\nHost")
    answer, seconds = await running.ends(head % 10 + b"half")
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"request_timeout" in answer
    assert seconds < 2


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"GET",
        b"GET /track HTTP/1.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-",
        b"GET /healthz HTTP/1.1\r\nHost: here\r\n\r\nGET /healthz HTT",
    ],
    ids=["nothing", "a word", "half a handshake", "a request and half another"],
)
async def test_headers_that_do_not_come_end_the_connection(running: Running, sent: bytes) -> None:
    answer, seconds = await running.ends(sent)
    assert answer.count(b"HTTP/1.1 200 OK") == sent.count(b"\r\n\r\n")
    assert TIMEOUT_S * 0.9 < seconds < TIMEOUT_S + 2


@pytest.mark.parametrize(
    ("sent", "drop"),
    [(b"GET / HTTP/1.1\r\nX: ", b"x"), (b"", b"\r\n")],
    ids=["a header's letters", "empty lines"],
)
async def test_headers_that_come_drop_by_drop_are_as_late(
    running: Running, sent: bytes, drop: bytes
) -> None:
    begun = time.monotonic()
    async with asyncio.timeout(10), running.connection(sent) as (reader, writer):
        ended = asyncio.ensure_future(reader.read())
        while not ended.done():
            writer.write(drop)
            await asyncio.sleep(0.05)
    assert ended.result() == b""
    assert time.monotonic() - begun < TIMEOUT_S + 2


@pytest.mark.parametrize(
    ("sent", "endless", "said"),
    [
        (b"GET / HTTP/1.1\r\n", b"a: b\r\n" * 1000, b"HTTP/1.1 431 "),
        (b"GET / HTTP/1.1\r\na: ", b"a" * 10_000, b"HTTP/1.1 431 "),
        (b"GET /", b"a" * 10_000, b"HTTP/1.1 431 "),
        (b"", b"\r\n" * 10_000, b"HTTP/1.1 431 "),
        (CHUNKED + b"1\r\na\r\n0\r\na: ", b"a" * 10_000, b""),
        (CHUNKED + b"1\r\na\r\n1;a=", b"a" * 10_000, b""),
    ],
    ids=["headers", "a value", "a path", "empty lines", "a trailer", "a chunk's extension"],
)
async def test_headers_without_end_are_refused_long_before_they_are_late(
    patient: Running, sent: bytes, endless: bytes, said: bytes
) -> None:
    most = MOST_HEADER_BYTES + 2**20  # some are on their way
    async with asyncio.timeout(5), patient.connection(sent) as (reader, writer):
        ended, length = asyncio.ensure_future(reader.read()), 0
        with suppress(ConnectionError):
            while not ended.done() and length < most:
                writer.write(endless)
                await writer.drain()
                await asyncio.sleep(0.01)
                length += len(endless)
        with suppress(ConnectionError):
            assert (await ended).startswith(said)
    assert length < most


async def test_requests_without_end_before_the_first_is_answered_end_the_connection(
    patient: Running, small_png: bytes
) -> None:
    patient.network.gate.clear()
    first = HEAD % len(small_png) + small_png
    most = MOST_HEADER_BYTES + 2**20
    async with asyncio.timeout(10), patient.connection(first) as (reader, writer):
        ended, length = asyncio.ensure_future(reader.read()), 0
        with suppress(ConnectionError):
            while not ended.done() and length < most:
                writer.write(b"GET /healthz HTTP/1.1\r\n\r\n" * 40)
                await writer.drain()
                await asyncio.sleep(0.01)
                length += 1000
        with suppress(ConnectionError):
            await ended
    patient.network.gate.set()
    assert length < most


async def test_some_requests_may_wait_on_a_connection(patient: Running) -> None:
    asked = b"GET /healthz HTTP/1.1\r\nHost: here\r\n\r\n"
    last = asked.replace(b"here\r\n", b"here\r\nConnection: close\r\n")
    answer, _ = await patient.ends(asked * 40 + last)
    assert answer.count(b"HTTP/1.1 200") == 41


async def test_as_many_headers_as_anybody_sends_are_taken_and_trailers_are_passed_over(
    patient: Running, small_png: bytes
) -> None:
    many = b"".join(b"x-%d: y\r\n" % i for i in range(120))
    head = CHUNKED.replace(b"Host: here\r\n", b"Host: here\r\nConnection: close\r\n" + many)
    body = b"%x\r\n%b\r\n0\r\nHost: there\r\n\r\n" % (len(small_png), small_png)
    assert (await patient.ends(head + body))[0].startswith(b"HTTP/1.1 200")
    assert b" 431 " in (await patient.ends(head.replace(many, many * 2) + body))[0]


@pytest.mark.parametrize("kept", [True, False], ids=["kept alive", "to be closed"])
async def test_an_answer_that_is_not_taken_is_given_up(kept: bool) -> None:
    big = bytes(32 * 2**20)

    async def app(_: Scope, __: Receive, send: Send) -> None:
        headers = [(b"content-length", b"%d" % len(big))]
        headers += [] if kept else [(b"connection", b"close")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": big})

    running = Running()
    config = Config(app, header_timeout_s=TIMEOUT_S, port=running.port, log_config=None)
    config.lifespan = "off"
    asked = b"GET / HTTP/1.1\r\nHost: here\r\n\r\n"
    with served(app, config):
        async with asyncio.timeout(20), running.connection(asked) as (reader, _):
            await asyncio.sleep(TIMEOUT_S * 3)
            with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
                await reader.readexactly(len(big))
        async with asyncio.timeout(20), running.connection(asked) as (reader, _):
            await reader.readuntil(b"\r\n\r\n")
            taken = 0
            while taken < len(big):  # slowly, for longer than the time of an answer
                taken += len(await reader.read(2**20))
                await asyncio.sleep(0.1)


async def test_a_later_request_on_a_connection_that_was_kept_has_the_time_of_the_first(
    running: Running,
) -> None:
    whole = b"GET /healthz HTTP/1.1\r\nHost: here\r\n\r\n"
    async with asyncio.timeout(10), running.connection(whole) as (reader, writer):
        assert (await reader.readuntil(b'"alive"}')).startswith(b"HTTP/1.1 200")
        await asyncio.sleep(TIMEOUT_S * 1.5)  # idle: it is kept for longer than that
        writer.write(whole)
        assert (await reader.readuntil(b'"alive"}')).startswith(b"HTTP/1.1 200")
        writer.write(whole[:20])
        begun = time.monotonic()
        assert await reader.read() == b""
    assert TIMEOUT_S * 0.9 < time.monotonic() - begun < TIMEOUT_S + 2


async def test_a_body_that_nobody_waits_for_does_not_keep_the_connection(running: Running) -> None:
    async with (
        asyncio.timeout(10),
        running.connection(HEAD.replace(b"align", b"x") % 10**9) as (
            reader,
            writer,
        ),
    ):
        ended = asyncio.ensure_future(reader.read())
        begun = time.monotonic()
        while not ended.done():
            writer.write(b"drop")
            await asyncio.sleep(0.05)
    assert ended.result().startswith(b"HTTP/1.1 404")
    assert time.monotonic() - begun < TIMEOUT_S + 2


@pytest.mark.parametrize("more", [b"", HEAD[:20]], ids=["alone", "and half of a next one behind"])
async def test_a_request_in_work_is_answered_however_late(
    running: Running, small_png: bytes, more: bytes
) -> None:
    running.network.gate.clear()
    sent = HEAD % len(small_png) + small_png + more
    async with asyncio.timeout(10), running.connection(sent) as (reader, _):
        await until(lambda: running.network.batches)
        await asyncio.sleep(TIMEOUT_S * 2)
        running.network.gate.set()
        assert (await reader.readuntil(b"\r\n")).startswith(b"HTTP/1.1 200")


async def test_a_stream_is_not_cut(running: Running, small_png: bytes) -> None:
    async with connect(f"ws://127.0.0.1:{running.port}/track") as socket:
        await socket.recv()
        await asyncio.sleep(TIMEOUT_S * 1.5)
        await socket.send(small_png)
        assert json.loads(await socket.recv())["seq"] == 1
