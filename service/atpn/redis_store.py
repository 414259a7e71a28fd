"""Sessions in Redis or Valkey: one server, a master behind Sentinels, or a Cluster."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast
from urllib.parse import unquote

import redis.asyncio as redis_client
from redis.asyncio.cluster import ClusterNode, RedisCluster
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel
from redis.backoff import NoBackoff
from redis.exceptions import RedisClusterException, RedisError
from typing_extensions import override

from atpn.errors import ConfigurationError, StaleWrite, StoreUnavailable
from atpn.sessions import Saved, Store

#: Calls that are open at once; more wait. redis-py's pools hold 100 connections, and fail beyond.
MOST_CALLS = 64


def connect(url: str, timeout_s: float) -> tuple[redis_client.Redis, list[redis_client.Redis]]:
    """A client of one server, of the master that Sentinels name, or of a Cluster; and the other
    clients that it needs, which have to be closed with it.

    ``redis://``, ``rediss://`` and ``unix://`` as redis-py reads them;
    ``redis+sentinel://[:PASSWORD@]HOST:PORT[,HOST:PORT...]/NAME[/DB]`` and
    ``redis+cluster://[:PASSWORD@]HOST:PORT[,HOST:PORT...]``. ConfigurationError for others.
    """
    timeouts: dict[str, Any] = {"socket_timeout": timeout_s, "socket_connect_timeout": timeout_s}
    scheme, _, rest = url.partition("://")
    if scheme in {"redis", "rediss", "unix"}:
        try:
            return redis_client.Redis.from_url(url, **timeouts), []
        except ValueError:  # its message may repeat a piece of the password
            raise ConfigurationError(f"ATPN_REDIS_URL: {scheme}://HOST:PORT is expected") from None
    if scheme not in {"redis+sentinel", "redis+cluster"}:
        raise ConfigurationError(
            "ATPN_REDIS_URL: redis://, rediss://, unix://, redis+sentinel:// or redis+cluster:// "
            "is expected"
        )
    credentials, _, places = rest.rpartition("@")
    password = unquote(credentials.partition(":")[2]) or None
    hosts, *path = places.split("/")
    try:
        nodes = [
            (host, int(port)) for host, _, port in (h.rpartition(":") for h in hosts.split(","))
        ]
        database = int(path[1]) if len(path) > 1 and path[1] else 0
    except ValueError:
        raise ConfigurationError("ATPN_REDIS_URL: HOST:PORT,HOST:PORT is expected") from None
    if scheme == "redis+cluster":
        start = [ClusterNode(host, port) for host, port in nodes]
        # It has the commands that are used here, but no class in common with the other.
        cluster = RedisCluster(
            startup_nodes=start, password=password, retry=Retry(NoBackoff(), 1), **timeouts
        )
        return cast(redis_client.Redis, cluster), []
    if not path or not path[0]:
        raise ConfigurationError("ATPN_REDIS_URL: the name of the master is missing: .../NAME")
    # The next Sentinel is the second try: redis-py would ask a dead one for seconds first.
    once = timeouts | {"retry": Retry(NoBackoff(), 0)}
    sentinel = Sentinel(nodes, sentinel_kwargs=once)  # type: ignore[no-untyped-call]
    master = sentinel.master_for(path[0], password=password, db=database, **timeouts)
    return cast(redis_client.Redis, master), list(sentinel.sentinels)


#: Compare and set in one step on the server: 1 if written, 0 if stale.
_SAVE = """
local seq, data = unpack(redis.call('HMGET', KEYS[1], 'seq', 'data'))
local known = seq == ARGV[1] and data == ARGV[2]
if seq and tonumber(seq) >= tonumber(ARGV[1]) and not known then return 0 end
redis.call('HSET', KEYS[1], 'seq', ARGV[1], 'data', ARGV[2])
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return 1
"""


class RedisStore(Store):
    """Sessions in Redis or Valkey: any replica can go on with any stream."""

    def __init__(self, url: str, ttl_s: float, timeout_s: float, prefix: str = "atpn:") -> None:
        self._ttl_ms = int(ttl_s * 1000)
        self._prefix = prefix
        self._timeout_s = timeout_s
        # A Cluster's client asks all its nodes where a hung one's keys are, each for the timeout.
        self._longest_s = 2 * timeout_s if url.startswith("redis+cluster") else None
        self._places = asyncio.Semaphore(MOST_CALLS)
        self._redis, self._others = connect(url, timeout_s)
        # Sent by its digest; whole only to a server that has not seen it (or was restarted).
        self._compare_and_set = self._redis.register_script(_SAVE)

    @override
    async def load(self, key: str) -> Saved | None:
        """StoreUnavailable if Redis does not answer.

        Asked twice: that an idle connection leads to a server that is gone, or is no master any
        more, shows only when it is used, and the session would be lost for it.
        """
        try:
            return await self._load(key)
        except StoreUnavailable:
            return await self._load(key)

    async def _load(self, key: str) -> Saved | None:
        async with self._call():
            seq, data = await self._redis.hmget(self._prefix + key, ["seq", "data"])
        if seq is None or data is None:
            return None
        return Saved(int(seq), cast(bytes, data))

    @override
    async def save(self, key: str, state: Saved) -> None:
        """StoreUnavailable if Redis does not answer."""
        async with self._call():
            written = await self._compare_and_set(
                [self._prefix + key], [str(state.seq), state.data, str(self._ttl_ms)]
            )
        if not written:
            raise StaleWrite(f"a frame at least as new as {state.seq} is stored already")

    @override
    async def ping(self) -> None:
        async with self._call():
            await self._redis.ping()

    async def close(self) -> None:
        """Close the connections."""
        for client in (self._redis, *self._others):
            await client.aclose()

    @asynccontextmanager
    async def _call(self) -> AsyncIterator[None]:
        """StoreUnavailable for whatever redis-py raises (a Cluster's errors are a kind of their
        own), and where so many calls are open that none of them ends within the timeout.
        """
        try:
            if self._places.locked():
                await asyncio.wait_for(self._places.acquire(), self._timeout_s)
            else:  # at once
                await self._places.acquire()
        except TimeoutError:
            raise StoreUnavailable(f"{MOST_CALLS} calls wait for Redis already") from None
        try:
            async with asyncio.timeout(self._longest_s):
                yield
        except (RedisError, RedisClusterException) as error:
            raise StoreUnavailable(str(error)) from error
        except TimeoutError:
            raise StoreUnavailable(f"no answer within {self._longest_s:g} s") from None
        finally:
            self._places.release()
