"""Where a command's work is done: by a running service, or here with the service's own parts."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from typing_extensions import override

from atpn.client import Client, Frame, Result
from atpn.client.pictures import Picture
from atpn.client.protocol import Follow
from atpn.client.requests import Wanted
from atpn.extras import needs

if TYPE_CHECKING:
    from atpn.face_aligner import FaceAligner


class Backend(Protocol):
    """Finds and follows faces; `align` may be called by several threads at once."""

    @property
    def parallel(self) -> int:
        """Images that are worth having in work at once."""

    def align(self, data: bytes, wanted: Wanted) -> Result:
        """The faces of an encoded image; raises ClientError."""

    def track(self, frames: Iterable[Picture], follow: Follow, realtime: bool) -> Iterator[Frame]:
        """The faces of each frame, in order; raises ClientError."""


class Remote(Backend):
    """A running service."""

    def __init__(self, client: Client) -> None:
        self._client = client

    @property
    @override
    def parallel(self) -> int:
        return 4

    @override
    def align(self, data: bytes, wanted: Wanted) -> Result:
        return self._client.align(
            data,
            points=wanted.points,
            pose=wanted.pose,
            max_faces=wanted.max_faces,
            min_confidence=wanted.min_confidence,
        )

    @override
    def track(self, frames: Iterable[Picture], follow: Follow, realtime: bool) -> Iterator[Frame]:
        return self._client.track(
            frames,
            points=follow.points,
            pose=follow.pose,
            max_faces=follow.max_faces,
            min_confidence=follow.min_confidence,
            smoothing=follow.smoothing,
            realtime=realtime,
        )


@dataclass(frozen=True)
class Local(Backend):
    """The models in this process."""

    aligner: "FaceAligner"
    threads: int

    @property
    @override
    def parallel(self) -> int:
        return self.threads

    @override
    def align(self, data: bytes, wanted: Wanted) -> Result:
        return self.aligner.align(
            data,
            points=wanted.points,
            pose=wanted.pose,
            max_faces=wanted.max_faces,
            min_confidence=wanted.min_confidence,
        )

    @override
    def track(
        self,
        frames: Iterable[Picture],
        follow: Follow,
        realtime: bool,
    ) -> Iterator[Frame]:
        return self.aligner.track(
            frames,
            points=follow.points,
            pose=follow.pose,
            max_faces=follow.max_faces,
            min_confidence=follow.min_confidence,
            smoothing=follow.smoothing,
        )


@contextmanager
def local() -> Iterator[Backend]:
    """The models in this process, by the settings of the environment; loaded once."""
    with needs("cpu"):
        import onnxruntime  # noqa: F401, PLC0415 - first, for it tells cpu from video

        from atpn.engine.inference import available_cores  # noqa: PLC0415
        from atpn.face_aligner import FaceAligner  # noqa: PLC0415

    aligner = FaceAligner()
    yield Local(aligner, aligner.settings.threads or available_cores())


@contextmanager
def remote(url: str, key: str | None, timeout_s: float) -> Iterator[Backend]:
    """A running service; ValueError for an address that is none."""
    with Client(url, key=key, timeout_s=timeout_s) as client:
        yield Remote(client)
