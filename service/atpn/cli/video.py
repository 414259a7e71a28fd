"""Frames of video files and of folders of images."""

import io
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

import numpy as np

from atpn.cli.inputs import STDIN, Unreadable
from atpn.client.pictures import Picture, Pixels
from atpn.extras import needs

if TYPE_CHECKING:
    from av import VideoFrame
    from av.container import InputContainer
    from av.video.stream import VideoStream

IMAGES_PER_S = 25  # of a folder that is seen as a video


@dataclass(frozen=True)
class Shot:
    """One frame, and seconds from the start."""

    image: Picture
    time_s: float


@dataclass(frozen=True)
class Footage:
    """An opened source of frames."""

    shots: Iterator[Shot]
    count: int | None = None  # None: unknown
    live: bool = False  # frames come by the clock
    fps: float | None = None  # of a recording, where it is known


@dataclass(frozen=True)
class VideoFile:
    """A video file, or standard input."""

    name: str

    @contextmanager
    def open(self) -> Iterator[Footage]:
        """Its frames, turned upright; Unreadable where it is no video."""
        with needs("video"):
            import av  # noqa: PLC0415
        try:
            source = spooled() if self.name == STDIN else file_url(Path(self.name))
            with av.open(source, "r") as container:
                yield recorded(container)
        except av.FFmpegError as error:
            raise Unreadable(f"cannot be read as a video: {error.strerror}") from error


@dataclass(frozen=True)
class Sequence:
    """A folder of images that are the frames of one video, by name."""

    name: str
    files: list[Path]

    @contextmanager
    def open(self) -> Iterator[Footage]:
        """Its images, as they are."""
        shots = (Shot(f, i / IMAGES_PER_S) for i, f in enumerate(self.files))
        yield Footage(shots, len(self.files), fps=IMAGES_PER_S)


def file_url(path: Path) -> str:
    """A path as FFmpeg takes it: what stands before a colon would be a protocol."""
    return f"file:{path}"


def spooled() -> IO[bytes]:
    """Standard input; where its format is one that needs seeking (MP4), as a temporary file."""
    source = sys.stdin.buffer
    start = source.peek(12)[:12] if isinstance(source, io.BufferedReader) else b""
    if start[4:8] not in {b"ftyp", b"moov", b"mdat", b"free", b"wide"}:
        return source
    file = tempfile.TemporaryFile()  # noqa: SIM115 - read, and closed, by the container
    while chunk := source.read(1 << 20):
        file.write(chunk)
    file.seek(0)
    return file


def recorded(container: "InputContainer") -> Footage:
    """Every frame of a recording, at its own time."""
    stream = video_of(container)
    stream.thread_type = "AUTO"
    return Footage(_decoded(_frames(container, stream)), _length(stream), fps=_rate(stream))


def _frames(container: "InputContainer", stream: "VideoStream") -> Iterator["VideoFrame"]:
    """All that can be decoded; Unreadable at the end where damaged packets had to be left out."""
    from av.error import InvalidDataError  # noqa: PLC0415

    damaged = 0
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets)
        except (StopIteration, IndexError):  # PyAV's, where a stream appears late
            break
        try:
            yield from packet.decode()
        except InvalidDataError:
            damaged += 1
    if damaged:
        raise Unreadable(f"{damaged} damaged pieces of the video were left out")


def video_of(container: "InputContainer") -> "VideoStream":
    """Its first video; Unreadable where there is none."""
    if not container.streams.video:
        raise Unreadable("there is no video in it")
    return container.streams.video[0]


def upright(frame: "VideoFrame") -> Pixels:
    """(H, W, 3) RGB."""
    image = frame.to_ndarray(format="rgb24")
    turns = round(getattr(frame, "rotation", 0) / 90) % 4  # counter-clockwise, as np.rot90
    return np.ascontiguousarray(np.rot90(image, turns), np.uint8)


def _decoded(frames: Iterable["VideoFrame"]) -> Iterator[Shot]:
    first = None
    for index, frame in enumerate(frames):
        seconds = index / IMAGES_PER_S if frame.time is None else frame.time
        first = seconds if first is None else first
        yield Shot(upright(frame), round(seconds - first, 4))


def _rate(stream: "VideoStream") -> float | None:
    """Frames a second; None for what a container may claim and no video has."""
    rate = float(stream.average_rate or 0)
    return rate if 1 <= rate <= 1000 else None


def _length(stream: "VideoStream") -> int | None:
    if stream.frames:
        return stream.frames
    if stream.duration and stream.time_base and stream.average_rate:
        return round(stream.duration * stream.time_base * stream.average_rate)
    return None
