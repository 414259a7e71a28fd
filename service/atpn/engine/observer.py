"""What a batcher tells about its work."""

from typing import Protocol


class Observer(Protocol):
    """What a batcher tells about its work, from its threads; the metrics implement it."""

    def batch_ran(self, size: int, seconds: float) -> None:
        """A batch of ``size`` items took ``seconds``."""

    def item_dropped(self, reason: str, weight: int) -> None:
        """An item left the queue without being run: cancelled, deadline or shutdown."""

    def queue_is(self, length: int) -> None:
        """So many items wait now."""


class Silent(Observer):
    """An observer that ignores everything."""

    def batch_ran(self, size: int, seconds: float) -> None:
        """Ignore."""

    def item_dropped(self, reason: str, weight: int) -> None:
        """Ignore."""

    def queue_is(self, length: int) -> None:
        """Ignore."""
