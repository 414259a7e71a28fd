"""Redis hangs, dies, comes back empty and fails over while a stream runs; real processes."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import httpx
import numpy as np
import pytest
import redis as redis_client

from tests.load import Streamed
from tests.loopback import Relay, relay
from tests.server import Server, metric, running
from tests.stores import redis_sentinel, redis_server

TIMEOUT_S = 2.0  # of the store: far longer than a frame takes
PATIENCE_S = 90
PAUSE_S = 0.05  # between an answer and the next frame


@dataclass
class Live:
    """A stream through a network that leads to the first of two replicas."""

    stream: Streamed
    first: Server
    second: Server
    network: Relay

    async def frames(self, count: int) -> list[float]:
        """Return when so many further frames are answered: the milliseconds of each."""
        begin = len(self.stream.frames)
        async with asyncio.timeout(PATIENCE_S):
            while len(self.stream.frames) < begin + count:
                await asyncio.sleep(0.02)
        return self.stream.latencies_ms(self.stream.at[begin], self.stream.at[-1])

    async def store_is(self, state: str, server: Server | None = None) -> None:
        """Return when /readyz says so of the store; it always says that traffic is wanted."""
        async with (
            asyncio.timeout(PATIENCE_S),
            httpx.AsyncClient(timeout=60, trust_env=False) as client,
        ):
            while True:
                answer = await client.get(f"{(server or self.first).url}/readyz")
                assert (answer.status_code, answer.json()["status"]) == (200, "ready")
                if answer.json()["store"] == state:
                    return
                await asyncio.sleep(0.05)

    async def stored(self, port: int) -> None:
        """Return when the server on this port has a state as new as the stream is now."""
        seq = len(self.stream.frames)
        with redis_client.Redis(port=port) as client:
            async with asyncio.timeout(PATIENCE_S):
                while True:
                    keys = client.keys("atpn:*")
                    if len(keys) == 1 and int(client.hget(keys[0], "seq") or 0) >= seq:
                        return
                    await asyncio.sleep(0.05)

    async def move(self) -> None:
        """End the first replica by SIGTERM; the stream finds the second in its place."""
        self.network.target_port = self.second.port
        assert await asyncio.to_thread(self.first.stop) == 0
        await self.frames(5)
        assert self.stream.resumes == 1


def fds(server: Server) -> float:
    """Files and sockets that the process has open."""
    return metric(server.url, "process_open_fds")


@asynccontextmanager
async def live(url: str, faces: int = 2) -> AsyncIterator[Live]:
    """A stream that runs until the block ends; then every frame must have been answered."""
    settings = {"redis_url": url, "redis_timeout_s": str(TIMEOUT_S)}
    ended = asyncio.Event()
    with (
        running(**settings) as first,
        running(**settings) as second,
        relay(first.port) as network,
    ):
        found = Live(Streamed(faces), first, second, network)
        async with asyncio.TaskGroup() as group:
            group.create_task(found.stream.run(network.url, ended, PAUSE_S))
            await found.frames(10)
            yield found
            ended.set()
        found.stream.check()
        async with asyncio.timeout(PATIENCE_S):
            while metric(second.url, "atpn_streams"):
                await asyncio.sleep(0.05)


def told(what: str, latencies_ms: list[float]) -> str:
    """A line about frames."""
    middle, most = np.percentile(latencies_ms, [50, 99])
    return f"{what}: {len(latencies_ms)} frames, median {middle:.0f} ms, p99 {most:.0f} ms"


async def test_frames_do_not_wait_for_a_redis_that_hangs() -> None:
    with redis_server() as store:
        async with live(store.url, faces=1) as now:
            store.pause()
            during = await now.frames(12)
            await now.store_is("degraded")
            store.go_on()
            await now.store_is("ok")
            await now.stored(store.port)
            await now.move()
    # Were frames to wait, each would take the store's timeout.
    assert np.median(during) < 1000 * TIMEOUT_S / 2


@pytest.mark.long
async def test_a_stream_outlives_a_redis_that_hangs_dies_and_comes_back_empty() -> None:
    with redis_server() as store:
        async with live(store.url) as now:
            lines = [told("before", await now.frames(100))]
            before = fds(now.first), fds(now.second)
            store.pause()
            during = await now.frames(100)
            lines.append(told("while it hangs", during))
            assert np.percentile(during, 95) < 1000 * TIMEOUT_S
            await now.store_is("degraded")
            store.go_on()
            await now.store_is("ok")
            await now.stored(store.port)
            for _ in range(3):
                store.stop()
                dead = await now.frames(50)
                lines.append(told("while it is dead", dead))
                await now.store_is("degraded")
                store.start()
                await now.store_is("ok")
                await now.stored(store.port)
            lines.append(told("after", await now.frames(50)))
            after = fds(now.first), fds(now.second)
            assert metric(now.first.url, 'atpn_store_errors_total{operation="save"}') >= 4
            await now.move()
            await now.stored(store.port)
    print("", *lines, f"open files {before} -> {after}", sep="\n")  # noqa: T201
    assert max(a - b for a, b in zip(after, before, strict=True)) <= 2


@pytest.mark.long
@pytest.mark.parametrize("how", ["dies", "hangs"])
async def test_a_stream_outlives_a_failover_of_the_master(how: str) -> None:
    with redis_sentinel() as watched:
        async with live(watched.url) as now:
            await now.store_is("ok", now.second)  # it has a connection to this master, too
            lines = [told("before", await now.frames(50))]
            if how == "dies":
                watched.master.stop()
            else:
                watched.master.pause()
            await now.store_is("degraded")
            lines.append(told("while there is no master", await now.frames(20)))
            await asyncio.to_thread(watched.failed_over)
            await now.store_is("ok")
            await now.stored(watched.replica.port)
            lines.append(told("after", await now.frames(50)))
            await now.move()
            await now.stored(watched.replica.port)
    print("", f"the master {how}", *lines, sep="\n")  # noqa: T201
