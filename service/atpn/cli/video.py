"""Frames of videos, image folders and webcams in; annotated pictures and videos out."""

import io
import itertools
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np
from typing_extensions import override

from atpn.cli.inputs import (
    IMAGES,
    STDIN,
    VIDEOS,
    ImageFile,
    Unreadable,
    of_kind,
    paths,
)
from atpn.cli.output import Entry, Sink
from atpn.client.pictures import Picture
from atpn.extras import needs

if TYPE_CHECKING:
    from av.video.stream import VideoStream

TICKS = 90_000  # a second of a written video
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
            source = spooled() if self.name == STDIN else self.name
            with av.open(source, "r") as container:
                if not container.streams.video:
                    raise Unreadable("there is no video in it")
                stream = container.streams.video[0]
                stream.thread_type = "AUTO"
                yield Footage(_decoded(container.decode(stream)), _length(stream))
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
        yield Footage(shots, len(self.files))


@dataclass(frozen=True)
class Webcam:
    """A camera of this machine, by its number."""

    number: int

    @property
    def name(self) -> str:
        """For people."""
        return f"camera {self.number}"

    @contextmanager
    def open(self) -> Iterator[Footage]:
        """What it sees from now on; Unreadable where there is none."""
        with needs("video"):
            import cv2  # noqa: PLC0415
        camera = cv2.VideoCapture(self.number)
        try:
            if not camera.isOpened():
                raise Unreadable("no such camera")
            yield Footage(self._seen(camera), live=True)
        finally:
            camera.release()

    def _seen(self, camera: Any) -> Iterator[Shot]:
        started = time.monotonic()
        while (taken := camera.read())[0]:
            yield Shot(np.ascontiguousarray(taken[1][..., ::-1]), time.monotonic() - started)


Source = VideoFile | Sequence | Webcam


def sources(argument: str) -> list[Source]:
    """The streams that an argument names; Unreadable where there is none.

    A number is a camera, a folder of images is one stream, every video is one of its own.
    """
    path = Path(argument)
    if argument.isdecimal() and not path.exists():
        return [Webcam(int(argument))]
    if path.is_dir():
        images = of_kind(path.iterdir(), IMAGES)
        if images:
            return [Sequence(argument, images)]
    try:
        return [VideoFile(str(found)) for found in paths(argument, VIDEOS)]
    except Unreadable as error:
        if path.is_dir():
            raise Unreadable("neither images nor videos are in it") from error
        raise


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


def _decoded(frames: Iterable[Any]) -> Iterator[Shot]:
    first = None
    for index, frame in enumerate(frames):
        seconds = index / IMAGES_PER_S if frame.time is None else frame.time
        first = seconds if first is None else first
        image = frame.to_ndarray(format="rgb24")
        turns = round(getattr(frame, "rotation", 0) / 90) % 4  # counter-clockwise, as np.rot90
        yield Shot(np.ascontiguousarray(np.rot90(image, turns)), round(seconds - first, 4))


def _length(stream: "VideoStream") -> int | None:
    if stream.frames:
        return stream.frames
    if stream.duration and stream.time_base and stream.average_rate:
        return round(stream.duration * stream.time_base * stream.average_rate)
    return None


class Drawings(Sink):
    """Annotated images, each as a JPEG of its input's name."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._used: set[str] = set()

    @override
    def add(self, entry: Entry) -> None:
        if entry.result.error is None:
            from PIL import Image  # noqa: PLC0415

            drawn = Image.fromarray(entry.result.draw())
            drawn.save(self._folder / f"{self._free(ImageFile(entry.name).stem)}.jpg", quality=95)

    def _free(self, stem: str) -> str:
        """``stem``, or with a number where an image of another folder has taken it."""
        names = itertools.chain([stem], (f"{stem}-{n}" for n in itertools.count(2)))
        name = next(n for n in names if n not in self._used)
        self._used.add(name)
        return name


class Recording(Sink):
    """An annotated video: H.264 where PyAV has it, at the times of the frames it is made of."""

    def __init__(self, path: Path) -> None:
        with needs("video"):
            import av  # noqa: PLC0415
        try:
            self._container = av.open(str(path), "w")
        except (av.FFmpegError, ValueError) as error:
            raise ValueError(f"{path} cannot be written as a video: {error}") from error
        self._stream: Any = None
        self._last = -1

    @override
    def add(self, entry: Entry) -> None:
        """A refused frame is shown as it is, an unreadable image is left out."""
        from av import VideoFrame  # noqa: PLC0415

        if entry.result.error and not isinstance(entry.result.picture, np.ndarray):
            return
        drawn = entry.result.draw()
        if self._stream is None:
            self._stream = self._opened(*drawn.shape[:2])
        frame = VideoFrame.from_ndarray(drawn, format="rgb24")
        size = {"width": self._stream.width, "height": self._stream.height}
        frame = frame.reformat(format="yuv420p", **size)
        self._last = max(self._last + 1, round((entry.time_s or 0.0) * TICKS))
        frame.pts, frame.time_base = self._last, Fraction(1, TICKS)
        self._container.mux(self._stream.encode(frame))

    @override
    def close(self) -> None:
        with closing(self._container):
            if self._stream is not None:
                self._container.mux(self._stream.encode(None))

    def _opened(self, height: int, width: int) -> Any:
        import av  # noqa: PLC0415

        names = [name for name in ("libx264", "mpeg4") if name in av.codecs_available]
        stream: Any = self._container.add_stream(names[0], rate=30)
        stream.width, stream.height = width - width % 2 or 2, height - height % 2 or 2
        stream.pix_fmt = "yuv420p"
        stream.time_base = stream.codec_context.time_base = Fraction(1, TICKS)
        stream.options = {"crf": "20", "preset": "veryfast"} if names[0] == "libx264" else {}
        return stream
