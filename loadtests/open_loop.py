"""More load than can be served: requests come at their times, whether or not the last is answered.

``python -m loadtests.open_loop PORT REQUESTS_A_S SECONDS DEADLINE_S < REQUEST`` prints one line of
JSON. A client waits until its deadline and then hangs up, as callers do; an answer counts if it is
a 200 in time. Their rate is that of the `steady` part of the load.
"""

import asyncio
import json
import sys
import time
from collections import Counter
from dataclasses import dataclass, field

from loadtests.client import cpu_seconds, event_loop, p99, steady


class Connection(asyncio.Protocol):
    """Asks one request at a time. No streams: at many refusals a second they are half the cost."""

    def __init__(self) -> None:
        self._answer = bytearray()
        self._status: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ready."""
        self.transport: asyncio.Transport = transport  # type: ignore[assignment]

    def ask(self, request: bytes) -> "asyncio.Future[int]":
        """The status of the answer; EOFError where the server hangs up."""
        self._answer.clear()
        self._status = asyncio.get_running_loop().create_future()
        self.transport.write(request)
        return self._status

    def data_received(self, data: bytes) -> None:
        """Part of an answer."""
        self._answer += data
        head, found, body = self._answer.partition(b"\r\n\r\n")
        if not found or self._status.done():
            return
        length = head.lower().partition(b"\r\ncontent-length:")[2].partition(b"\r\n")[0]
        if len(body) >= int(length):
            self._status.set_result(int(head[9:12]))

    def connection_lost(self, exc: Exception | None) -> None:
        """The server hung up."""
        if not self._status.done():
            self._status.set_exception(exc or EOFError())
            self._status.exception()  # seen, also where nobody waits


@dataclass
class Crowd:
    """Callers of one request, who share the connections that are free."""

    port: int
    request: bytes
    deadline_s: float
    free: list[Connection] = field(default_factory=list)
    in_time_ms: list[float] = field(default_factory=list)
    in_time_at: list[float] = field(default_factory=list)  # when those answers came
    refusals: Counter[int] = field(default_factory=Counter)  # answered in time, but not with 200
    late: int = 0  # or cut off by the server

    async def call(self) -> None:
        """One caller."""
        started = time.perf_counter()
        connection: Connection | None = None
        try:
            async with asyncio.timeout(self.deadline_s):
                connection = self.idle() or await self.connected()
                status = await connection.ask(self.request)
        except (TimeoutError, OSError, EOFError):
            self.late += 1
            if connection:
                connection.transport.abort()
            return
        self.free.append(connection)
        if status == 200:
            self.in_time_at.append(time.perf_counter())
            self.in_time_ms.append(1000 * (self.in_time_at[-1] - started))
        else:
            self.refusals[status] += 1

    @property
    def refused(self) -> int:
        """Answers in time that were not 200."""
        return self.refusals.total()

    def idle(self) -> Connection | None:
        """A connection that nobody uses; those that the server has closed meanwhile are dropped."""
        while self.free:
            connection = self.free.pop()
            if not connection.transport.is_closing():
                return connection
        return None

    async def connected(self) -> Connection:
        """A new connection."""
        loop = asyncio.get_running_loop()
        return (await loop.create_connection(Connection, "127.0.0.1", self.port))[1]

    async def come(self, per_s: float, seconds: float) -> None:
        """All callers at their times; returns when the last has gone."""
        started = time.perf_counter()
        async with asyncio.TaskGroup() as calls:
            for i in range(round(per_s * seconds)):
                wait_s = started + i / per_s - time.perf_counter()
                if wait_s > 0:
                    await asyncio.sleep(wait_s)
                calls.create_task(self.call())


async def load(
    port: int, per_s: float, seconds: float, deadline_s: float, request: bytes
) -> dict[str, float]:
    """Offer ``per_s`` requests a second; what came of it."""
    crowd = Crowd(port, request, deadline_s)
    cpu_s, started = cpu_seconds(), time.perf_counter()
    await crowd.come(per_s, seconds)
    return {
        "in_time_per_s": steady([at - started for at in crowd.in_time_at], seconds, deadline_s),
        "offered": round(per_s * seconds),
        "in_time": len(crowd.in_time_ms),
        "refused": crowd.refused,
        "late": crowd.late,
        "p99_ms": p99(crowd.in_time_ms),
        "client_cpu_s": cpu_seconds() - cpu_s,
    }


def main() -> None:
    """Run the load and print what came of it."""
    port, (per_s, seconds, deadline_s) = int(sys.argv[1]), map(float, sys.argv[2:5])
    request = sys.stdin.buffer.read()
    with asyncio.Runner(loop_factory=event_loop) as runner:
        print(json.dumps(runner.run(load(port, per_s, seconds, deadline_s, request))))


if __name__ == "__main__":
    main()
