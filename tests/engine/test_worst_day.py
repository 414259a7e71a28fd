"""Everything goes wrong, one thing after the other, while streams and callers are at work."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from statistics import median

import pytest

from atpn import AsyncClient
from atpn.client import ClientError
from tests import clips
from tests.engine.compose import START_S, Compose
from tests.engine.docker import DockerError, docker, inspected
from tests.load import Streamed

pytestmark = pytest.mark.engine

STREAMS, CALLERS = 8, 2
PAUSE_S = 0.1  # of each between two pictures: it is not the speed that is tested
QUIET_S = 3.0  # after each event
#: Asks for memory until the kernel ends somebody; it has been told whom.
HOG = "held = [bytearray(1 << 26) for _ in range(64)]"
THE_ONLY_PROXY = "the proxy is killed, for 3 s"  # nobody else takes calls then
CONFIG = ("redis-cli", "config", "set")
FULL = "cat /dev/zero > /tmp/full"


@dataclass
class Called:
    """One caller of /align, of our own client."""

    answers: int = 0
    failures: list[tuple[float, str]] = field(default_factory=list)  # when, and the error's code

    async def run(self, url: str, photo: bytes, ended: asyncio.Event) -> None:
        """Call until ``ended``; what failed is counted by its code."""
        async with AsyncClient(url) as client:
            while not ended.is_set():
                try:
                    assert len((await client.align(photo)).faces) == 1
                    self.answers += 1
                except ClientError as error:
                    self.failures.append((time.monotonic(), error.code))
                await asyncio.sleep(PAUSE_S)


@dataclass
class Event:
    """What happened, from when to when, by the monotonic clock."""

    name: str
    begun: float
    ended: float


@dataclass
class Day:
    """The load, and what happens to the project meanwhile."""

    compose: Compose
    streams: list[Streamed] = field(default_factory=lambda: [Streamed(1) for _ in range(STREAMS)])
    callers: list[Called] = field(default_factory=lambda: [Called() for _ in range(CALLERS)])
    events: list[Event] = field(default_factory=list)

    async def load(self, ended: asyncio.Event) -> None:
        """All streams and callers, until ``ended``."""
        photo = clips.panning(1)[0]
        async with asyncio.TaskGroup() as group:
            for stream in self.streams:
                group.create_task(stream.run(self.compose.url, ended, PAUSE_S))
            for caller in self.callers:
                group.create_task(caller.run(self.compose.url, photo, ended))

    async def answered(self, more: int) -> None:
        """Return when every stream has so many more answers."""
        before = [len(stream.frames) for stream in self.streams]
        async with asyncio.timeout(START_S):
            while any(len(s.frames) < n + more for s, n in zip(self.streams, before, strict=True)):
                await asyncio.sleep(0.1)

    async def happens(self, name: str, event: Callable[[], None]) -> None:
        """Let it happen; it is over when all is well again and every stream goes on."""
        begun = time.monotonic()
        await asyncio.to_thread(event)
        await asyncio.to_thread(self.compose.wait_well)
        await self.answered(5)
        await asyncio.sleep(QUIET_S)
        self.events.append(Event(name, begun, time.monotonic()))

    def row(self, event: Event) -> str:
        """The event's line of the table."""
        waits, resumed = [], 0
        for stream in self.streams:
            for asked, at, frame in zip(stream.asked, stream.at, stream.frames, strict=False):
                if event.begun <= at < event.ended:
                    waits.append(1000 * (at - asked))
                    resumed += frame.state == "resumed"
        return (
            f"| {event.name} | {len(waits)} | {resumed} | {median(waits):.0f} ms "
            f"| {max(waits) / 1000:.2f} s | {len(self.failures(event))} |"
        )

    def failures(self, event: Event) -> list[str]:
        """The codes of the calls of /align that failed meanwhile."""
        all_failures = [failure for caller in self.callers for failure in caller.failures]
        return [code for at, code in all_failures if event.begun <= at < event.ended]

    def table(self) -> str:
        """All events, in Markdown."""
        head = "| what happens | frames | resumed | median wait | longest | calls that failed |"
        return "\n".join([head, "|---|---|---|---|---|---|", *(self.row(e) for e in self.events)])


def killed(container: str) -> None:
    """SIGKILL, and a new start after a while."""
    docker("kill", container)
    time.sleep(QUIET_S)
    docker("start", container)


def replaced(compose: Compose) -> None:
    """Every replica in turn, by SIGTERM."""
    for replica in compose.containers("atpn"):
        docker("stop", replica)
        docker("start", replica)
        compose.wait_well()


def cut_off(compose: Compose) -> None:
    """A replica lives on without a network, until it has one again."""
    replica = compose.busiest()
    docker("network", "disconnect", compose.network, replica)
    time.sleep(4 * QUIET_S)
    docker("network", "connect", "--alias", "atpn", compose.network, replica)


def out_of_memory(compose: Compose) -> None:
    """A replica's container reaches its limit: the kernel ends it, the engine starts it again."""
    replica = compose.busiest()
    before = inspected(replica)["RestartCount"]
    docker("exec", replica, "sh", "-c", "echo 1000 > /proc/1/oom_score_adj")
    with pytest.raises(DockerError):
        docker("exec", replica, "python", "-c", HOG)
    compose.wait_well()
    assert inspected(replica)["RestartCount"] == before + 1


def disks_full(compose: Compose) -> None:
    """Nothing fits into what replicas may write to."""
    for replica in compose.containers("atpn"):
        with pytest.raises(DockerError, match="No space left"):
            docker("exec", replica, "sh", "-c", FULL)
    time.sleep(QUIET_S)
    for replica in compose.containers("atpn"):
        docker("exec", replica, "rm", "/tmp/full")  # noqa: S108 - of the container


def redis_full(redis: str) -> None:
    """Redis takes nothing more, for a while."""
    for memory, policy in (("1", "noeviction"), ("256mb", "volatile-ttl")):
        docker("exec", redis, *CONFIG, "maxmemory", memory, "maxmemory-policy", policy)
        time.sleep(QUIET_S)


def events(compose: Compose) -> dict[str, Callable[[], None]]:
    """What happens, in order."""
    (proxy,), (redis,) = compose.containers("proxy"), compose.containers("redis")
    return {
        "nothing": lambda: time.sleep(QUIET_S),
        "a replica is killed": lambda: killed(compose.busiest()),
        "Redis is killed and comes back empty": lambda: killed(redis),
        THE_ONLY_PROXY: lambda: killed(proxy),
        "all replicas are replaced in turn": lambda: replaced(compose),
        "a replica's network is cut and comes back": lambda: cut_off(compose),
        "a replica asks for more memory than its limit": lambda: out_of_memory(compose),
        "the replicas' disks are full": lambda: disks_full(compose),
        "Redis' memory is full": lambda: redis_full(redis),
    }


async def test_no_frame_fails_whatever_dies(compose: Compose) -> None:
    day, ended = Day(compose), asyncio.Event()
    load = asyncio.create_task(day.load(ended))
    await day.answered(10)
    for name, event in events(compose).items():
        await day.happens(name, event)
        assert not load.done(), name
    ended.set()
    await load
    frames = [frame for stream in day.streams for frame in stream.frames]
    print(  # noqa: T201
        f"\n{day.table()}\n{len(frames)} frames of {STREAMS} streams, "
        f"{sum(frame.error is not None for frame in frames)} failed; "
        f"{sum(caller.answers for caller in day.callers)} calls of /align answered"
    )
    for event_ in day.events:
        assert event_.name == THE_ONLY_PROXY or day.failures(event_) == []
    for stream in day.streams:
        stream.check(killed=True)
