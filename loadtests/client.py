"""The load: a process that sends one prepared request over kept-alive connections.

``python -m loadtests.client PORT CONNECTIONS SECONDS < REQUEST`` prints one line of JSON. It does
as little as a client can, because it shares the cores with the service that it measures.
"""

import asyncio
import importlib
import json
import resource
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

ANSWER_S = 30  # the longest that the last answers may take
PARSED = 8  # on many connections, one answer in so many is taken apart


@dataclass
class Tally:
    """What came back, and when."""

    times_ms: list[float] = field(default_factory=list)
    parts_ms: dict[str, list[float]] = field(default_factory=dict)  # of the answers taken apart
    failed: int = 0

    def add(self, status: int, body: bytes, ms: float, parse: bool) -> None:
        """Count one answer; one that is not 200 with exactly one face has failed."""
        self.times_ms.append(ms)
        if status != 200 or body.count(b'"confidence"') != 1:
            self.failed += 1
        elif parse:
            for name, part in parts(json.loads(body)["ms"], ms).items():
                self.parts_ms.setdefault(name, []).append(part)


def parts(told: dict[str, float], whole_ms: float) -> dict[str, float]:
    """Where the time of one answer went: what the service tells, and the rest."""
    named = {name: told[name] for name in ("decode", "queue", "inference")}
    return {**named, "rest": whole_ms - sum(told.values())}


def event_loop() -> asyncio.AbstractEventLoop:
    """A loop of the kind that uvicorn runs the service on: uvloop where it is installed."""
    try:
        loop: asyncio.AbstractEventLoop = importlib.import_module("uvloop").new_event_loop()
    except ImportError:
        return asyncio.new_event_loop()
    return loop


async def answer(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    """Status and body of the next response."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = head.lower().split(b"\r\ncontent-length:", 1)[1].split(b"\r\n", 1)[0]
    return int(head[9:12]), await reader.readexactly(int(length))


async def converse(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    request: bytes,
    end: float,
    every: int,
    tally: Tally,
) -> None:
    """Send and wait, again and again, until ``end``; at least once."""
    count = 0
    while not count or time.perf_counter() < end:
        started = time.perf_counter()
        writer.write(request)
        status, body = await answer(reader)
        ms = 1000 * (time.perf_counter() - started)
        tally.add(status, body, ms, parse=count % every == 0)
        count += 1


async def load(port: int, connections: int, seconds: float, request: bytes) -> dict[str, Any]:
    """Keep ``connections`` busy for ``seconds``; what came of it."""
    tally = Tally()
    every = PARSED if connections > 1 else 1
    opened = [await asyncio.open_connection("127.0.0.1", port) for _ in range(connections)]
    cpu_s, started = cpu_seconds(), time.perf_counter()
    async with asyncio.timeout(seconds + ANSWER_S):
        end = started + seconds
        await asyncio.gather(*(converse(*pair, request, end, every, tally) for pair in opened))
    wall_s, cpu_s = time.perf_counter() - started, cpu_seconds() - cpu_s
    for _, writer in opened:
        writer.close()
    medians = {name: statistics.median(each) for name, each in tally.parts_ms.items()}
    return {**told(tally.times_ms, tally.failed, wall_s, cpu_s), "parts_ms": medians}


def told(times_ms: list[float], failed: int, wall_s: float, cpu_s: float) -> dict[str, float]:
    """What a load tells of its answers and of its own CPU time."""
    ordered = sorted(times_ms)
    return {
        "answers": len(ordered),
        "failed": failed,
        "wall_s": wall_s,
        "p50_ms": ordered[len(ordered) // 2],
        "p99_ms": ordered[len(ordered) * 99 // 100],
        "client_cpu_s": cpu_s,
    }


def p99(times_ms: Sequence[float]) -> float:
    """The 99th percentile; 0 of none."""
    ordered = sorted(times_ms)
    return ordered[len(ordered) * 99 // 100] if ordered else 0.0


def cpu_seconds() -> float:
    """CPU time of this process so far, in user and system mode."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def steady(came_at: list[float], seconds: float, deadline_s: float) -> float:
    """Answers a second while a load of that length stands: they came ``came_at`` (seconds after its
    beginning).

    Not while the queue still fills, for a deadline at most, and not what came after the last
    request: a queue that empties then would be answered in no time.
    """
    begins = min(deadline_s, seconds / 2)
    return sum(begins <= at <= seconds for at in came_at) / (seconds - begins)


def main() -> None:
    """Run the load and print what came of it."""
    port, connections, seconds = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
    request = sys.stdin.buffer.read()
    with asyncio.Runner(loop_factory=event_loop) as runner:
        print(json.dumps(runner.run(load(port, connections, seconds, request))))


if __name__ == "__main__":
    main()
