"""Where a command's work is done: by a running service, or here with the service's own parts."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from typing_extensions import override

from atpn.client import Client, Frame, Result, ServiceError
from atpn.client.pictures import Picture, Pixels, encoded
from atpn.client.protocol import Follow
from atpn.client.requests import Wanted
from atpn.extras import needs

if TYPE_CHECKING:
    from anyio.from_thread import BlockingPortal

    from atpn.core import Core


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
    """The service's core in this process: the same code as behind /align and /track."""

    core: "Core"
    portal: "BlockingPortal"  # into the core's event loop, which runs in a thread

    @property
    @override
    def parallel(self) -> int:
        """One is decoded while the network looks at another."""
        return 2 * self.core.pipeline.threads

    @override
    def align(self, data: bytes, wanted: Wanted) -> Result:
        from atpn.api.answers import View, photo_payload  # noqa: PLC0415 - `local` has made sure
        from atpn.engine.lanes import Priority  # noqa: PLC0415 - that they are there
        from atpn.faces.photographs import Photograph, look_at  # noqa: PLC0415

        photo = Photograph(data, max_faces=wanted.max_faces, min_confidence=wanted.min_confidence)
        core, timeout_s = self.core, self.core.settings.request_timeout_s
        seen = self._call(look_at, core.pipeline, photo, timeout_s, Priority.PHOTO, "/align")
        view = View(wanted.points, wanted.pose)
        return Result(photo_payload(core.model, view, seen), picture=data)

    @override
    def track(
        self,
        frames: Iterable[Picture],
        follow: Follow,
        realtime: bool,
    ) -> Iterator[Frame]:
        from atpn.api.answers import View, frame_payload  # noqa: PLC0415
        from atpn.faces.stream import Stream, rules_of  # noqa: PLC0415

        core = self.core
        rules = rules_of(core.settings, follow.max_faces, follow.min_confidence)
        stream = Stream(core.pipeline, core.store, core.tokens, None, rules)
        view = View(follow.points, follow.pose)
        self._call(stream.open)
        try:
            for index, picture in enumerate(frames):
                data = bitmap(picture) if isinstance(picture, np.ndarray) else encoded(picture)
                told: dict[str, Any] = {}
                error = None
                try:
                    told = frame_payload(self._call(stream.frame, data, 0), 0, view)
                except ServiceError as refused:
                    error = refused
                yield Frame(told, error, picture, index, 0, stream.session_id)
        finally:
            self._call(stream.close)

    def _call(self, work: Callable[..., Any], *args: Any) -> Any:
        from atpn.errors import AtpnError  # noqa: PLC0415

        try:
            return self.portal.call(work, *args)
        except AtpnError as error:
            raise ServiceError(error.detail, code=error.code, status=error.status) from error


def bitmap(pixels: Pixels) -> bytes:
    """(H, W, 3) RGB as BMP: what is cheapest to encode without loss."""
    import cv2  # noqa: PLC0415

    _, data = cv2.imencode(".bmp", np.ascontiguousarray(pixels[..., ::-1]))
    return data.tobytes()


@contextmanager
def local() -> Iterator[Backend]:
    """The models in this process, by the settings of the environment; loaded once."""
    with needs("cpu"):
        import onnxruntime  # noqa: F401, PLC0415 - first, for it tells cpu from video
        from anyio.from_thread import start_blocking_portal  # noqa: PLC0415

        from atpn.assembly import open_core  # noqa: PLC0415
        from atpn.settings import load_settings  # noqa: PLC0415

    settings = load_settings()
    with ExitStack() as stack:
        portal = stack.enter_context(start_blocking_portal())
        core = stack.enter_context(portal.wrap_async_context_manager(open_core(settings)))
        yield Local(core, portal)


@contextmanager
def remote(url: str, key: str | None, timeout_s: float) -> Iterator[Backend]:
    """A running service; ValueError for an address that is none."""
    with Client(url, key=key, timeout_s=timeout_s) as client:
        yield Remote(client)
