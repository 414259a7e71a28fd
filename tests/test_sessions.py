"""The contract of session stores, run on every store, Redis against a real server."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Iterator

import pytest

from atpn.errors import StaleWrite, StoreUnavailable
from atpn.redis_store import RedisStore
from atpn.sessions import MemoryStore, Saved, Store, Tokens, key_of
from tests.stores import free_port, redis_url

OLD, NEW = "o" * 32, "n" * 32
TTL_S = 0.3


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """A running Redis or Valkey."""
    with redis_url() as found:
        yield found


@pytest.fixture(params=["memory", "redis"])
async def store(request: pytest.FixtureRequest, url: str) -> AsyncIterator[Store]:
    """Each store in turn."""
    kept: Store
    if request.param == "memory":
        kept = MemoryStore(TTL_S, max_sessions=100)
    else:
        kept = RedisStore(url, TTL_S, timeout_s=2, prefix=f"test:{secrets.token_hex(4)}:")
    yield kept
    await kept.close()


async def test_what_was_saved_is_loaded(store: Store) -> None:
    await store.save("a", Saved(3, b"state \x00\xff"))
    assert await store.load("a") == Saved(3, b"state \x00\xff")


async def test_an_unknown_session_is_none(store: Store) -> None:
    assert await store.load("nobody") is None


async def test_a_newer_frame_replaces_an_older_one(store: Store) -> None:
    await store.save("a", Saved(1, b"old"))
    await store.save("a", Saved(2, b"new"))
    assert await store.load("a") == Saved(2, b"new")


@pytest.mark.parametrize("seq", [4, 5])
async def test_a_stale_replica_cannot_overwrite_a_newer_frame(store: Store, seq: int) -> None:
    await store.save("a", Saved(5, b"newest"))
    with pytest.raises(StaleWrite):
        await store.save("a", Saved(seq, b"stale"))
    assert await store.load("a") == Saved(5, b"newest")


async def test_more_calls_at_once_than_there_are_connections_wait_for_one(url: str) -> None:
    store = RedisStore(url, ttl_s=60, timeout_s=5, prefix=f"test:{secrets.token_hex(4)}:")
    keys = [f"stream {i}" for i in range(400)]
    await asyncio.gather(*(store.save(key, Saved(1, b"state")) for key in keys))
    assert set(await asyncio.gather(*(store.load(key) for key in keys))) == {Saved(1, b"state")}
    await store.close()


async def test_calls_that_wait_for_a_redis_that_hangs_give_up_in_time() -> None:
    async def hang(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await over.wait()
        writer.close()

    over = asyncio.Event()
    async with await asyncio.start_server(hang, "127.0.0.1", 0) as silent:
        port = silent.sockets[0].getsockname()[1]
        store = RedisStore(f"redis://127.0.0.1:{port}/0", ttl_s=1, timeout_s=0.5)
        calls = (store.save(f"stream {i}", Saved(1, b"state")) for i in range(100))
        async with asyncio.timeout(20):
            outcomes = await asyncio.gather(*calls, return_exceptions=True)
        assert {type(outcome) for outcome in outcomes} == {StoreUnavailable}
        assert sum("calls wait" in str(outcome) for outcome in outcomes) > 0
        over.set()
        await store.close()


async def test_of_many_writers_at_once_the_newest_frame_wins(store: Store) -> None:
    writes = [store.save("a", Saved(seq, b"%d" % seq)) for seq in (3, 9, 1, 7, 5)]
    await asyncio.gather(*writes, return_exceptions=True)
    assert await store.load("a") == Saved(9, b"9")


async def test_a_session_expires(store: Store) -> None:
    await store.save("a", Saved(1, b"state"))
    await asyncio.sleep(TTL_S * 1.5)
    assert await store.load("a") is None


async def test_every_frame_prolongs_its_session(store: Store) -> None:
    for seq in range(1, 5):
        await store.save("a", Saved(seq, b"state"))
        await asyncio.sleep(TTL_S * 0.4)
    assert await store.load("a") == Saved(4, b"state")


async def test_the_same_state_saved_again_prolongs_its_session(store: Store) -> None:
    for _ in range(4):
        await store.save("a", Saved(1, b"state \x00\xff"))
        await asyncio.sleep(TTL_S * 0.4)
    assert await store.load("a") == Saved(1, b"state \x00\xff")


async def test_sessions_do_not_see_each_other(store: Store) -> None:
    await store.save("a", Saved(1, b"of a"))
    await store.save("b", Saved(1, b"of b"))
    assert await store.load("a") == Saved(1, b"of a")


async def test_a_reachable_store_answers_a_ping(store: Store) -> None:
    await store.ping()


async def test_a_full_memory_store_forgets_the_session_longest_without_a_frame() -> None:
    store = MemoryStore(ttl_s=60, max_sessions=2)
    await store.save("a", Saved(1, b"a"))
    await store.save("b", Saved(1, b"b"))
    await store.save("a", Saved(2, b"a"))
    await store.save("c", Saved(1, b"c"))
    assert await store.load("b") is None
    assert await store.load("a") == Saved(2, b"a")


async def test_every_call_of_an_unreachable_redis_says_so() -> None:
    store = RedisStore(f"redis://127.0.0.1:{free_port()}/0", ttl_s=1, timeout_s=0.2)
    for call in (
        store.load("a"),
        store.save("a", Saved(1, b"")),
        store.ping(),
    ):
        with pytest.raises(StoreUnavailable):
            await call
    await store.close()


def test_a_token_is_long_and_its_key_does_not_contain_it() -> None:
    token = Tokens().new()
    assert len(token) >= 43
    assert token not in key_of(token)
    assert Tokens().new() != token


def test_without_keys_any_token_may_be_ours() -> None:
    assert Tokens().accepts("whatever")


def test_a_signed_token_is_accepted_by_every_key_of_the_list() -> None:
    token = Tokens([OLD]).new()
    assert Tokens([OLD]).accepts(token)
    assert Tokens([NEW, OLD]).accepts(token)
    assert not Tokens([NEW]).accepts(token)
    assert Tokens([NEW]).accepts(Tokens([NEW, OLD]).new())


def test_a_token_that_was_changed_or_made_up_is_not_accepted() -> None:
    tokens = Tokens([OLD])
    body, signature = tokens.new().split(".")
    for changed in (
        *("", ".", body, f"{body}.", f".{signature}", f"x{body}.{signature}"),
        *(f"{body}.{signature}=", f"{body}.{signature[::-1]}", f"{body}.ü\udc80", f"ü.{signature}"),
        f"{Tokens([OLD]).new().split('.')[0]}.{signature}",
    ):
        assert not tokens.accepts(changed), changed
