"""How a stream ends on a replica that goes: its last frame is answered and stored before that."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from typing_extensions import override
from websockets.asyncio.client import ClientConnection, connect

from atpn.app import create_app
from atpn.assembly import run_core
from atpn.core import Core
from atpn.errors import StoreUnavailable
from atpn.faces.stream import Stream, rules_of
from atpn.geometry import Box
from atpn.sessions import MemoryStore, Saved, key_of
from atpn.settings import Settings
from tests.conftest import (
    FakeDetector,
    FakeNetwork,
    FakeServiceFactory,
    SettingsFactory,
    until,
)
from tests.loopback import served


class PoorStore(MemoryStore):
    """Takes its time to write, or fails."""

    def __init__(self) -> None:
        super().__init__(ttl_s=60, max_sessions=10)
        self.save_s = 0.0
        self.gone = False

    @override
    async def save(self, key: str, state: Saved) -> None:
        await asyncio.sleep(self.save_s)
        if self.gone:
            raise StoreUnavailable("as the test wants it")
        await super().save(key, state)


@dataclass
class Replica:
    """A service in a thread, around a fake model and a poor store."""

    url: str = ""
    network: FakeNetwork = field(default_factory=FakeNetwork)
    store: PoorStore = field(default_factory=PoorStore)
    core: Core | None = None
    loop: asyncio.AbstractEventLoop | None = None

    @asynccontextmanager
    async def opener(self, settings: Settings) -> AsyncIterator[Core]:
        """The core of `create_app`."""
        self.loop = asyncio.get_running_loop()
        async with run_core(settings, self.network, FakeDetector(Box(8, 8, 40, 40))) as self.core:
            self.core.store = self.store
            yield self.core

    def drain(self) -> None:
        """Begin to drain, as SIGTERM does."""
        assert self.core is not None
        assert self.loop is not None
        self.loop.call_soon_threadsafe(self.core.draining.set)

    async def saved(self, token: str) -> int | None:
        """The number of the stored frame."""
        assert self.loop is not None
        loading = asyncio.run_coroutine_threadsafe(self.store.load(key_of(token)), self.loop)
        found = await asyncio.wrap_future(loading)
        return None if found is None else found.seq


@pytest.fixture
def replica(settings: SettingsFactory) -> Iterator[Replica]:
    """A running one."""
    made = Replica()
    with served(create_app(settings(), made.opener)) as url:
        made.url = url.replace("http", "ws") + "/track"
        yield made
        made.network.gate.set()


async def told(socket: ClientConnection) -> dict[str, Any]:
    """The next message."""
    async with asyncio.timeout(20):
        message: dict[str, Any] = json.loads(await socket.recv())
        return message


async def test_a_frame_in_work_is_answered_before_its_stream_is_told_to_go(
    replica: Replica, small_png: bytes
) -> None:
    async with connect(replica.url) as socket:
        token = (await told(socket))["token"]
        replica.network.gate.clear()
        await socket.send(small_png)
        await until(lambda: replica.network.batches)
        replica.drain()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await socket.recv()
        replica.network.gate.set()
        assert (await told(socket))["seq"] == 1
        assert (await told(socket))["type"] == "closing"
    assert await replica.saved(token) == 1


async def test_the_last_frame_is_stored_when_a_stream_is_told_to_go(
    replica: Replica, small_png: bytes
) -> None:
    async with connect(replica.url) as socket:
        token = (await told(socket))["token"]
        replica.store.save_s = 0.3
        for seq in (1, 2, 3):
            await socket.send(small_png)
            assert (await told(socket))["seq"] == seq
        replica.drain()
        assert (await told(socket))["type"] == "closing"
        assert await replica.saved(token) == 3


async def test_what_could_not_be_stored_is_stored_at_the_end(
    replica: Replica, small_png: bytes
) -> None:
    async with connect(replica.url) as socket:
        token = (await told(socket))["token"]
        replica.store.gone = True
        await socket.send(small_png)
        assert (await told(socket))["seq"] == 1
        assert await replica.saved(token) is None
        replica.store.gone = False
        replica.drain()
        assert (await told(socket))["type"] == "closing"
        assert await replica.saved(token) == 1


async def test_the_number_of_a_frame_that_failed_is_not_given_out_again(
    replica: Replica, small_png: bytes
) -> None:
    async with connect(replica.url) as socket:
        token = (await told(socket))["token"]
        await socket.send(small_png)
        await told(socket)
        await socket.send(b"no image")
        assert (await told(socket))["seq"] == 2
    async with connect(f"{replica.url}?token={token}") as socket:
        assert (await told(socket))["seq"] == 2
        await socket.send(small_png)
        again = await told(socket)
    assert (again["seq"], again["state"]) == (3, "resumed")


async def test_a_pose_that_is_asked_for_during_a_frame_is_that_of_the_next(
    replica: Replica, small_png: bytes
) -> None:
    async with connect(replica.url) as socket:
        await told(socket)
        replica.network.gate.clear()
        await socket.send('{"type": "config", "include": []}')
        await socket.send(small_png)
        await until(lambda: replica.network.batches)
        await socket.send('{"type": "config", "include": ["pose"], "points": 5}')
        await socket.send("{}")  # refused at once: what came before it was read
        assert (await told(socket))["code"] == "invalid_request"
        replica.network.gate.set()
        first = await told(socket)
        await socket.send(small_png)
        second = await told(socket)
    assert ["pose" in answer["faces"][0] for answer in (first, second)] == [False, True]
    assert [len(answer["faces"][0]["landmarks"]) for answer in (first, second)] == [98, 5]


async def test_a_stream_whose_end_is_cancelled_is_stored_all_the_same(
    fake_service: FakeServiceFactory, small_png: bytes
) -> None:
    core, store = (await fake_service()).core, PoorStore()
    stream = Stream(core.pipeline, store, core.tokens, None, rules_of(core.settings))
    await stream.open()
    store.save_s = 0.2
    await stream.frame(small_png, 0)
    closing = asyncio.create_task(stream.close())
    await asyncio.sleep(0.05)
    closing.cancel()
    await asyncio.gather(closing, return_exceptions=True)
    await stream.close()
    saved = await store.load(key_of(stream.token))
    assert saved is not None
    assert saved.seq == 1
