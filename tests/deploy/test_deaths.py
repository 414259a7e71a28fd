"""Replicas that are killed at random moments, as processes behind the real proxy."""

import asyncio
import random

import pytest

from tests.deploy.stack import START_S, Stack
from tests.load import Streamed

STREAMS, DEATHS = 6, 12
PAUSE_S = 0.05


async def _back(stack: Stack, address: str) -> None:
    """Start a replica again; returns when the proxy has had time to find it."""
    stack.start(address)
    async with asyncio.timeout(START_S):
        while address not in await asyncio.to_thread(stack.open_streams):
            await asyncio.sleep(0.2)
    await asyncio.sleep(2)


@pytest.mark.long
async def test_ids_and_numbers_go_on_through_a_dozen_deaths_at_random_moments(
    stack: Stack,
) -> None:
    ended, streams = asyncio.Event(), [Streamed(faces=1 + i % 3) for i in range(STREAMS)]
    async with asyncio.TaskGroup() as group:
        for stream in streams:
            group.create_task(stream.run(f"http://127.0.0.1:{stack.proxy}", ended, PAUSE_S))
        for _ in range(DEATHS):
            await asyncio.sleep(random.uniform(1, 3))  # noqa: S311 - any moment will do
            found = await asyncio.to_thread(stack.open_streams)
            address = max(found, key=lambda name: found[name])
            await asyncio.to_thread(stack.replicas[address].kill)
            await asyncio.to_thread(stack.replicas[address].wait, 10)
            await _back(stack, address)
        ended.set()
    for stream in streams:
        stream.check(killed=True)
    resumes = sum(stream.resumes for stream in streams)
    slowest = max(wait for stream in streams for wait in stream.resumed_ms)
    frames = sum(len(stream.frames) for stream in streams)
    print(f"{frames} frames, {resumes} resumes, the slowest {slowest:.0f} ms")  # noqa: T201
    assert resumes >= DEATHS
