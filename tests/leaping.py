"""An event loop whose clock leaps to the next thing that is due: hours pass in seconds, always
in the same way.
"""

import asyncio
import selectors
from typing import Any

from typing_extensions import override


class _Leaping(selectors.DefaultSelector):
    """Never waits; what would have been waited for has passed."""

    now = 0.0

    @override
    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """What is ready, after ``timeout`` seconds of the loop's own clock."""
        assert timeout is not None, "everything waits for something that never comes"
        self.now += max(0.0, timeout)
        return super().select(0)


class LeapingLoop(asyncio.SelectorEventLoop):
    """For coroutines that wait for nothing but each other and the clock."""

    def __init__(self) -> None:
        self._leaping = _Leaping()
        super().__init__(self._leaping)

    @override
    def time(self) -> float:
        """Seconds since the loop was made."""
        return self._leaping.now


def run_leaping(work: Any) -> Any:
    """What a coroutine returns, on a loop of its own."""
    with asyncio.Runner(loop_factory=LeapingLoop) as runner:
        return runner.run(work)
