"""Dynamic batching: many callers' items into few calls of one function. Knows nothing of faces."""

import asyncio
import math
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Generic, Self, TypeVar

from atpn.engine.lanes import Entry, Lanes, Priority
from atpn.engine.observer import Observer, Silent
from atpn.engine.sleepers import Sleepers
from atpn.errors import AtpnError, DeadlineExceeded, InferenceFailed, Overloaded, ShuttingDown

T = TypeVar("T")
R = TypeVar("R")

#: Of its deadline an item may expect to wait: the rest is for what cannot be foreseen. A queue that
#: is never empty is long enough, so an overloaded engine does no less for it.
PROMPT = 0.5


@dataclass(frozen=True)
class Done(Generic[R]):
    """An item's result and how it came about."""

    value: R
    queue_s: float
    run_s: float


class Batcher(Generic[T, R]):
    """Collects items and runs them in batches on threads of its own.

    ``run`` takes a list of items and returns as many results in the same order; it is called in up
    to ``parallel`` threads at once. An engine that is idle starts at once with what is queued (or
    after ``max_wait_ms``, if that is not 0); one that is busy lets the queue grow into the next
    batch. The more urgent go first, but each batch of several has a place for the item that has
    waited longest, so that nobody starves. With ``longest_s`` a thread takes items of one priority
    alone, no more than its share of those that wait, so that no other idles, nor more than it
    expects to have done by then, for the sake of who comes next; every fourth batch then begins
    with who has waited longest, as every fourth batch of one does. Items that wait weigh at most
    ``max_queue`` together, or are those of one request that alone weighs more, and bulk work fills
    no more than half of that; a request that does not fit, or would wait too long for its deadline,
    is refused whole, before anything of it is queued. If a batch fails, its items are run one by
    one, so that one bad item fails alone; an AtpnError of ``run`` is every item's, and nothing is
    run again.

    Use it as ``async with Batcher(...) as batcher``. Futures are touched on the event loop only:
    the threads take entries under a lock and hand each batch's results over in one call.
    """

    def __init__(
        self,
        run: Callable[[list[T]], Sequence[R]],
        *,
        max_batch_size: int,
        max_queue: int,
        max_wait_ms: float = 0.0,
        parallel: int = 1,
        longest_s: float = math.inf,
        observer: Observer | None = None,
        name: str = "atpn-batch",
    ) -> None:
        self._run = run
        self._max_batch_size = max_batch_size
        self._max_queue = max_queue
        self._max_wait_s = max_wait_ms / 1000
        self._longest_s = longest_s
        self._observer = observer or Silent()
        self._queue: Lanes[T, Done[R]] = Lanes()
        self._lock = threading.Lock()  # guards the queue and what follows
        self._sleepers = Sleepers(self._lock)
        self._batches = 0
        self._running = False
        self._item_s = 0.005  # smoothed seconds of engine time per unit of weight
        self._threads = [
            threading.Thread(target=self._work, name=f"{name}-{i}", daemon=True)
            for i in range(parallel)
        ]

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        self._running = True
        for thread in self._threads:
            thread.start()
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
        """Weight of the items in the queue, whether or not somebody still waits for them."""
        return self._queue.weight

    async def submit(
        self,
        items: Sequence[T],
        timeout_s: float = math.inf,
        priority: Priority = Priority.PHOTO,
        weight: int = 1,
    ) -> list[Done[R]]:
        """Results of ``items`` in their order; each takes ``weight`` of the queue while it waits.

        Raises Overloaded (nothing was queued), DeadlineExceeded, ShuttingDown, or
        InferenceFailed if an item fails alone too. A caller that is cancelled takes its items
        out of the queue.
        """
        if not items:
            return []
        deadline = time.monotonic() + timeout_s
        entries: list[Entry[T, Done[R]]] = [
            Entry(item, deadline, priority, weight, self._loop.create_future()) for item in items
        ]
        with self._lock:
            if not self._running:
                raise ShuttingDown("the service is shutting down; retry on another replica")
            self._admit(weight * len(items), priority, timeout_s)
            self._queue.extend(entries)
            self._observer.queue_is(self._queue.weight)
            self._sleepers.wake(len(entries))
        late = None
        if timeout_s < math.inf:
            late = self._loop.call_later(timeout_s, _expire, entries, timeout_s)
        try:
            return [await entry.future for entry in entries]
        finally:
            if late is not None:
                late.cancel()
            for entry in entries:
                if not entry.future.done():
                    entry.future.cancel()
                elif not entry.future.cancelled():
                    entry.future.exception()  # seen: a sibling's error was raised instead

    async def close(self) -> None:
        """Fail what waits, finish what runs, and end the threads."""
        with self._lock:
            self._running = False
            waiting = []
            while self._queue:
                waiting.append(self._queue.pop(oldest=False))
            self._sleepers.wake(len(self._threads))
        for entry in waiting:
            self._observer.item_dropped("shutdown", entry.weight)
            _settle(entry, ShuttingDown("the service is shutting down"))
        await asyncio.to_thread(self._join)

    def _join(self) -> None:
        for thread in self._threads:
            if thread.ident is not None:
                thread.join()

    def check_room(self, weight: int, priority: Priority, timeout_s: float) -> None:
        """Overloaded where items of that weight would be refused now; nothing is queued.

        For those who would rather know before they read a body.
        """
        with self._lock:
            self._admit(weight, priority, timeout_s)

    def _admit(self, weight: int, priority: Priority, timeout_s: float) -> None:
        room = self._max_queue if priority < Priority.BULK else max(1, self._max_queue // 2)
        if not self._fits(weight, room, priority, timeout_s):
            for entry in self._queue.drop_done():
                self._observer.item_dropped(_why_done(entry), entry.weight)
            self._observer.queue_is(self._queue.weight)
            if not self._fits(weight, room, priority, timeout_s):
                raise Overloaded(
                    f"{self._queue.weight} items wait: {weight} more would exceed {room}, or be "
                    f"too late for {timeout_s:.3g} s",
                    retry_after_s=max(0.1, self._wait_s(priority)),
                )

    def _fits(self, weight: int, room: int, priority: Priority, timeout_s: float) -> bool:
        """Whether there is room, and what comes would surely be done in time."""
        waiting = self._queue.weight
        if not weight or not waiting:
            return True
        return waiting + weight <= room and self._wait_s(priority) < timeout_s * PROMPT

    def _wait_s(self, priority: Priority) -> float:
        """About how long a new item of that priority would wait and run."""
        ahead = self._queue.ahead_of(priority)
        return (ahead / len(self._threads) + 1) * self._item_s

    def _work(self) -> None:
        """A thread: take a batch, run it, hand the results over; until the batcher is closed."""
        while True:
            with self._lock:
                while not self._queue and self._running:
                    self._sleepers.sleep()
                if not self._queue:
                    return
                self._collect()
                batch, refused = self._next_batch()
                self._observer.queue_is(self._queue.weight)
            for entry, error in refused:
                self._hand_over([(entry, error)])
            if batch:
                self._run_batch(batch)
            batch, refused = [], []  # an idle thread keeps no picture alive

    def _collect(self) -> None:
        """Wait for a full batch, but no longer than `max_wait_ms`."""
        ends = time.monotonic() + self._max_wait_s
        while self._running and self._queue.weight < self._max_batch_size:
            left_s = ends - time.monotonic()
            if left_s <= 0:
                return
            self._sleepers.sleep(left_s)

    def _next_batch(
        self,
    ) -> tuple[list[Entry[T, Done[R]]], list[tuple[Entry[T, Done[R]], AtpnError]]]:
        """Take up to a batch of items that somebody waits for and that are still in time."""
        batch: list[Entry[T, Done[R]]] = []
        refused: list[tuple[Entry[T, Done[R]], AtpnError]] = []
        now = time.monotonic()
        while (entry := self._next_entry(batch)) is not None:
            if entry.future.done():
                self._observer.item_dropped(_why_done(entry), entry.weight)
            elif entry.deadline <= now:
                self._observer.item_dropped("deadline", entry.weight)
                late = DeadlineExceeded("the deadline passed while the work was queued")
                refused.append((entry, late))
            else:
                batch.append(entry)
        self._batches += bool(batch)
        return batch, refused

    def _next_entry(self, batch: list[Entry[T, Done[R]]]) -> Entry[T, Done[R]] | None:
        """What a batch takes next off the queue; None where it has enough."""
        most = self._max_batch_size
        if not self._queue or len(batch) == most:
            return None
        if self._longest_s == math.inf and most > 1:
            return self._queue.pop(oldest=len(batch) == most - 1)
        if not batch:
            return self._queue.pop(oldest=self._batches % 4 == 3)
        lane = batch[0].priority
        following = self._queue.first_of(lane)
        share = -(-(len(batch) + self._queue.count(lane)) // len(self._threads))
        if following is None or len(batch) >= share:
            return None
        weight = sum(entry.weight for entry in batch) + following.weight
        return self._queue.pop_of(lane) if weight * self._item_s <= self._longest_s else None

    def _run_batch(self, batch: list[Entry[T, Done[R]]]) -> None:
        started = time.monotonic()
        try:
            results = self._run([entry.item for entry in batch])
            if len(results) != len(batch):
                raise RuntimeError(f"{len(results)} results for {len(batch)} items")
        except AtpnError as error:  # concerns the whole batch, whatever is in it
            self._hand_over([(entry, error) for entry in batch])
            return
        except Exception as error:
            self._run_one_by_one(batch, error)
            return
        seconds = time.monotonic() - started
        self._observer.batch_ran(len(batch), seconds)
        weight = max(1, sum(entry.weight for entry in batch))
        self._item_s += 0.1 * (seconds / weight - self._item_s)
        self._hand_over(
            [
                (entry, Done(value, started - entry.queued, seconds))
                for entry, value in zip(batch, results, strict=True)
            ]
        )

    def _run_one_by_one(self, batch: list[Entry[T, Done[R]]], error: Exception) -> None:
        if len(batch) == 1:
            self._hand_over([(batch[0], InferenceFailed.by(error))])
            return
        for entry in batch:
            if not entry.future.done():
                self._run_batch([entry])

    def _hand_over(self, outcomes: "list[tuple[Entry[T, Done[R]], Done[R] | AtpnError]]") -> None:
        self._loop.call_soon_threadsafe(_settle_all, outcomes)


def _why_done(entry: Entry[T, Done[R]]) -> str:
    """Why nobody waits for an entry that was not run: its caller left, or `_expire` came first."""
    return "cancelled" if entry.future.cancelled() else "deadline"


def _settle_all(outcomes: "list[tuple[Entry[T, Done[R]], Done[R] | AtpnError]]") -> None:
    for entry, outcome in outcomes:
        _settle(entry, outcome)


def _settle(entry: Entry[T, Done[R]], outcome: Done[R] | AtpnError) -> None:
    if entry.future.done():
        return
    if isinstance(outcome, AtpnError):
        entry.future.set_exception(outcome)
    else:
        entry.future.set_result(outcome)


def _expire(entries: list[Entry[T, Done[R]]], timeout_s: float) -> None:
    for entry in entries:
        _settle(entry, DeadlineExceeded(f"not finished within {timeout_s:.3g} s"))
