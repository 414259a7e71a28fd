"""Who waits for the engine: one first-in-first-out lane for each priority."""

import asyncio
import time
from collections import deque
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Generic, TypeVar

T = TypeVar("T")
F = TypeVar("F")  # of the future


class Priority(IntEnum):
    """Who goes first where the engine is busy."""

    LIVE = 0  # a frame of a stream: late is as bad as never
    PHOTO = 1  # somebody waits for one image
    BULK = 2  # many images at once


@dataclass
class Entry(Generic[T, F]):
    """An item, and who waits for what becomes of it."""

    item: T
    deadline: float  # monotonic clock
    priority: Priority
    weight: int  # of the queue's room
    future: "asyncio.Future[F]"
    queued: float = field(default_factory=time.monotonic)


class Lanes(Generic[T, F]):
    """Waiting entries, one first-in-first-out lane for each priority."""

    def __init__(self) -> None:
        self._lanes: list[deque[Entry[T, F]]] = [deque() for _ in Priority]
        self._weights = [0 for _ in Priority]  # of the entries in each

    def __bool__(self) -> bool:
        return any(self._lanes)

    def count(self, priority: Priority) -> int:
        """Entries of that priority."""
        return len(self._lanes[priority])

    @property
    def weight(self) -> int:
        """Of all entries."""
        return sum(self._weights)

    def ahead_of(self, priority: Priority) -> int:
        """Weight of the entries that go before a new one of that priority."""
        return sum(self._weights[: priority + 1])

    def extend(self, entries: list[Entry[T, F]]) -> None:
        """Append entries of one priority and weight."""
        priority = entries[0].priority
        self._lanes[priority].extend(entries)
        self._weights[priority] += entries[0].weight * len(entries)

    def pop(self, oldest: bool) -> Entry[T, F]:
        """The oldest entry of all, or else of the most urgent lane; there must be one."""
        waiting = [lane for lane in self._lanes if lane]
        lane = min(waiting, key=lambda lane: lane[0].queued) if oldest else waiting[0]
        return self.pop_of(lane[0].priority)

    def first_of(self, priority: Priority) -> Entry[T, F] | None:
        """The oldest of that priority, which stays; None where there is none."""
        lane = self._lanes[priority]
        return lane[0] if lane else None

    def pop_of(self, priority: Priority) -> Entry[T, F]:
        """The oldest of that priority; there must be one."""
        entry = self._lanes[priority].popleft()
        self._weights[priority] -= entry.weight
        return entry

    def drop_done(self) -> list[Entry[T, F]]:
        """Take out the entries that nobody waits for."""
        done = [entry for lane in self._lanes for entry in lane if entry.future.done()]
        self._lanes = [deque(e for e in lane if not e.future.done()) for lane in self._lanes]
        self._weights = [sum(e.weight for e in lane) for lane in self._lanes]
        return done
