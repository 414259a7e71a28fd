"""What saving a frame costs a Redis, by the counters of that Redis.

python -m loadtests.saving redis://127.0.0.1:6379    needs one that nothing else uses
"""

import argparse
import asyncio
import secrets
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass

import redis.asyncio as redis_client

from atpn.redis_store import RedisStore
from atpn.sessions import Saved, key_of
from loadtests.capacity import state

TTL_S = 60
FIRST = 20_000  # sequence number


@dataclass(frozen=True)
class Counters:
    """What a Redis says of itself."""

    bytes_in: int
    cpu_s: float
    memory_bytes: int

    def __sub__(self, before: "Counters") -> "Counters":
        return Counters(
            self.bytes_in - before.bytes_in,
            self.cpu_s - before.cpu_s,
            self.memory_bytes - before.memory_bytes,
        )


@dataclass(frozen=True)
class Cost:
    """Of one saved frame, and of one session that is kept."""

    save_bytes: float
    save_cpu_us: float
    session_bytes: float


async def counters(client: redis_client.Redis) -> Counters:
    """The counters now; asking adds to them."""
    said = await client.info("everything")
    return Counters(
        said["total_net_input_bytes"],
        said["used_cpu_user"] + said["used_cpu_sys"],
        said["used_memory"],
    )


async def save_frames(store: RedisStore, keys: Sequence[str], first: int, frames: int) -> None:
    """Frames ``first``, ``first + 1``, ... of a stream for each key, all streams at once."""

    async def one(key: str) -> None:
        for seq in range(first, first + frames):
            await store.save(key, Saved(seq, state(seq)))

    await asyncio.gather(*(one(key) for key in keys))


async def measured(url: str, streams: int = 50, frames: int = 400) -> Cost:
    """Save ``frames`` frames of each of so many streams; what that was for Redis."""
    store = RedisStore(url, TTL_S, timeout_s=5)
    rounds = [[key_of(secrets.token_urlsafe(32)) for _ in range(streams)] for _ in range(21)]
    async with redis_client.Redis.from_url(url) as client, AsyncExitStack() as stack:
        stack.push_async_callback(store.close)
        # Numbers of five digits, so that every frame is as long as the next.
        await save_frames(store, rounds[0], FIRST, 1)  # connects, and sends the script
        empty = await counters(client)
        for keys in rounds[1:]:
            await save_frames(store, keys, FIRST, 1)
        full = await counters(client)
        asking = await counters(client) - full
        begun = await counters(client)
        await save_frames(store, rounds[0], FIRST + 1, frames)
        used = await counters(client) - begun
    return Cost(
        (used.bytes_in - asking.bytes_in) / (streams * frames),
        1e6 * used.cpu_s / (streams * frames),
        (full - empty).memory_bytes / (streams * len(rounds[1:])),
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("url", help="redis://HOST:PORT of a Redis that nothing else uses")
    cost = asyncio.run(measured(parser.parse_args(arguments).url))
    print(f"save_bytes     {cost.save_bytes:.1f}")
    print(f"save_cpu_us    {cost.save_cpu_us:.1f}")
    print(f"session_bytes  {cost.session_bytes:.0f}")


if __name__ == "__main__":
    main()
