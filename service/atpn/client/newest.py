"""What comes faster than it is taken: the newest wins."""

from collections.abc import Iterable, Iterator
from threading import Condition, Thread
from types import TracebackType
from typing import Generic, Self, TypeVar

T = TypeVar("T")


class Newest(Generic[T]):
    """Takes items as they come, by a thread of its own; the newest waits in place of older ones.

    Iterated, it gives them with their numbers among all that came. It ends with the items or, at
    the item after it, with the ``with`` block.
    """

    def __init__(self, items: Iterable[T]) -> None:
        self._items = items
        self._changed = Condition()
        self._waiting: tuple[int, T] | None = None
        self._over = False
        self._failure: BaseException | None = None

    def __enter__(self) -> Self:
        Thread(target=self._feed, name="atpn-newest", daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._end()

    def __iter__(self) -> Iterator[tuple[int, T]]:
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
                        return
                    self._waiting = numbered
                    self._changed.notify_all()
        except BaseException as error:  # raised where items are taken
            self._failure = error
        finally:
            self._end()

    def _end(self) -> None:
        with self._changed:
            self._over = True
            self._changed.notify_all()


def check_pace(realtime: bool, fps: float | None) -> None:
    """ValueError where frames that are left out would have to have a time."""
    if realtime and fps is not None:
        raise ValueError("fps is a recording's, of which realtime may leave frames out: choose one")
