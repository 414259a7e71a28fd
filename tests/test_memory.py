"""The process does not grow, however many streams come and go and however much rubbish arrives."""

from pathlib import Path

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
