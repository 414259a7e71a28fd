"""The load of /track: streams that send the same frame again as soon as it is answered.

``python -m loadtests.streams PORT STREAMS SECONDS < JPEG`` prints one line of JSON. It shares the
cores with the service, so it does as little as a client can: frames are masked with zeros, once.
"""

import asyncio
import json
import struct
import sys
import time
from typing import cast

from loadtests.client import cpu_seconds, event_loop, told

HANDSHAKE = (
    b"GET /track HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: YXRwbiByYWNlIHN0cmVhbQ==\r\n"
    b"Sec-WebSocket-Protocol: atpn.v1.json\r\n\r\n"
)
MASKED, BINARY, DATA = 0x80, 0x82, (0x81, 0x82)  # bits and first bytes of whole frames (RFC 6455)
ANSWER_S = 30


def masked(payload: bytes) -> bytes:
    """A client's WebSocket frame; the mask of zeros leaves the payload as it is."""
    if len(payload) < 126:
        head = struct.pack(">BB", BINARY, MASKED | len(payload))
    elif len(payload) < 1 << 16:
        head = struct.pack(">BBH", BINARY, MASKED | 126, len(payload))
    else:
        head = struct.pack(">BBQ", BINARY, MASKED | 127, len(payload))
    return head + bytes(4) + payload


def unframed(buffer: bytearray) -> tuple[int, bytes] | None:
    """Take a server's frame off the buffer: its first byte and payload; None: not all is there."""
    if len(buffer) < 2:
        return None
    size, start = buffer[1], 2
    if size == 126:
        size, start = int.from_bytes(buffer[2:4], "big"), 4
    elif size == 127:
        size, start = int.from_bytes(buffer[2:10], "big"), 10
    if len(buffer) < start + size:
        return None
    frame = buffer[0], bytes(buffer[start : start + size])
    del buffer[: start + size]
    return frame


class Stream(asyncio.Protocol):
    """One stream; ``done`` when the answer that came after the end is there."""

    def __init__(self, frame: bytes, seconds: float, pause_s: float = 0.0) -> None:
        self.frame = masked(frame)
        self.seconds = seconds
        self.pause_s = pause_s  # from an answer to the next frame
        self.times_ms: list[float] = []
        self.failed = 0
        self.done = asyncio.get_running_loop().create_future()
        self._buffer = bytearray()
        self._upgraded = False
        self._sent = self._ends = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask for a WebSocket."""
        self._transport = cast(asyncio.Transport, transport)  # create_connection gives no other
        self._transport.write(HANDSHAKE)

    def connection_lost(self, error: Exception | None) -> None:
        """An end that was not ours fails the run."""
        if not self.done.done():
            self.done.set_exception(error or ConnectionError("the service closed a stream"))

    def data_received(self, data: bytes) -> None:
        """The handshake's answer, then frames."""
        self._buffer += data
        if not self._upgraded:
            end = self._buffer.find(b"\r\n\r\n")
            if end < 0:
                return
            del self._buffer[: end + 4]
            self._upgraded = True
        while frame := unframed(self._buffer):
            if frame[0] in DATA:
                self.answered(frame[1])

    def answered(self, message: bytes) -> None:
        """Count the answer and send the next frame; the first message tells the session."""
        now = time.perf_counter()
        if b'"session_id"' in message[:200]:
            self._ends = now + self.seconds
        else:
            self.times_ms.append(1000 * (now - self._sent))
            self.failed += message.count(b'"confidence"') != 1 or b'"yaw"' not in message
        if now >= self._ends:
            self.done.set_result(None)
            self._transport.close()
            return
        if self.pause_s:
            asyncio.get_running_loop().call_later(self.pause_s, self._send)
        else:
            self._send()

    def _send(self) -> None:
        self._sent = time.perf_counter()
        self._transport.write(self.frame)


async def visit(port: int, frame: bytes, seconds: float, pause_s: float = 0.0) -> Stream:
    """Open a stream, keep it busy for so long, and leave; what it saw."""
    loop = asyncio.get_running_loop()
    _, stream = await loop.create_connection(
        lambda: Stream(frame, seconds, pause_s), "127.0.0.1", port
    )
    async with asyncio.timeout(seconds + ANSWER_S):
        await stream.done
    return stream


async def load(port: int, streams: int, seconds: float, frame: bytes) -> dict[str, float]:
    """Keep so many streams busy; what came of it."""
    cpu_s, started = cpu_seconds(), time.perf_counter()
    opened = await asyncio.gather(*(visit(port, frame, seconds) for _ in range(streams)))
    times_ms = [ms for stream in opened for ms in stream.times_ms]
    failed = sum(stream.failed for stream in opened)
    return told(times_ms, failed, time.perf_counter() - started, cpu_seconds() - cpu_s)


def main() -> None:
    """Run the load and print what came of it."""
    port, streams, seconds = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
    frame = sys.stdin.buffer.read()
    with asyncio.Runner(loop_factory=event_loop) as runner:
        print(json.dumps(runner.run(load(port, streams, seconds, frame))))


if __name__ == "__main__":
    main()
