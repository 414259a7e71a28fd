"""What a command tells its user beside its output: failures and progress, on standard error."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text
from typing_extensions import override

from atpn.client import ConnectionFailed, ServiceError


class Stopped(Exception):
    """Nothing further can be done; the message says why, ``code`` is the exit code."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


class Report:
    """Names failures as they happen and counts them; shows a bar where people look."""

    def __init__(self) -> None:
        self.failures = 0
        self._console = Console(stderr=True, highlight=False, soft_wrap=True)

    @property
    def exit_code(self) -> int:
        """0, or 1 where an input failed."""
        return 1 if self.failures else 0

    def failed(self, name: str, error: object) -> None:
        """One input failed; Stopped where the next ones would fail for the same reason."""
        self.failures += 1
        if isinstance(error, ConnectionFailed):
            raise Stopped(f"{name}: the service cannot be reached: {error.detail}", 1) from error
        if isinstance(error, ServiceError) and error.code == "unauthorized":
            raise Stopped(f"{error.detail} (--key)", 2) from error
        self.say(f"{name}: {error}")

    def say(self, message: str) -> None:
        """One line on standard error; nothing where that is a terminal that was closed."""
        with suppress(OSError):
            self._console.print(Text(f"atpn: {message}"))

    @contextmanager
    def progress(self, what: str, total: float | None) -> Iterator["Bar"]:
        """A bar on a terminal, nothing elsewhere; ``total`` None: unknown."""
        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            Rate(),
            TimeRemainingColumn(),
        )
        hidden = not self._console.is_terminal
        progress = Progress(*columns, console=self._console, transient=True, disable=hidden)
        progress.start()
        try:
            yield Bar(progress, progress.add_task(what, total=total))
        finally:
            with suppress(OSError):  # the terminal was closed
                progress.stop()


@contextmanager
def until_terminated() -> Iterator[None]:
    """SIGTERM and SIGHUP end the block with Stopped, so that what is open is written to its end.

    A terminal that is closed is SIGHUP, often twice: further ones change nothing. Under nohup, and
    wherever else a signal is ignored, it stays so.
    """
    why = {signal.SIGTERM: "terminated"}
    if hasattr(signal, "SIGHUP"):
        why[signal.SIGHUP] = "the terminal was closed"
    before = {number: signal.getsignal(number) for number in why}
    heard = [number for number, handler in before.items() if handler is not signal.SIG_IGN]

    def stop(number: int, _frame: FrameType | None) -> None:
        for other in heard:
            signal.signal(other, signal.SIG_IGN)
        raise Stopped(why[signal.Signals(number)], 128 + number)

    for number in heard:
        signal.signal(number, stop)
    try:
        yield
    finally:
        for number in heard:
            signal.signal(number, before[number])


class Rate(ProgressColumn):
    """How many a second."""

    @override
    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:.1f}/s")


class Bar:
    """One bar."""

    def __init__(self, progress: Progress, task: TaskID) -> None:
        self._progress = progress
        self._task = task

    def advance(self) -> None:
        """One more is done."""
        self._progress.advance(self._task)
