"""How long frames wait for their answers when the replica of half of a hundred streams dies."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

from tests.load import Streamed

STREAMS = 100
PAUSE_S = 1.0  # between an answer and the next frame: they want half of what two cores can do
ADDED_MS = 500  # to what a frame takes anyhow, at most
BUSY_MS = 50  # the median of a frame is longer only where others use the cores
START_S = 240


@dataclass(frozen=True)
class Gaps:
    """Milliseconds from frames to their answers, in order of length."""

    usual: list[float]  # before the replica died
    resumed: list[float]  # of the first frame of each stream that lost its replica

    @property
    def added_ms(self) -> float:
        """What the death added for the stream that waited longest."""
        return self.resumed[-1] - median(self.usual)

    @property
    def busy(self) -> bool:
        """The machine had too much to do for the wait to say anything."""
        return median(self.usual) > BUSY_MS

    def __str__(self) -> str:
        return (
            f"{len(self.resumed)} of {STREAMS} streams were cut off; a frame's answer took "
            f"{median(self.usual):.0f} ms before (p99 "
            f"{self.usual[len(self.usual) * 99 // 100]:.0f}), "
            f"{median(self.resumed):.0f} ms after (worst {self.resumed[-1]:.0f})"
        )


async def gaps(url: str, kill: Callable[[], None]) -> Gaps:
    """Stream, let ``kill`` end the busiest replica, and go on until every stream has."""
    ended = asyncio.Event()
    streams = [Streamed(faces=1) for _ in range(STREAMS)]
    async with asyncio.TaskGroup() as group:
        for stream in streams:
            group.create_task(stream.run(url, ended, PAUSE_S))
            await asyncio.sleep(PAUSE_S / STREAMS)
        await _answered(streams, [5] * STREAMS)
        before = [len(stream.frames) for stream in streams]
        await asyncio.to_thread(kill)
        await _answered(streams, [count + 3 for count in before])
        ended.set()
    for stream in streams:
        stream.check(killed=True)
    return Gaps(
        sorted(w for s, n in zip(streams, before, strict=True) for w in s.waits_ms[1:n]),
        sorted(wait for stream in streams for wait in stream.resumed_ms),
    )


async def _answered(streams: list[Streamed], counts: list[int]) -> None:
    async with asyncio.timeout(START_S):
        while any(len(s.frames) <= n for s, n in zip(streams, counts, strict=True)):
            await asyncio.sleep(0.1)
