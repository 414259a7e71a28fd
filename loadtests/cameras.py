"""Streams that send at their own rate, whether or not the last frame is answered, as cameras do.

``python -m loadtests.cameras PORT STREAMS FRAMES_A_S SECONDS DEADLINE_S < JPEG`` prints one line of
JSON; FRAMES_A_S is of all streams together. A frame counts if it was answered in time; their rate
is that of the `steady` part of the load. The service replaces a frame that waits by a newer one;
those are lost.
"""

import asyncio
import json
import re
import sys
import time

from loadtests.client import cpu_seconds, event_loop, p99, steady
from loadtests.streams import ANSWER_S, Stream

SEQ = re.compile(rb'"seq":\s*(\d+)')


class Camera(Stream):
    """One stream that sends ``per_s`` frames a second; ends with its last answer or deadline.

    ``begin_s`` is the place of its first frame among those of the other cameras.
    """

    def __init__(
        self, frame: bytes, seconds: float, per_s: float, deadline_s: float, begin_s: float
    ) -> None:
        super().__init__(frame, seconds)
        self.refused = False
        self.in_time_at: list[float] = []  # after its own beginning
        self._every_s = 1 / per_s
        self._deadline_s = deadline_s
        self._begin_s = begin_s
        self._sent_at: list[float] = []

    @property
    def sent(self) -> int:
        """Frames so far."""
        return len(self._sent_at)

    def connection_lost(self, error: Exception | None) -> None:
        """The service may refuse a stream; then it has no frames."""
        self.refused = error is None and not self._sent_at
        if not self.done.done():
            self.done.set_result(None)

    def answered(self, message: bytes) -> None:
        """The session, which begins the stream; the time of a frame, by its number."""
        now = time.perf_counter()
        if b'"session_id"' in message[:200]:
            loop = asyncio.get_running_loop()
            self._ends = now + self._begin_s + self.seconds
            loop.call_later(self._begin_s, self._tick)
        elif found := SEQ.search(message):
            if b'"confidence"' in message:
                took_s = now - self._sent_at[int(found[1]) - 1]
                self.times_ms.append(1000 * took_s)
                if took_s <= self._deadline_s:
                    self.in_time_at.append(now - (self._ends - self.seconds))
            else:
                self.failed += 1

    def _tick(self) -> None:
        """Send a frame, and see to the next: late is not less."""
        loop = asyncio.get_running_loop()
        now = time.perf_counter()
        if self._transport.is_closing():
            return
        if now >= self._ends:
            loop.call_later(self._deadline_s, self._transport.close)
            return
        self._sent_at.append(now)
        self._transport.write(self.frame)
        begun = self._ends - self.seconds
        loop.call_later(max(0.0, begun + self.sent * self._every_s - now), self._tick)


async def load(
    port: int, streams: int, per_s: float, seconds: float, deadline_s: float, frame: bytes
) -> dict[str, float]:
    """Offer ``per_s`` frames a second in so many streams; what came of it."""
    loop = asyncio.get_running_loop()
    each = per_s / streams
    cpu_s = cpu_seconds()

    async def camera(number: int) -> Camera:
        _, opened = await loop.create_connection(
            lambda: Camera(frame, seconds, each, deadline_s, number / per_s), "127.0.0.1", port
        )
        async with asyncio.timeout(seconds + ANSWER_S):
            await opened.done
        return opened

    cameras = await asyncio.gather(*(camera(number) for number in range(streams)))
    in_time = [ms for one in cameras for ms in one.times_ms if ms <= 1000 * deadline_s]
    answers = sum(len(one.times_ms) for one in cameras)
    return {
        "in_time_per_s": steady(
            [at for one in cameras for at in one.in_time_at], seconds, deadline_s
        ),
        "offered": round(per_s * seconds),
        "in_time": len(in_time),
        "refused": round(sum(one.refused for one in cameras) * each * seconds),
        "late": answers - len(in_time),
        "failed": sum(one.failed for one in cameras),
        "p99_ms": p99(in_time),
        "client_cpu_s": cpu_seconds() - cpu_s,
    }


def main() -> None:
    """Run the load and print what came of it."""
    port, streams = int(sys.argv[1]), int(sys.argv[2])
    per_s, seconds, deadline_s = map(float, sys.argv[3:6])
    frame = sys.stdin.buffer.read()
    with asyncio.Runner(loop_factory=event_loop) as runner:
        print(json.dumps(runner.run(load(port, streams, per_s, seconds, deadline_s, frame))))


if __name__ == "__main__":
    main()
