"""The batcher: who is served, in which batch, and what happens when something goes wrong."""

import asyncio
import math
import threading
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typing_extensions import override

from atpn.engine.batching import Batcher
from atpn.engine.lanes import Priority
from atpn.engine.observer import Observer, Silent
from atpn.errors import DeadlineExceeded, InferenceFailed, Overloaded, ShuttingDown


class Engine:
    """Doubles numbers; can be held shut, and remembers every batch it ran."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.gate = threading.Event()
        self.gate.set()

    def __call__(self, items: list[int]) -> Sequence[int]:
        self.batches.append(list(items))
        self.gate.wait(10)
        if any(item < 0 for item in items):
            raise ValueError("negative")
        return [2 * item for item in items]


class Told(Silent):
    """Writes down what was dropped."""

    def __init__(self, told: list[tuple[str, int]]) -> None:
        self._told = told

    @override
    def item_dropped(self, reason: str, weight: int) -> None:
        self._told.append((reason, weight))


@asynccontextmanager
async def running(
    engine: Callable[[list[int]], Sequence[int]],
    max_batch_size: int = 4,
    max_queue: int = 16,
    max_wait_ms: float = 0.0,
    parallel: int = 1,
    observer: Observer | None = None,
    longest_s: float = math.inf,
) -> AsyncIterator[Batcher[int, int]]:
    batcher = Batcher(
        engine,
        max_batch_size=max_batch_size,
        max_queue=max_queue,
        max_wait_ms=max_wait_ms,
        parallel=parallel,
        observer=observer,
        longest_s=longest_s,
    )
    async with batcher:
        yield batcher


async def started(engine: Engine, count: int) -> None:
    """Wait until the engine has begun ``count`` batches."""
    async with asyncio.timeout(5):
        while len(engine.batches) < count:
            await asyncio.sleep(0.001)


async def queued(batcher: Batcher[int, int], count: int) -> None:
    """Wait until ``count`` items wait."""
    async with asyncio.timeout(5):
        while batcher.waiting < count:
            await asyncio.sleep(0.001)


async def values(batcher: Batcher[int, int], items: list[int]) -> list[int]:
    return [done.value for done in await batcher.submit(items)]


async def test_results_come_in_the_order_of_their_items() -> None:
    async with running(Engine()) as batcher:
        assert await values(batcher, [3, 1, 2]) == [6, 2, 4]


async def test_nothing_submitted_is_nothing_returned() -> None:
    engine = Engine()
    async with running(engine) as batcher:
        assert await batcher.submit([]) == []
    assert engine.batches == []


@settings(max_examples=25, deadline=None)
@given(
    requests=st.lists(st.lists(st.integers(0, 1000), max_size=9), min_size=1, max_size=12),
    size=st.integers(1, 5),
    parallel=st.integers(1, 3),
)
def test_every_caller_gets_its_own_results_whatever_is_batched_together(
    requests: list[list[int]], size: int, parallel: int
) -> None:
    async def all_at_once() -> tuple[list[list[int]], list[list[int]]]:
        engine = Engine()
        async with running(engine, size, 1000, parallel=parallel) as batcher:
            results = await asyncio.gather(*(values(batcher, items) for items in requests))
        return results, engine.batches

    results, batches = asyncio.run(all_at_once())
    assert results == [[2 * item for item in items] for items in requests]
    assert all(1 <= len(batch) <= size for batch in batches)


async def test_an_idle_engine_starts_at_once_with_a_single_item() -> None:
    engine = Engine()
    async with running(engine, max_batch_size=64) as batcher:
        begun = time.monotonic()
        await batcher.submit([1])
        assert time.monotonic() - begun < 0.5
    assert engine.batches == [[1]]


async def test_what_arrives_while_the_engine_is_busy_shares_the_next_batch() -> None:
    engine = Engine()
    engine.gate.clear()
    async with running(engine) as batcher:
        callers = [asyncio.create_task(batcher.submit([0]))]
        await started(engine, 1)
        callers += [asyncio.create_task(batcher.submit([i])) for i in (1, 2, 3)]
        await queued(batcher, 3)
        engine.gate.set()
        await asyncio.gather(*callers)
    assert engine.batches == [[0], [1, 2, 3]]


async def test_a_request_larger_than_a_batch_is_split_and_merged() -> None:
    engine = Engine()
    async with running(engine, max_batch_size=4) as batcher:
        assert await values(batcher, list(range(10))) == list(range(0, 20, 2))
    assert max(len(batch) for batch in engine.batches) <= 4


@asynccontextmanager
async def occupied(**options: Any) -> AsyncIterator[tuple[Engine, Batcher[int, int]]]:
    """An engine that is held shut in its first batch, [0], until the block opens it or ends."""
    engine = Engine()
    engine.gate.clear()
    async with running(engine, **options) as batcher:
        busy = asyncio.create_task(batcher.submit([0]))
        await started(engine, 1)
        yield engine, batcher
        engine.gate.set()
        await busy


async def test_with_a_wait_set_an_idle_engine_collects_before_it_starts() -> None:
    engine = Engine()
    async with running(engine, max_wait_ms=100) as batcher:
        first = asyncio.create_task(batcher.submit([1]))
        await asyncio.sleep(0.01)
        await asyncio.gather(first, batcher.submit([2]))
    assert engine.batches == [[1, 2]]


async def test_parallel_engines_run_batches_side_by_side() -> None:
    engine = Engine()
    engine.gate.clear()
    async with running(engine, max_batch_size=1, parallel=2) as batcher:
        callers = [asyncio.create_task(batcher.submit([i])) for i in range(2)]
        await started(engine, 2)
        engine.gate.set()
        await asyncio.gather(*callers)


async def test_a_request_that_does_not_fit_is_refused_whole_with_a_time_to_retry() -> None:
    async with occupied(max_queue=4) as (engine, batcher):
        waits = asyncio.create_task(batcher.submit([1, 2, 3]))
        await queued(batcher, 3)
        with pytest.raises(Overloaded) as refused:
            await batcher.submit([4, 5])
        assert refused.value.retry_after_s is not None
        assert refused.value.retry_after_s > 0
        engine.gate.set()
        await waits
    assert sorted(item for batch in engine.batches for item in batch) == [0, 1, 2, 3]


async def test_what_could_not_be_done_in_time_is_refused_before_it_is_queued() -> None:
    """By the time that items take; not where nobody waits, however short the deadline."""

    def slow(items: list[int]) -> list[int]:
        time.sleep(0.05)
        return items

    async with running(slow, max_batch_size=1) as batcher:
        started = time.monotonic()
        for _ in range(30):  # it learns how long items take
            await batcher.submit([1])
        item_s = (time.monotonic() - started) / 30  # on a busy machine more than 0.05
        waits = [asyncio.create_task(batcher.submit([1])) for _ in range(5)]
        await queued(batcher, 4)
        with pytest.raises(Overloaded) as refused:
            batcher.check_room(1, Priority.PHOTO, timeout_s=0.1)
        assert refused.value.retry_after_s == pytest.approx(5 * item_s, rel=0.3)
        with pytest.raises(Overloaded):
            await batcher.submit([1], timeout_s=0.1)
        batcher.check_room(1, Priority.LIVE, timeout_s=0.1)  # it would go before those
        batcher.check_room(1, Priority.PHOTO, timeout_s=10)
        await asyncio.gather(*waits)
        batcher.check_room(1, Priority.PHOTO, timeout_s=0.001)


async def test_who_gave_up_is_no_longer_counted_when_somebody_asks_for_room() -> None:
    lengths: list[int] = []

    class Told(Silent):
        """Keeps how much waits."""

        @override
        def queue_is(self, length: int) -> None:
            lengths.append(length)

    async with occupied(max_queue=2, observer=Told()) as (_, batcher):
        gone = asyncio.create_task(batcher.submit([7, 8]))
        await queued(batcher, 2)
        gone.cancel()
        await asyncio.gather(gone, return_exceptions=True)
        batcher.check_room(1, Priority.PHOTO, timeout_s=10)
        assert (batcher.waiting, lengths[-1]) == (0, 0)


async def test_a_short_batch_is_of_one_priority_and_the_most_urgent_goes_alone() -> None:
    async with occupied(longest_s=60) as (engine, batcher):
        photos = asyncio.create_task(batcher.submit([1, 2, 3, 4, 5, 6]))
        await queued(batcher, 6)
        frame = asyncio.create_task(batcher.submit([9], priority=Priority.LIVE))
        await queued(batcher, 7)
        engine.gate.set()
        await asyncio.gather(photos, frame)
    assert engine.batches == [[0], [9], [1, 2, 3, 4], [5, 6]]


async def test_every_fourth_short_batch_begins_with_who_has_waited_longest() -> None:
    async with occupied(max_batch_size=2, longest_s=60) as (engine, batcher):
        bulk = asyncio.create_task(batcher.submit([90, 91], priority=Priority.BULK))
        await queued(batcher, 2)
        frames = asyncio.create_task(batcher.submit(list(range(1, 9)), priority=Priority.LIVE))
        await queued(batcher, 10)
        engine.gate.set()
        await asyncio.gather(bulk, frames)
    assert engine.batches == [[0], [1, 2], [3, 4], [90, 91], [5, 6], [7, 8]]


@pytest.mark.parametrize(("weight", "size"), [(1, 4), (4, 2), (40, 1)])
async def test_a_short_batch_is_no_longer_than_it_may_take(weight: int, size: int) -> None:
    """At 5 ms a unit of weight, as is expected of an engine that has not run."""
    engine = Engine()
    engine.gate.clear()
    async with running(engine, max_queue=400, longest_s=0.041) as batcher:
        batcher._item_s = 0.005
        works = [asyncio.create_task(batcher.submit([0] * 8, weight=weight))]
        await started(engine, 1)
        assert len(engine.batches[0]) == size
        engine.gate.set()
        await asyncio.gather(*works)


async def test_a_thread_leaves_their_share_of_what_waits_to_the_others() -> None:
    engine = Engine()
    engine.gate.clear()
    async with running(engine, parallel=3, longest_s=60) as batcher:
        works = asyncio.create_task(batcher.submit([1, 2, 3, 4, 5]))
        await started(engine, 3)
        assert [len(batch) for batch in engine.batches] == [2, 1, 1]
        engine.gate.set()
        await works


async def test_a_caller_that_gives_up_frees_its_place_and_is_never_run() -> None:
    async with occupied(max_queue=2) as (engine, batcher):
        gone = asyncio.create_task(batcher.submit([7, 8]))
        await queued(batcher, 2)
        gone.cancel()
        await asyncio.gather(gone, return_exceptions=True)
        other = asyncio.create_task(batcher.submit([1, 2]))
        await asyncio.sleep(0)
        engine.gate.set()
        await other
    assert engine.batches == [[0], [1, 2]]


async def test_work_whose_deadline_passed_in_the_queue_is_dropped() -> None:
    async with occupied() as (engine, batcher):
        with pytest.raises(DeadlineExceeded, match=r"within 0\.0501 s$"):  # rounded
            await batcher.submit([1], timeout_s=0.0501234)
        assert await values(batcher, [2]) == [4]
    assert engine.batches == [[0], [2]]


async def test_one_bad_item_fails_alone() -> None:
    async with occupied() as (engine, batcher):
        callers = [asyncio.create_task(values(batcher, [i])) for i in (1, -1, 3)]
        await queued(batcher, 3)
        engine.gate.set()
        results = await asyncio.gather(*callers, return_exceptions=True)
    assert results[0] == [2]
    assert isinstance(results[1], InferenceFailed)
    assert results[2] == [6]


async def test_the_error_of_a_bad_item_names_its_cause_and_the_batcher_goes_on() -> None:
    async with running(Engine()) as batcher:
        with pytest.raises(InferenceFailed) as failed:
            await batcher.submit([-1])
        assert isinstance(failed.value.__cause__, ValueError)
        assert await values(batcher, [1]) == [2]


async def test_an_engine_that_returns_too_few_results_is_an_error_not_a_mix_up() -> None:
    async with running(lambda items: items[:-1]) as batcher:
        with pytest.raises(InferenceFailed):
            await batcher.submit([1, 2])


async def test_closing_fails_what_waits_and_finishes_what_runs() -> None:
    engine = Engine()
    engine.gate.clear()
    async with running(engine) as batcher:
        runs = asyncio.create_task(values(batcher, [1]))
        await started(engine, 1)
        waits = asyncio.create_task(values(batcher, [2]))
        await queued(batcher, 1)
        closing = asyncio.create_task(batcher.close())
        with pytest.raises(ShuttingDown):
            await waits
        engine.gate.set()
        assert await runs == [2]
        await closing
        with pytest.raises(ShuttingDown):
            await batcher.submit([3])


async def test_a_result_tells_how_long_it_waited_and_in_how_large_a_batch_it_ran() -> None:
    async with occupied() as (engine, batcher):
        pair = asyncio.create_task(batcher.submit([1, 2]))
        await queued(batcher, 2)
        await asyncio.sleep(0.05)
        done = await pair
    assert engine.batches == [[0], [1, 2]]
    assert all(d.queue_s >= 0.05 for d in done)


async def test_the_more_urgent_go_first_and_the_longest_waiting_is_in_each_batch() -> None:
    engine = Engine()
    engine.gate.clear()
    async with running(engine, max_batch_size=3, max_queue=32) as batcher:
        first = asyncio.create_task(batcher.submit([0]))
        await started(engine, 1)
        waiting = [
            asyncio.create_task(batcher.submit([base + i for i in range(3)], priority=priority))
            for base, priority in (
                (30, Priority.BULK),
                (20, Priority.PHOTO),
                (10, Priority.LIVE),
            )
        ]
        await queued(batcher, 9)
        engine.gate.set()
        await asyncio.gather(first, *waiting)
    assert engine.batches == [[0], [10, 11, 30], [12, 20, 31], [21, 22, 32]]


async def test_what_alone_is_more_than_the_queue_is_let_in_where_nobody_waits() -> None:
    engine = Engine()
    async with running(engine, max_queue=2) as batcher:
        assert await values(batcher, [1, 2, 3]) == [2, 4, 6]
        done = await batcher.submit([1], priority=Priority.BULK, weight=4)
        assert done[0].value == 2
        engine.gate.clear()
        busy = asyncio.create_task(batcher.submit([0]))
        await started(engine, 3)
        waits = asyncio.create_task(batcher.submit([1]))
        await queued(batcher, 1)
        with pytest.raises(Overloaded):
            await batcher.submit([1, 2, 3])
        engine.gate.set()
        await asyncio.gather(busy, waits)


@pytest.mark.parametrize("reason", ["deadline", "cancelled"])
@pytest.mark.parametrize("found_by", ["the engine", "one who wants room"])
async def test_what_was_dropped_is_told_with_its_reason_and_weight(
    reason: str, found_by: str
) -> None:
    told: list[tuple[str, int]] = []
    async with occupied(max_queue=6, observer=Told(told)) as (engine, batcher):
        timeout_s = 0.05 if reason == "deadline" else 10
        dropped = asyncio.create_task(batcher.submit([1], timeout_s, weight=4))
        await queued(batcher, 4)
        if reason == "cancelled":
            dropped.cancel()
        await asyncio.gather(dropped, return_exceptions=True)
        other = asyncio.create_task(batcher.submit([2], weight=3 if "room" in found_by else 1))
        await queued(batcher, 3)
        engine.gate.set()
        await other
    assert told == [(reason, 4)]
    assert engine.batches == [[0], [2]]


async def test_bulk_work_leaves_half_of_the_queue_to_others() -> None:
    engine = Engine()
    engine.gate.clear()
    async with running(engine, max_queue=8) as batcher:
        first = asyncio.create_task(batcher.submit([0]))
        await started(engine, 1)
        bulk = asyncio.create_task(batcher.submit([1] * 4, priority=Priority.BULK))
        await queued(batcher, 4)
        with pytest.raises(Overloaded):
            await batcher.submit([2], priority=Priority.BULK)
        live = asyncio.create_task(batcher.submit([3] * 4, priority=Priority.LIVE))
        await queued(batcher, 8)
        engine.gate.set()
        await asyncio.gather(first, bulk, live)
