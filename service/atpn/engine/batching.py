"""Dynamic batching: many callers' items into few calls of one function. Knows nothing of faces."""

import asyncio
import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from enum import IntEnum
from types import TracebackType
from typing import Generic, Protocol, Self, TypeVar

from atpn.errors import AtpnError, DeadlineExceeded, InferenceFailed, Overloaded, ShuttingDown

T = TypeVar("T")
R = TypeVar("R")


class Priority(IntEnum):
    """Who goes first where the engine is busy."""

    LIVE = 0  # a frame of a stream: late is as bad as never
    PHOTO = 1  # somebody waits for one image
    BULK = 2  # many images at once


@dataclass(frozen=True)
class Done(Generic[R]):
    """An item's result and how it came about."""

    value: R
    queue_s: float
    run_s: float
    batch_size: int


class Observer(Protocol):
    """What a batcher tells about its work; the metrics implement it."""

    def batch_ran(self, size: int, seconds: float) -> None:
        """A batch of ``size`` items took ``seconds``."""

    def item_waited(self, seconds: float) -> None:
        """An item was queued for ``seconds`` before its batch started."""

    def item_dropped(self, reason: str) -> None:
        """An item left the queue without being run: cancelled, deadline or shutdown."""

    def queue_is(self, length: int) -> None:
        """So many items wait now."""


class Silent:
    """An observer that ignores everything."""

    def batch_ran(self, size: int, seconds: float) -> None:
        """Ignore."""

    def item_waited(self, seconds: float) -> None:
        """Ignore."""

    def item_dropped(self, reason: str) -> None:
        """Ignore."""

    def queue_is(self, length: int) -> None:
        """Ignore."""


@dataclass
class _Entry(Generic[T, R]):
    item: T
    deadline: float
    priority: Priority
    future: "asyncio.Future[Done[R]]"
    queued: float = field(default_factory=time.monotonic)


class _Lanes(Generic[T, R]):
    """Waiting entries, one first-in-first-out lane for each priority."""

    def __init__(self) -> None:
        self._lanes: list[deque[_Entry[T, R]]] = [deque() for _ in Priority]

    def __len__(self) -> int:
        return sum(map(len, self._lanes))

    def extend(self, entries: list[_Entry[T, R]]) -> None:
        """Append entries of one priority."""
        self._lanes[entries[0].priority].extend(entries)

    def pop_first(self) -> _Entry[T, R]:
        """The oldest entry of the most urgent lane."""
        return next(lane for lane in self._lanes if lane).popleft()

    def pop_oldest(self) -> _Entry[T, R]:
        """The oldest entry of all."""
        return min((lane for lane in self._lanes if lane), key=lambda q: q[0].queued).popleft()

    def drop_done(self) -> int:
        """Take out entries that nobody waits for; how many they were."""
        before = len(self)
        self._lanes = [deque(e for e in lane if not e.future.done()) for lane in self._lanes]
        return before - len(self)


class Batcher(Generic[T, R]):
    """Collects items and runs them in batches on worker threads.

    ``run`` takes a list of items and returns as many results in the same order; it is called in
    up to ``parallel`` threads at once. An engine that is idle starts at once with what is queued
    (or after ``max_wait_ms``, if that is not 0); one that is busy lets the queue grow into the
    next batch. The more urgent go first, but each batch of several has a place for the item that
    has waited longest, so that nobody starves. At most ``max_queue`` items wait, and bulk work
    fills no more than half of that; a request that does not fit is refused whole, before
    anything of it is queued. If a batch fails, its items are run one by one, so that one bad
    item fails alone; an AtpnError of ``run`` is every item's, and nothing is run again.

    Use it as ``async with Batcher(...) as batcher``.
    """

    def __init__(
        self,
        run: Callable[[list[T]], Sequence[R]],
        *,
        max_batch_size: int,
        max_queue: int,
        max_wait_ms: float = 0.0,
        parallel: int = 1,
        observer: Observer | None = None,
    ) -> None:
        self._run = run
        self._max_batch_size = max_batch_size
        self._max_queue = max_queue
        self._max_wait_s = max_wait_ms / 1000
        self._parallel = parallel
        self._observer = observer or Silent()
        self._queue: _Lanes[T, R] = _Lanes()
        self._filled = asyncio.Event()
        self._closing = False
        self._workers: list[asyncio.Task[None]] = []
        self._executor = ThreadPoolExecutor(parallel, "atpn-batch")
        self._item_s = 0.005  # smoothed seconds of engine time per item, for Retry-After

    async def __aenter__(self) -> Self:
        self._workers = [
            asyncio.create_task(self._work(), name=f"batcher-{i}") for i in range(self._parallel)
        ]
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    @property
    def waiting(self) -> int:
        """Items in the queue, whether or not somebody still waits for them."""
        return len(self._queue)

    async def submit(
        self,
        items: Sequence[T],
        timeout_s: float = math.inf,
        priority: Priority = Priority.PHOTO,
    ) -> list[Done[R]]:
        """Results of ``items`` in their order.

        Raises Overloaded (nothing was queued), DeadlineExceeded, ShuttingDown, or
        InferenceFailed if an item fails alone too. A caller that is cancelled takes its items
        out of the queue.
        """
        if self._closing or not self._workers:
            raise ShuttingDown("the service is shutting down; retry on another replica")
        if not items:
            return []
        self._admit(len(items), priority)
        loop = asyncio.get_running_loop()
        deadline = time.monotonic() + timeout_s
        entries: list[_Entry[T, R]] = [
            _Entry(item, deadline, priority, loop.create_future()) for item in items
        ]
        self._queue.extend(entries)
        self._observer.queue_is(len(self._queue))
        self._filled.set()
        try:
            async with asyncio.timeout(None if math.isinf(timeout_s) else timeout_s):
                return [await entry.future for entry in entries]
        except TimeoutError:
            raise DeadlineExceeded(f"not finished within {timeout_s:g} s") from None
        finally:
            for entry in entries:
                if not entry.future.done():
                    entry.future.cancel()
                elif not entry.future.cancelled():
                    entry.future.exception()  # seen: a sibling's error was raised instead

    async def close(self) -> None:
        """Fail what waits, finish what runs, and end the workers."""
        self._closing = True
        while self._queue:
            self._refuse(
                self._queue.pop_first(), ShuttingDown("the service is shutting down"), "shutdown"
            )
        self._filled.set()
        workers, self._workers = self._workers, []
        await asyncio.gather(*workers)
        self._executor.shutdown()

    def _admit(self, count: int, priority: Priority) -> None:
        room = self._max_queue if priority < Priority.BULK else max(1, self._max_queue // 2)
        if len(self._queue) + count > room:
            for _ in range(self._queue.drop_done()):
                self._observer.item_dropped("cancelled")
        if len(self._queue) + count > room:
            wait = max(0.1, len(self._queue) * self._item_s / self._parallel)
            raise Overloaded(
                f"{len(self._queue)} items wait and {count} more would exceed {room}",
                retry_after_s=wait,
            )

    def _refuse(self, entry: _Entry[T, R], error: AtpnError, reason: str) -> None:
        self._observer.item_dropped(reason)
        if not entry.future.done():
            entry.future.set_exception(error)

    def _next_batch(self) -> list[_Entry[T, R]]:
        """Take up to a batch of items that somebody waits for and that are still in time."""
        batch: list[_Entry[T, R]] = []
        now = time.monotonic()
        while self._queue and len(batch) < self._max_batch_size:
            last = len(batch) == self._max_batch_size - 1 > 0
            entry = self._queue.pop_oldest() if last else self._queue.pop_first()
            if entry.future.done():
                self._observer.item_dropped("cancelled")
            elif entry.deadline <= now:
                late = DeadlineExceeded("the deadline passed while the work was queued")
                self._refuse(entry, late, "deadline")
            else:
                batch.append(entry)
        return batch

    async def _work(self) -> None:
        while True:
            if not self._queue:
                if self._closing:
                    return
                self._filled.clear()
                await self._filled.wait()
                continue
            if self._max_wait_s and len(self._queue) < self._max_batch_size:
                await asyncio.sleep(self._max_wait_s)
            batch = self._next_batch()
            self._observer.queue_is(len(self._queue))
            if batch:
                await self._run_batch(batch)

    async def _run_batch(self, batch: list[_Entry[T, R]]) -> None:
        started = time.monotonic()
        for entry in batch:
            self._observer.item_waited(started - entry.queued)
        try:
            results, seconds = await self._call([entry.item for entry in batch])
        except AtpnError as error:  # concerns the whole batch, whatever is in it
            for entry in batch:
                if not entry.future.done():
                    entry.future.set_exception(error)
            return
        except Exception as error:
            await self._run_one_by_one(batch, error)
            return
        self._observer.batch_ran(len(batch), seconds)
        self._item_s += 0.1 * (seconds / len(batch) - self._item_s)
        for entry, value in zip(batch, results, strict=True):
            if not entry.future.done():
                waited = started - entry.queued
                entry.future.set_result(Done(value, waited, seconds, len(batch)))

    async def _run_one_by_one(self, batch: list[_Entry[T, R]], error: Exception) -> None:
        if len(batch) == 1:
            if not batch[0].future.done():
                failure = InferenceFailed(f"the model failed: {type(error).__name__}")
                failure.__cause__ = error
                batch[0].future.set_exception(failure)
            return
        for entry in batch:
            if not entry.future.done():
                await self._run_batch([entry])

    async def _call(self, items: list[T]) -> tuple[Sequence[R], float]:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._executor, self._timed, items)

    def _timed(self, items: list[T]) -> tuple[Sequence[R], float]:
        started = time.monotonic()
        results = self._run(items)
        if len(results) != len(items):
            raise RuntimeError(f"{len(results)} results for {len(items)} items")
        return results, time.monotonic() - started
