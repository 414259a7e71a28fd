"""Live sources: a camera of the network or of this machine, which is found again after a break.

FFmpeg does the reading (RTSP, MJPEG and other streams over HTTP, V4L2); here is decided how long
to wait for it and when to connect again.
"""

import errno
import re
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING

from atpn.cli.inputs import VIDEOS, Unreadable
from atpn.cli.video import Footage, Shot, recorded, upright, video_of
from atpn.client.requests import backoff_s
from atpn.extras import needs

if TYPE_CHECKING:
    import av
    from av.container import InputContainer

SCHEMES = ("rtsp", "rtsps", "http", "https")
#: FFmpeg's format of this machine's cameras and what it calls the n-th, by `sys.platform`.
DEVICES = {"linux": ("v4l2", "/dev/video{}"), "darwin": ("avfoundation", "{}")}
OPTIONS = {
    "rtsp_flags": "prefer_tcp",  # RTP in the same connection: passes firewalls, loses nothing
    # What a playlist of another host may name: no file of this machine.
    "protocol_whitelist": "http,https,httpproxy,tcp,tls,crypto,udp,rtp,srtp",
}


@dataclass(frozen=True)
class Patience:
    """What is borne of a live source, and who is told."""

    silence_s: float = 15.0  # without a frame, or an answer
    tries: int = 5  # in a row to find it again
    tell: Callable[[str], None] = lambda _: None  # one line
    backoff: Callable[[int], float] = lambda tries: backoff_s(tries, first_s=0.5, most_s=10)


@dataclass(frozen=True)
class Camera:
    """A source of frames that has no end of its own."""

    name: str  # for people and answers: without secrets
    address: str  # FFmpeg's
    format: str | None = None  # FFmpeg's, of a device
    patience: Patience = Patience()

    @property
    def endless(self) -> bool:
        """Whether it is taken for one that does not end: its name is not a video file's."""
        return Path(self.name).suffix.lower() not in VIDEOS - {".ts"}  # .ts: of broadcasts, too

    @contextmanager
    def open(self) -> Iterator[Footage]:
        """What it sees from now on; of a recording behind a URL, every frame.

        Unreadable where nothing can be read at the start, or any more.
        """
        with needs("video"):
            import av  # noqa: PLC0415
        try:
            container = self._connected()
            if container.duration is not None:  # a recording, by HTTP or RTSP
                with container:
                    yield recorded(container)
                return
        except av.FFmpegError as error:
            raise Unreadable(self._why(error)) from error
        ended = Event()
        try:
            yield Footage(_shots(self._frames(container, ended)), live=True)
        finally:
            ended.set()  # frames are often taken by another thread, which may be waiting

    def _frames(self, first: "InputContainer", ended: Event) -> Iterator["Seen"]:
        """Frames of one connection after the other; Unreadable when none can be had any more.

        What has shown nothing yet is not tried again: it may be no camera at all.
        """
        import av  # noqa: PLC0415

        opened: InputContainer | None = first
        tries: int | None = None  # since the last frame, of which there was none yet
        while not ended.is_set():
            try:
                with opened or self._connected() as container:
                    opened = None
                    for seen in _decoded(container, self.patience.silence_s):
                        if tries:
                            self.patience.tell(f"{self.name}: goes on")
                        tries = 0
                        yield seen
                why = "it ended" if tries is not None else "it ended without a picture"
            except (av.FFmpegError, Unreadable) as error:
                why = self._why(error)
            if tries is None or tries == self.patience.tries:
                raise Unreadable(why + (f"; given up after {tries} further tries" if tries else ""))
            if not tries:
                self.patience.tell(f"{self.name}: {why}; trying again")
            ended.wait(self.patience.backoff(tries))
            tries += 1

    def _connected(self) -> "InputContainer":
        import av  # noqa: PLC0415

        wait_s = self.patience.silence_s
        return av.open(self.address, "r", self.format, OPTIONS, timeout=(wait_s, wait_s))

    def _why(self, error: "av.FFmpegError | Unreadable") -> str:
        import av  # noqa: PLC0415

        if isinstance(error, Unreadable):
            return str(error)
        if isinstance(error, av.error.ExitError):
            return f"nothing came for {self.patience.silence_s:g} s"
        if error.errno == errno.EIO:
            return "the connection failed or was cut"
        return f"cannot be read as a video: {error.strerror}"


def camera(argument: str, patience: Patience) -> Camera | None:
    """The live source that an argument names: a URL, a device or a camera's number; or none.

    Unreadable for a URL of another kind, or a number where cameras have names.
    """
    scheme, separator, _ = argument.partition("://")
    if separator:
        if scheme.lower() not in SCHEMES:
            raise Unreadable(f"of URLs {', '.join(s + '://' for s in SCHEMES)} can be read")
        return Camera(shown(argument), argument, patience=patience)
    kind, device = DEVICES.get(sys.platform, ("", ""))
    if argument.isdecimal() and kind:
        return Camera(f"camera {argument}", device.format(argument), kind, patience)
    if argument.startswith("/dev/video"):
        return Camera(argument, argument, "v4l2", patience)
    return None


def shown(url: str) -> str:
    """A URL, even one that is none, without what may be secret in it: user, password and query.

    Nobody escapes the signs in a password that end a host: an @ behind them leaves the scheme.
    """
    scheme, rest = url.split("://", maxsplit=1)
    host = re.split("[/?#]", rest, maxsplit=1)[0]
    behind = rest.removeprefix(host)
    path = re.split("[?#]", behind, maxsplit=1)[0]
    if "@" not in host and ("@" in path or (":" in host and "@" in behind)):
        return f"{scheme}://..."
    return f"{scheme}://{host.rpartition('@')[2]}{path}"


@dataclass(frozen=True)
class Seen:
    """A decoded frame, and when it came (of the monotonic clock)."""

    frame: "av.VideoFrame"
    at_s: float


def _decoded(container: "InputContainer", silence_s: float) -> Iterator[Seen]:
    """Frames as they come; what cannot be decoded is passed over for as long as silence is."""
    import av  # noqa: PLC0415

    stream = video_of(container)
    seen_s = time.monotonic()
    for packet in container.demux(stream):
        try:
            for frame in packet.decode():
                seen_s = time.monotonic()
                yield Seen(frame, seen_s)
        except av.error.InvalidDataError:
            if time.monotonic() - seen_s > silence_s:
                raise Unreadable(f"nothing but junk came for {silence_s:g} s") from None


def _shots(frames: Iterator[Seen]) -> Iterator[Shot]:
    first_s = None
    for seen in frames:
        first_s = seen.at_s if first_s is None else first_s
        yield Shot(upright(seen.frame), round(seen.at_s - first_s, 4))
