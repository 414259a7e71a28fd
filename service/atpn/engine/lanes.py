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
        self.weight = 0  # of all entries
        self._popped = 0

    def __bool__(self) -> bool:
        return any(self._lanes)

    def extend(self, entries: list[Entry[T, F]]) -> None:
        """Append entries of one priority."""
        self._lanes[entries[0].priority].extend(entries)
        self.weight += sum(entry.weight for entry in entries)

    def pop(self, oldest: bool) -> Entry[T, F]:
        """The oldest entry of all, or else of the most urgent lane; there must be one."""
        waiting = [lane for lane in self._lanes if lane]
        lane = min(waiting, key=lambda lane: lane[0].queued) if oldest else waiting[0]
        entry = lane.popleft()
        self.weight -= entry.weight
        return entry

    def drop_done(self) -> int:
        """Take out entries that nobody waits for; how many they were."""
        before = sum(map(len, self._lanes))
        self._lanes = [deque(e for e in lane if not e.future.done()) for lane in self._lanes]
        self.weight = sum(e.weight for lane in self._lanes for e in lane)
        return before - sum(map(len, self._lanes))
