"""How results are written: a table for people, JSON lines and CSV for programs."""

import csv
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TextIO

from rich.console import Console
from rich.table import Table
from typing_extensions import override

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
    """Takes entries as they come, and may have something left to write at the end."""

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
        self.close()


class JsonLines(Sink):
    """One JSON object a line: the answer, with ``input`` before it."""

    def __init__(self, file: TextIO) -> None:
        self._file = file

    @override
    def add(self, entry: Entry) -> None:
        print(json.dumps(entry.payload, separators=(",", ":")), file=self._file, flush=True)


class ToFile(Sink):
    """What ``form`` writes, in a file of its own."""

    def __init__(self, path: Path, form: Callable[[TextIO], Sink]) -> None:
        """Raises OSError where the file cannot be written."""
        self._file = path.open("w", encoding="utf-8", newline="")
        self._sink = form(self._file)

    @override
    def add(self, entry: Entry) -> None:
        self._sink.add(entry)

    @override
    def close(self) -> None:
        with self._file:
            self._sink.close()


class Csv(Sink):
    """A row a face, with one column a number; a row without a face where none was found."""

    def __init__(self, file: TextIO, wanted: Wanted, frames: bool, landmarks: bool = True) -> None:
        self._file = file
        self._pose = wanted.pose
        self._points = wanted.points if landmarks else 0
        self._frames = frames
        self._rows = csv.writer(file, lineterminator="\n")
        self._rows.writerow(self._header())

    @override
    def add(self, entry: Entry) -> None:
        result = entry.result
        head: list[object] = [entry.name]
        if isinstance(result, Frame):
            head += [result.index, _number(entry.time_s, 3), result.state]
        else:
            head.append(result.error.code if result.error else "")
        for number, face in enumerate(result.faces, 1):
            key = face.track_id if self._frames else number
            self._rows.writerow([*head, key, *self._numbers(face)])
        if not result.faces:
            self._rows.writerow(head + [""] * (len(self._header()) - len(head)))
        self._file.flush()

    def _header(self) -> list[str]:
        head = ["input", "frame", "time_s", "state", "track_id"]
        names = head if self._frames else ["input", "error", "face"]
        names = [*names, "confidence", "x0", "y0", "x1", "y1"]
        if self._pose:
            names += ANGLES
        return names + [f"p{i}_{axis}" for i in range(self._points) for axis in "xy"]

    def _numbers(self, face: Face) -> list[object]:
        numbers: list[object] = [face.confidence, *face.box]
        if self._pose:
            numbers += [face.pose.yaw, face.pose.pitch, face.pose.roll]
        if self._points:
            numbers += [_number(v, 2) for v in face.landmarks.ravel().tolist()]
        return numbers


class FaceTable(Sink):
    """A table of the faces of images."""

    def __init__(self, pose: bool) -> None:
        self._pose = pose
        self._table = Table("image", "face", "confidence", "box")
        for angle in ANGLES if pose else ():
            self._table.add_column(angle, justify="right")
        self._images = self._faces = 0

    @override
    def add(self, entry: Entry) -> None:
        if entry.result.error is not None:
            return
        self._images += 1
        faces = entry.result.faces
        self._faces += len(faces)
        if not faces:
            self._table.add_row(entry.name, "none")
        for number, face in enumerate(faces, 1):
            box = " ".join(f"{edge:.0f}" for edge in face.box)
            row = [entry.name if number == 1 else "", f"{number}", f"{face.confidence:.2f}", box]
            if self._pose:
                row += [f"{face.answer['pose'][angle]:+.1f}°" for angle in ANGLES]
            self._table.add_row(*row)

    @override
    def close(self) -> None:
        console = screen()
        if self._images:
            console.print(self._table)
            console.print(f"{count(self._faces, 'face')} in {count(self._images, 'image')}")


@dataclass
class _Seen:
    """What a table says of one face of one video, however long that is."""

    first_s: float
    last_s: float = 0.0
    frames: int = 0
    confidence: float = 0.0  # of all frames together
    low: tuple[float, ...] = ()  # degrees
    high: tuple[float, ...] = ()

    def add(self, time_s: float, confidence: float, angles: tuple[float, ...]) -> None:
        """One more frame."""
        self.frames += 1
        self.last_s = time_s
        self.confidence += confidence
        self.low = tuple(map(min, self.low or angles, angles))
        self.high = tuple(map(max, self.high or angles, angles))


class TrackTable(Sink):
    """A table of the faces of videos: when each was seen and where it looked."""

    def __init__(self, pose: bool) -> None:
        self._pose = pose
        self._seen: dict[tuple[str, int], _Seen] = {}
        self._frames: dict[str, int] = {}
        self._dropped = 0

    @override
    def add(self, entry: Entry) -> None:
        self._frames[entry.name] = self._frames.get(entry.name, 0) + 1
        if isinstance(entry.result, Frame):
            self._dropped += entry.result.dropped
        for face in entry.result.faces:
            time_s = entry.time_s or 0.0
            seen = self._seen.setdefault((entry.name, face.track_id), _Seen(time_s))
            pose = face.pose if self._pose else None
            angles = (pose.yaw, pose.pitch, pose.roll) if pose else ()
            seen.add(time_s, face.confidence, angles)

    @override
    def close(self) -> None:
        if not self._frames:
            return
        table = Table("video", "face", "frames", "from", "to", "confidence")
        for angle in ANGLES if self._pose else ():
            table.add_column(angle, justify="right")
        for name, frames in self._frames.items():
            rows = [(key[1], seen) for key, seen in self._seen.items() if key[0] == name]
            for row, (track_id, seen) in enumerate(rows):
                table.add_row("" if row else name, *self._cells(track_id, seen, frames))
            if not rows:
                table.add_row(name, "none", f"0 of {frames}")
        console = screen()
        console.print(table)
        total = count(sum(self._frames.values()), "frame")
        console.print(f"{total}, {self._dropped} dropped" if self._dropped else total)

    def _cells(self, track_id: int, seen: _Seen, frames: int) -> Iterable[str]:
        yield f"{track_id}"
        yield f"{seen.frames} of {frames}"
        yield from (f"{seen.first_s:.2f} s", f"{seen.last_s:.2f} s")
        yield f"{seen.confidence / seen.frames:.2f}"
        yield from (f"{a:+.0f}° … {b:+.0f}°" for a, b in zip(seen.low, seen.high, strict=True))


def screen() -> Console:
    """Standard output; wide where it is no terminal that could wrap."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=160)


def count(number: int, noun: str) -> str:
    """``1 face``, ``2 faces``."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _number(value: float | None, digits: int) -> float | str:
    return "" if value is None else round(value, digits)
