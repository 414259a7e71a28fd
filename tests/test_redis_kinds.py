"""Sessions in a Redis Cluster, and behind Sentinels while the master dies; real processes."""

import asyncio
import gc
import time

import pytest
import redis

from atpn.errors import ConfigurationError, StaleWrite, StoreUnavailable
from atpn.redis_store import RedisStore
from atpn.sessions import Saved
from tests.stores import free_port, redis_cluster, redis_sentinel, redis_server


async def used(store: RedisStore) -> None:
    """Save, load, refuse a stale state: what a stream needs."""
    await store.ping()
    await store.save("a", Saved(2, b"two"))
    with pytest.raises(StaleWrite):
        await store.save("a", Saved(2, b"again"))
    assert await store.load("a") == Saved(2, b"two")


async def knows_the_script_only_by_its_digest(store: RedisStore, port: int) -> None:
    """A frame is saved by EVALSHA; a server that forgot the script is told it once more."""
    with redis.Redis(port=port) as client:
        client.script_flush()
        client.config_resetstat()
        for seq in range(10, 15):
            await store.save("script", Saved(seq, b"state"))
        commands = client.info("commandstats")
    assert "cmdstat_eval" not in commands
    assert commands["cmdstat_script|load"]["calls"] == 1
    assert commands["cmdstat_evalsha"]["calls"] == 6  # the first of them in vain


async def says_that_it_is_gone(store: RedisStore) -> None:
    """All that can be asked of a store."""
    for call in (store.load("a"), store.save("a", Saved(9, b"")), store.ping()):
        with pytest.raises(StoreUnavailable):
            await call


async def test_one_server_is_told_the_saving_script_once() -> None:
    with redis_server() as server:
        store = RedisStore(server.url, ttl_s=60, timeout_s=2)
        try:
            await knows_the_script_only_by_its_digest(store, server.port)
        finally:
            await store.close()


async def test_a_cluster_keeps_sessions() -> None:
    with redis_cluster() as cluster:
        store = RedisStore(cluster.url, ttl_s=60, timeout_s=2)
        try:
            await used(store)
            await knows_the_script_only_by_its_digest(store, cluster.server.port)
        finally:
            await store.close()


# redis-py lets go of a connection that broke without waiting for it to be closed.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
async def test_sentinels_lead_to_the_master_and_to_the_next_one_when_it_dies() -> None:
    with redis_sentinel() as watched:
        store = RedisStore(watched.url, ttl_s=60, timeout_s=1)
        try:
            await used(store)
            await knows_the_script_only_by_its_digest(store, watched.master.port)
            await store.save("b", Saved(1, b"kept"))
            watched.replicated()
            watched.master.stop()
            with pytest.raises(StoreUnavailable):
                await store.save("b", Saved(2, b"lost"))
            async with asyncio.timeout(40):
                while True:
                    try:
                        found = await store.load("b")
                        await store.save("b", Saved(3, b"three"))
                        break
                    except StoreUnavailable:
                        await asyncio.sleep(0.2)
            assert found == Saved(1, b"kept")
            assert await store.load("b") == Saved(3, b"three")
        finally:
            await store.close()
    gc.collect()  # here, and not in another test


async def test_every_call_of_a_cluster_that_is_gone_says_so() -> None:
    with redis_cluster() as cluster:
        store = RedisStore(cluster.url, ttl_s=60, timeout_s=2)
        await used(store)
        cluster.server.stop()
        for _ in range(2):
            await says_that_it_is_gone(store)
        await store.close()


async def test_a_node_of_a_cluster_that_hangs_costs_two_timeouts() -> None:
    """It tells where its keys are, and does not write them."""
    with redis_cluster() as cluster:
        store = RedisStore(cluster.url, ttl_s=60, timeout_s=0.2)
        await used(store)
        with redis.Redis(port=cluster.server.port) as client:
            client.execute_command("CLIENT", "PAUSE", 10_000, "WRITE")
            begun = time.monotonic()
            with pytest.raises(StoreUnavailable):
                await store.save("a", Saved(9, b""))
            assert time.monotonic() - begun < 2 * 0.2 + 0.3
            client.execute_command("CLIENT", "UNPAUSE")
        await store.save("a", Saved(10, b"ten"))
        assert await store.load("a") == Saved(10, b"ten")
        await store.close()


async def test_sentinels_that_do_not_answer_cost_one_timeout_each() -> None:
    with redis_server() as silent:
        silent.pause()
        places = f"127.0.0.1:{silent.port},127.0.0.1:{free_port()}"
        store = RedisStore(f"redis+sentinel://{places}/atpn", ttl_s=60, timeout_s=0.2)
        begun = time.monotonic()
        await says_that_it_is_gone(store)
        # Four questions to a silent Sentinel; redis-py's own tries would make it half a minute.
        assert 4 * 0.2 <= time.monotonic() - begun < 10
        await store.close()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
async def test_an_idle_connection_to_a_master_that_hangs_does_not_lose_the_session() -> None:
    with redis_sentinel() as watched:
        store = RedisStore(watched.url, ttl_s=60, timeout_s=0.5)
        await store.save("a", Saved(1, b"kept"))
        watched.replicated()
        watched.master.pause()
        watched.failed_over()
        assert await store.load("a") == Saved(1, b"kept")
        await store.close()
    gc.collect()  # here, and not in another test


@pytest.mark.parametrize(
    ("url", "word"),
    [
        ("http://127.0.0.1:1", "expected"),
        ("redis+sentinel://127.0.0.1:1", "NAME"),
        ("redis+sentinel://127.0.0.1/atpn", "HOST:PORT"),
        ("redis+cluster://127.0.0.1:x", "HOST:PORT"),
    ],
)
def test_an_address_that_cannot_be_read_is_a_configuration_error(url: str, word: str) -> None:
    with pytest.raises(ConfigurationError, match=word):
        RedisStore(url, ttl_s=60, timeout_s=1)
