"""The process does not grow, however many streams come and go and however much rubbish arrives."""

import asyncio
from pathlib import Path

import numpy as np
import pytest
from websockets.asyncio.client import connect

from tests import clips
from tests.server import Server, running

GROWTH_MIB = 25


def resident_mib(server: Server) -> float:
    """Resident memory of the service process."""
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    (line,) = [row for row in status.splitlines() if row.startswith("VmRSS")]
    return int(line.split()[1]) / 1024


async def visit(server: Server, frames: list[bytes]) -> None:
    """Open a stream, have some frames answered, vanish."""
    async with connect(server.track_url) as socket:
        await socket.recv()
        for frame in frames:
            await socket.send(frame)
            await socket.recv()
        socket.transport.abort()


@pytest.mark.long
async def test_memory_does_not_grow_over_streams_frames_and_bad_frames() -> None:
    good = clips.panning(8)
    bad = [b"", b"text", good[0][:1000], b"\xff\xd8" * 5000]
    with running(max_sessions="50") as server:
        for _ in range(100):
            await visit(server, good[:3] + bad)
        before = resident_mib(server)
        for _ in range(400):
            await visit(server, good[:3] + bad)
        after = resident_mib(server)
    assert after - before < GROWTH_MIB, f"{before:.0f} MiB grew to {after:.0f} MiB"


def slope(samples: list[float]) -> float:
    """MiB that the second half of the samples grows by, by a straight line through them."""
    half = np.array(samples[len(samples) // 2 :])
    return float(np.polyfit(np.linspace(0, 1, len(half)), half, 1)[0])


@pytest.mark.long
async def test_ten_thousand_connections_leave_no_memory_behind() -> None:
    samples = []
    with running(max_sessions="1000") as server:

        async def come_and_go() -> None:
            for i in range(125):
                async with connect(server.track_url) as socket:
                    await socket.recv()
                    if i % 2:
                        socket.transport.abort()

        for _ in range(20):
            await asyncio.gather(*(come_and_go() for _ in range(4)))
            samples.append(resident_mib(server))
    print(f"10,000 connections: {samples[0]:.1f} -> {samples[-1]:.1f} MiB")  # noqa: T201
    assert slope(samples) < 5, samples


@pytest.mark.long
async def test_an_hour_of_frames_leaves_no_memory_behind() -> None:
    """108,000 frames are an hour at 30 a second; four streams send them as fast as they can."""
    frames = clips.panning(40)
    samples = []
    with running() as server:

        async def streaming() -> None:
            async with connect(server.track_url) as socket:
                await socket.recv()
                for i in range(1350):
                    await socket.send(frames[i % len(frames)])
                    await socket.recv()

        for _ in range(20):
            await asyncio.gather(*(streaming() for _ in range(4)))
            samples.append(resident_mib(server))
    print(f"108,000 frames: {samples[0]:.1f} -> {samples[-1]:.1f} MiB")  # noqa: T201
    assert slope(samples) < 5, samples
