"""Where a command's work is done: by a running service, or here."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from atpn.client import Client, Frame, Result
from atpn.client.pictures import Picture
from atpn.client.protocol import Follow
from atpn.client.requests import Wanted
from atpn.extras import needs

if TYPE_CHECKING:
    from atpn.face_aligner import FaceAligner

REQUESTS_AT_ONCE = 4


@dataclass(frozen=True)
class Backend:
    """Finds and follows faces; `align` may be called by several threads at once."""

    faces: "Client | FaceAligner"
    parallel: int  # images that are worth having in work at once

    def align(self, data: bytes, wanted: Wanted) -> Result:
        """The faces of an encoded image; raises ClientError."""
        return self.faces.align(
            data,
            points=wanted.points,
            pose=wanted.pose,
            signals=wanted.signals,
            max_faces=wanted.max_faces,
            min_confidence=wanted.min_confidence,
            quality=wanted.quality,  # type: ignore[arg-type]
        )

    def track(self, frames: Iterable[Picture], follow: Follow, realtime: bool) -> Iterator[Frame]:
        """The faces of each frame, in order; raises ClientError."""
        return self.faces.track(frames, **asdict(follow), realtime=realtime)


@contextmanager
def local() -> Iterator[Backend]:
    """The models in this process, by the settings of the environment; loaded once."""
    with needs("cpu"):
        import onnxruntime  # noqa: F401, PLC0415 - first, for it tells cpu from video

        from atpn.engine.inference import available_cores  # noqa: PLC0415
        from atpn.face_aligner import FaceAligner  # noqa: PLC0415

    aligner = FaceAligner()
    yield Backend(aligner, aligner.settings.threads or available_cores())


@contextmanager
def remote(url: str, key: str | None, timeout_s: float) -> Iterator[Backend]:
    """A running service; ValueError for an address that is none."""
    with Client(url, key=key, timeout_s=timeout_s) as client:
        yield Backend(client, REQUESTS_AT_ONCE)
