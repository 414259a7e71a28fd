"""How long a hundred streams wait when their replica is killed: shipped client, real proxy."""

import asyncio
from statistics import median

import pytest

from tests.deploy.stack import START_S, Stack
from tests.load import Streamed

STREAMS = 100
PAUSE_S = 1.0  # between an answer and the next frame: they want half of what two cores can do
WORST_S = 0.5


@pytest.mark.long
async def test_the_worst_of_a_hundred_streams_waits_half_a_second_for_a_killed_replica(
    stack: Stack,
) -> None:
    ended = asyncio.Event()
    streams = [Streamed(faces=1) for _ in range(STREAMS)]
    async with asyncio.TaskGroup() as group:
        for stream in streams:
            group.create_task(stream.run(f"http://127.0.0.1:{stack.proxy}", ended, PAUSE_S))
            await asyncio.sleep(PAUSE_S / STREAMS)
        async with asyncio.timeout(START_S):
            while not all(len(stream.frames) > 5 for stream in streams):
                await asyncio.sleep(0.1)
        home, count = max(stack.open_streams().items(), key=lambda item: item[1])
        before = [len(stream.frames) for stream in streams]
        stack.replicas[home].kill()
        async with asyncio.timeout(START_S):
            while not all(len(s.frames) > n + 3 for s, n in zip(streams, before, strict=True)):
                await asyncio.sleep(0.1)
        ended.set()
    stack.replicas[home].wait(10)
    for stream in streams:
        stream.check(killed=True)
    usual = sorted(w for s, n in zip(streams, before, strict=True) for w in s.waits_ms[1:n])
    cut = sorted(wait for stream in streams for wait in stream.resumed_ms)
    print(  # noqa: T201
        f"{count} of {STREAMS} streams were cut off; a frame's answer took {median(usual):.0f} ms "
        f"before (p99 {usual[len(usual) * 99 // 100]:.0f}), {median(cut):.0f} ms after the kill "
        f"(worst {cut[-1]:.0f})"
    )
    assert len(cut) >= count > 0
    assert cut[-1] < 1000 * WORST_S
