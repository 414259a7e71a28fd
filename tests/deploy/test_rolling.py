"""A rolling restart behind the real proxy while streams and callers of /align are at work."""

import asyncio
import time
from collections import Counter

import httpx
import pytest

from atpn.settings import Settings
from tests import clips
from tests.deploy.stack import START_S, Stack, linger_s
from tests.load import Posted, Streamed

STREAMS, CALLERS = 4, 3
PAUSE_S = 0.1  # of each between two pictures: it is not the speed that is tested
DRAIN_S = Settings().drain_s


async def status(client: httpx.AsyncClient, url: str) -> int:
    """What /readyz answers; 0 where nothing listens."""
    try:
        return (await client.get(f"{url}/readyz")).status_code
    except httpx.TransportError:
        return 0


async def replaced(stack: Stack, address: str) -> float:
    """End a replica by SIGTERM and start another in its place; the seconds that it listened."""
    old, url = stack.replicas[address], f"http://{address}:{stack.service}"
    begun = time.monotonic()
    old.terminate()
    async with httpx.AsyncClient(timeout=30, trust_env=False) as client, asyncio.timeout(START_S):
        while await status(client, url):
            await asyncio.sleep(0.1)
        took_s = time.monotonic() - begun
        assert await asyncio.to_thread(old.wait, START_S) == 0
    stack.start(address)
    async with httpx.AsyncClient(timeout=30, trust_env=False) as client, asyncio.timeout(START_S):
        while await status(client, url) != 200:
            await asyncio.sleep(0.2)
    await asyncio.sleep(4)  # until the proxy's checks have found it
    return took_s


@pytest.mark.long
async def test_nothing_fails_while_every_replica_is_replaced_in_turn(stack: Stack) -> None:
    url = f"http://127.0.0.1:{stack.proxy}"
    ended = asyncio.Event()
    streams = [Streamed(faces=1 + i % 3) for i in range(STREAMS)]
    callers = [Posted() for _ in range(CALLERS)]
    photo = clips.panning(1)[0]
    async with asyncio.TaskGroup() as group:
        for stream in streams:
            group.create_task(stream.run(url, ended, PAUSE_S))
        for caller in callers:
            group.create_task(caller.run(url, photo, ended, PAUSE_S))
        async with asyncio.timeout(START_S):
            while not all(len(stream.frames) > 10 for stream in streams):
                await asyncio.sleep(0.1)
        drains = [await replaced(stack, address) for address in list(stack.replicas)]
        ended.set()
    answers = sum((caller.answers for caller in callers), Counter[str]())
    gaps = sorted(gap for stream in streams for gap in stream.gaps_ms)
    print(  # noqa: T201
        f"{len(drains)} restarts, each drained in {[round(s, 1) for s in drains]} s; "
        f"{sum(len(s.frames) for s in streams)} frames of {STREAMS} streams, "
        f"{sum(s.resumes for s in streams)} resumes after {[round(g) for g in gaps]} ms; "
        f"/align: {dict(answers)}, broken: {[b for c in callers for b in c.broken]}"
    )
    for stream in streams:
        stream.check()
    assert sum(stream.resumes for stream in streams) >= len(drains)
    assert [caller.broken for caller in callers] == [[]] * CALLERS
    assert sum(caller.late for caller in callers) == 0
    assert answers["200"] >= 10 * CALLERS
    assert set(answers) == {"200"}
    assert max(drains) < float(linger_s()) + DRAIN_S + 1
    assert stack.open_streams() == dict.fromkeys(stack.replicas, 0)
