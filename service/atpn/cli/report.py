"""What a command tells its user beside its output: failures and progress, on standard error."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from rich.console import Console
from rich.markup import escape
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
        """One line on standard error."""
        self._console.print(f"atpn: {escape(message)}")

    @contextmanager
    def progress(self, what: str, total: float | None) -> Iterator["Bar"]:
        """A bar on a terminal, nothing elsewhere; ``total`` None: unknown."""
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            Rate(),
            TimeRemainingColumn(),
        )
        hidden = not self._console.is_terminal
        with Progress(*columns, console=self._console, transient=True, disable=hidden) as progress:
            yield Bar(progress, progress.add_task(escape(what), total=total))


@contextmanager
def until_terminated() -> Iterator[None]:
    """SIGTERM ends the block with Stopped, so that what is open is written to its end."""

    def stop(_number: int, _frame: FrameType | None) -> None:
        raise Stopped("terminated", 128 + signal.SIGTERM)

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


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
