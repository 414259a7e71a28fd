"""Threads that wait for work: the one that slept last is woken first, its memory is still warm."""

import threading


class Sleepers:
    """As a condition variable of ``lock``, but last in, first out.

    Images of a few hundred kilobytes are allocated per thread: taking turns would make each of
    them write to memory that has left the cache.
    """

    def __init__(self, lock: threading.Lock) -> None:
        self._lock = lock
        self._bells: list[threading.Lock] = []

    def sleep(self, seconds: float = -1) -> None:
        """Wait, with the lock released, until woken or for so long; the lock must be held."""
        bell = threading.Lock()
        bell.acquire()
        self._bells.append(bell)
        self._lock.release()
        try:
            bell.acquire(timeout=seconds)
        finally:
            self._lock.acquire()
            if bell in self._bells:  # nobody woke this one
                self._bells.remove(bell)

    def wake(self, count: int) -> None:
        """Wake so many, where so many sleep; the lock must be held."""
        for _ in range(min(count, len(self._bells))):
            self._bells.pop().release()
