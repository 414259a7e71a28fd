"""What one thread yields and another takes, of which the newest wins."""

from collections.abc import Callable, Generator, Iterator
from threading import Condition, Event, Thread
from types import TracebackType
from typing import Generic, Self, TypeVar

T = TypeVar("T")


class Newest(Generic[T]):
    """Takes items as they come, by a thread of its own; the newest waits in place of older ones.

    ``items`` is given the event that says that no more are wanted.
    """

    def __init__(self, items: Callable[[Event], Generator[T, None, None]]) -> None:
        self._ended = Event()
        self._items = items(self._ended)
        self._changed = Condition()
        self._waiting: tuple[int, T] | None = None
        self._over = False
        self._failure: BaseException | None = None

    def __enter__(self) -> Self:
        Thread(target=self._feed, name="atpn-camera", daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """The thread ends at its next item."""
        self._ended.set()
        with self._changed:
            self._over = True
            self._changed.notify_all()

    def __iter__(self) -> Iterator[tuple[int, T]]:
        """Items with their numbers among all that came."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._over or self._waiting is not None)
                taken, self._waiting = self._waiting, None
            if taken is None:
                if self._failure is not None:
                    raise self._failure
                return
            yield taken

    def _feed(self) -> None:
        try:
            for numbered in enumerate(self._items):
                with self._changed:
                    if self._over:
                        break
                    self._waiting = numbered
                    self._changed.notify_all()
        except BaseException as error:  # raised where items are taken
            self._failure = error
        finally:
            self._items.close()
            with self._changed:
                self._over = True
                self._changed.notify_all()
