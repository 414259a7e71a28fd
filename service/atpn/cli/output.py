"""How results are written: JSON lines and CSV for programs; `tables` are for people."""

import csv
import json
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TextIO

from rich.console import Console
from typing_extensions import override

from atpn.cli import signals
from atpn.cli.report import Stopped
from atpn.client import Face, Frame, Result
from atpn.client.requests import Wanted

ANGLES = ("yaw", "pitch", "roll")


@dataclass(frozen=True)
class Entry:
    """The result of one image, or of one frame of a video."""

    name: str
    result: Result
    time_s: float | None = None  # of a frame, from the video's start

    @property
    def payload(self) -> dict[str, Any]:
        """The service's answer with what it belongs to."""
        told: dict[str, Any] = {"input": self.name}
        if isinstance(self.result, Frame):
            told |= {"frame": self.result.index, "time_s": self.time_s}
            told["dropped"] = self.result.dropped
        answer = {k: v for k, v in self.result.answer.items() if k not in {"type", *told}}
        error = self.result.error
        if error is not None:
            return told | {"error": {"code": error.code, "detail": error.detail}}
        return told | answer


class Sink(ABC):
    """Takes entries as they come, and may have something left to write at the end.

    Stopped where it cannot be written, as on a full disk: an OSError would be the source's.
    """

    @abstractmethod
    def add(self, entry: Entry) -> None:
        """One more result."""

    def close(self) -> None:  # noqa: B027 - most sinks have written all
        """Write what is left, after an interrupt too."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            self.close()
        except Stopped:
            if error is None:  # what ended the work before is what is told
                raise


class JsonLines(Sink):
    """One JSON object a line: the answer, with ``input`` before it."""

    def __init__(self, file: TextIO) -> None:
        self._file = file

    @override
    def add(self, entry: Entry) -> None:
        with writing(self._file):
            print(json.dumps(entry.payload, separators=(",", ":")), file=self._file, flush=True)


class ToFile(Sink):
    """What ``form`` writes, in a file of its own."""

    def __init__(self, path: Path, form: Callable[[TextIO], Sink]) -> None:
        """Raises OSError where the file cannot be written."""
        self._file = path.open(
            "w",
            encoding="utf-8",
            errors="surrogateescape",  # of names that are no text
            newline="",
        )
        self._sink = form(self._file)

    @override
    def add(self, entry: Entry) -> None:
        self._sink.add(entry)

    @override
    def close(self) -> None:
        with writing(self._file), self._file:
            self._sink.close()


class Csv(Sink):
    """A row a face, with one column a number; a row without a face where none was found."""

    def __init__(self, file: TextIO, wanted: Wanted, frames: bool, landmarks: bool = True) -> None:
        self._file = file
        self._pose = wanted.pose
        self._signals = wanted.signals
        self._points = wanted.points if landmarks else 0
        self._frames = frames
        self._rows = csv.writer(file, lineterminator="\n")
        with writing(file):
            self._rows.writerow(self._header())

    @override
    def add(self, entry: Entry) -> None:
        with writing(self._file):
            self._rows.writerows(self._of(entry))
            self._file.flush()

    def _of(self, entry: Entry) -> Iterator[list[object]]:
        result = entry.result
        head: list[object] = [entry.name]
        if isinstance(result, Frame):
            head += [result.index, _number(entry.time_s, 3), result.state]
        else:
            head.append(result.error.code if result.error else "")
        for number, face in enumerate(result.faces, 1):
            key = face.track_id if self._frames else number
            yield [*head, key, *self._numbers(face)]
        if not result.faces:
            yield head + [""] * (len(self._header()) - len(head))

    def _header(self) -> list[str]:
        head = ["input", "frame", "time_s", "state", "track_id"]
        names = head if self._frames else ["input", "error", "face"]
        names = [*names, "confidence", "x0", "y0", "x1", "y1"]
        if self._pose:
            names += ANGLES
        if self._signals:
            names += signals.columns(self._frames)
        return names + [f"p{i}_{axis}" for i in range(self._points) for axis in "xy"]

    def _numbers(self, face: Face) -> list[object]:
        numbers: list[object] = [face.confidence, *face.box]
        if self._pose:
            numbers += [face.pose.yaw, face.pose.pitch, face.pose.roll]
        if self._signals:
            numbers += signals.numbers(face, self._frames)
        if self._points:
            numbers += [_number(v, 2) for v in face.landmarks.ravel().tolist()]
        return numbers


def check_writable(path: Path) -> None:
    """Raises OSError where a file cannot be written; leaves what is there as it is."""
    new = not path.exists()
    with path.open("ab"):
        pass
    if new:
        path.unlink()


@contextmanager
def writing(to: TextIO | Path) -> Iterator[None]:
    """Stopped where it cannot be written; a pipe that nobody reads any more ends the command."""
    try:
        yield
    except OSError as error:
        if isinstance(error, BrokenPipeError):
            raise SystemExit(1) from error
        name = "standard output" if to is sys.stdout else to if isinstance(to, Path) else to.name
        raise Stopped(f"{name} cannot be written: {error.strerror or error}", 1) from error


def screen() -> Console:
    """Standard output; wide where it is no terminal that could wrap."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=160)


def count(number: int, noun: str) -> str:
    """``1 face``, ``2 faces``."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _number(value: float | None, digits: int) -> float | str:
    return "" if value is None else round(value, digits)
