"""Annotated pictures and videos."""

import itertools
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from typing_extensions import override

from atpn.cli.inputs import ImageFile, file_of
from atpn.cli.output import Entry, Sink, check_writable, writing
from atpn.cli.report import Stopped
from atpn.cli.video import file_url
from atpn.client.pictures import Pixels
from atpn.extras import needs

TICKS = 90_000  # a second of a written video
#: Codecs with their options, the first that the format takes: VP9 is WebM's.
CODECS = {
    "libx264": {"crf": "20", "preset": "veryfast"},
    "mpeg4": {},
    "libvpx-vp9": {"crf": "30", "b": "0", "deadline": "realtime", "cpu-used": "8"},
}


class Drawings(Sink):
    """Annotated images, each as a JPEG of its input's name; never in an input's place."""

    def __init__(self, folder: Path, inputs: Sequence[str] = ()) -> None:
        """Makes the folder; raises OSError where it cannot be written into."""
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
        self._folder = folder
        self._used: set[Path] = set()
        self._inputs = {file_of(Path(name)) for name in inputs} - {None}

    @override
    def add(self, entry: Entry) -> None:
        if entry.result.error is None:
            from PIL import Image  # noqa: PLC0415

            drawn = Image.fromarray(entry.result.draw())
            path = self._free(ImageFile(entry.name).stem)
            with writing(path):
                drawn.save(path, quality=95)

    def _free(self, stem: str) -> Path:
        """Of that name, or with a number where another image has it or it leads to an input."""
        names = itertools.chain([stem], (f"{stem}-{n}" for n in itertools.count(2)))
        paths = (self._folder / f"{name}.jpg" for name in names)
        path = next(p for p in paths if p not in self._used and file_of(p) not in self._inputs)
        self._used.add(path)
        return path


class Recording(Sink):
    """An annotated video: H.264 where it can be, at the times of the frames it is made of."""

    def __init__(self, path: Path) -> None:
        """Raises OSError or ValueError where such a file cannot be written."""
        with needs("video"):
            import av  # noqa: PLC0415
        self._path = path
        check_writable(path)  # FFmpeg opens it with the first frame only
        try:
            self._container = av.open(file_url(path), "w")
            self._stream: Any = self._added()
        except (av.FFmpegError, ValueError) as error:
            raise ValueError(f"{path} cannot be written as a video: {error}") from error
        self._opened = False
        self._last = -1

    @override
    def add(self, entry: Entry) -> None:
        """A refused frame is shown as it is, an unreadable image is left out.

        Stopped where it cannot be written, as on a full disk.
        """
        if entry.result.error and not isinstance(entry.result.picture, np.ndarray):
            return
        with self._writing():
            self._write(entry.result.draw(), entry.time_s or 0.0)

    def _write(self, drawn: Pixels, time_s: float) -> None:
        from av import VideoFrame  # noqa: PLC0415

        if not self._opened:
            height, width = drawn.shape[:2]
            self._stream.width, self._stream.height = (
                width - width % 2 or 2,
                height - height % 2 or 2,
            )
            self._opened = True
        frame = VideoFrame.from_ndarray(drawn, format="rgb24")
        size = {"width": self._stream.width, "height": self._stream.height}
        frame = frame.reformat(format="yuv420p", **size)
        self._last = max(self._last + 1, round(time_s * TICKS))
        frame.pts, frame.time_base = self._last, Fraction(1, TICKS)
        self._container.mux(self._stream.encode(frame))

    @override
    def close(self) -> None:
        with self._writing(), closing(self._container):
            if self._opened:
                self._container.mux(self._stream.encode(None))

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Stopped for FFmpeg's errors: of a source they would mean that it cannot be read.

        Nothing is written after one: FFmpeg would crash.
        """
        import av  # noqa: PLC0415

        try:
            yield
        except av.FFmpegError as error:
            self._opened = False
            raise Stopped(f"{self._path} cannot be written: {error.strerror}", 1) from error

    def _added(self) -> Any:
        """A stream by the first codec that PyAV has and the format takes; ValueError for none."""
        import av  # noqa: PLC0415

        takes = self._container.supported_codecs
        names = [name for name in CODECS if name in av.codecs_available and name in takes]
        if not names:
            raise ValueError(f"its format takes none of {', '.join(CODECS)}")
        stream: Any = self._container.add_stream(names[0], rate=30)
        stream.pix_fmt = "yuv420p"
        stream.time_base = stream.codec_context.time_base = Fraction(1, TICKS)
        stream.options = CODECS[names[0]]
        return stream
