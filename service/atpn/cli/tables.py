"""What a command tells people of its results: a table at the end."""

import sys
from collections.abc import Iterable
from dataclasses import dataclass

from rich.table import Table
from rich.text import Text
from typing_extensions import override

from atpn.cli import signals
from atpn.cli.output import ANGLES, Entry, Sink, count, screen, writing
from atpn.client import Frame
from atpn.client.requests import Wanted


class FaceTable(Sink):
    """A table of the faces of images."""

    def __init__(self, wanted: Wanted) -> None:
        self._pose, self._signals = wanted.pose, wanted.signals
        self._table = Table("image", "face", "confidence", "box")
        more = (ANGLES if wanted.pose else ()) + (signals.HEADINGS if wanted.signals else ())
        for heading in more:
            self._table.add_column(heading, justify="right")
        self._images = self._faces = 0

    @override
    def add(self, entry: Entry) -> None:
        if entry.result.error is not None:
            return
        self._images += 1
        faces = entry.result.faces
        self._faces += len(faces)
        if not faces:
            self._table.add_row(Text(entry.name), "none")
        for number, face in enumerate(faces, 1):
            box = " ".join(f"{edge:.0f}" for edge in face.box)
            row = [f"{number}", f"{face.confidence:.2f}", box]
            if self._pose:
                row += [f"{face.answer['pose'][angle]:+.1f}°" for angle in ANGLES]
            if self._signals:
                row += signals.cells(face.signals)
            self._table.add_row(Text(entry.name if number == 1 else ""), *row)

    @override
    def close(self) -> None:
        if not self._images:
            return
        console = screen()
        with writing(sys.stdout):
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
    blinks: int = 0

    def add(self, time_s: float, confidence: float, angles: tuple[float, ...]) -> None:
        """One more frame."""
        self.frames += 1
        self.last_s = time_s
        self.confidence += confidence
        self.low = tuple(map(min, self.low or angles, angles))
        self.high = tuple(map(max, self.high or angles, angles))


class TrackTable(Sink):
    """A table of the faces of videos: when each was seen, where it looked, how often it blinked."""

    def __init__(self, wanted: Wanted) -> None:
        self._pose, self._signals = wanted.pose, wanted.signals
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
            if self._signals:
                seen.blinks = face.signals.blinks.count

    @override
    def close(self) -> None:
        if not self._frames:
            return
        table = Table("video", "face", "frames", "from", "to", "confidence")
        more = (ANGLES if self._pose else ()) + (("blinks",) if self._signals else ())
        for heading in more:
            table.add_column(heading, justify="right")
        for name, frames in self._frames.items():
            rows = [(key[1], seen) for key, seen in self._seen.items() if key[0] == name]
            for row, (track_id, seen) in enumerate(rows):
                table.add_row(Text("" if row else name), *self._cells(track_id, seen, frames))
            if not rows:
                table.add_row(Text(name), "none", f"0 of {frames}")
        console = screen()
        total = count(sum(self._frames.values()), "frame")
        with writing(sys.stdout):
            console.print(table)
            console.print(f"{total}, {self._dropped} dropped" if self._dropped else total)

    def _cells(self, track_id: int, seen: _Seen, frames: int) -> Iterable[str]:
        yield f"{track_id}"
        yield f"{seen.frames} of {frames}"
        yield from (f"{seen.first_s:.2f} s", f"{seen.last_s:.2f} s")
        yield f"{seen.confidence / seen.frames:.2f}"
        yield from (f"{a:+.0f}° … {b:+.0f}°" for a, b in zip(seen.low, seen.high, strict=True))
        if self._signals:
            yield f"{seen.blinks}"
