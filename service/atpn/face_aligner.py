"""Faces in this process: what a service answers through `Client`, without a service."""

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Self, TypeVar

import numpy as np

from atpn.api.answers import View, add_smoothed, frame_payload, photo_payload
from atpn.api.queries import AlignQuery, asked, parse_boxes, stream_config
from atpn.client.errors import ServiceError
from atpn.client.newest import Newest, check_pace
from atpn.client.parts import Payload
from atpn.client.pictures import Picture, encoded, pixels, several
from atpn.client.results import Frame, Result
from atpn.errors import AtpnError
from atpn.faces.encoded_image import EncodedImage, PixelImage
from atpn.faces.face import Face, faces_of
from atpn.faces.frame import follow_frame, observed
from atpn.faces.looking import Steps, drive
from atpn.faces.photographs import BoxKind, Photograph, Quality, Seen, find_faces
from atpn.faces.pipeline import Timings
from atpn.faces.smoothing import Smoother
from atpn.faces.stream import FrameResult, Timing, rules_of
from atpn.faces.tracking import Rules, State
from atpn.geometry import Box
from atpn.loading import load_network, open_detector
from atpn.settings import Settings, load_settings

if TYPE_CHECKING:
    from atpn.client.requests import Boxes

T = TypeVar("T")


class FaceAligner:
    """Finds, aligns and follows faces here; methods, options and results are those of `Client`.

    Models and limits are the settings' (by default those of the environment, prefix ATPN_), and
    are loaded once: ConfigurationError where they cannot be. May be shared by threads: each call
    computes on the thread that made it. What a service would refuse raises ServiceError with its
    code; files that cannot be read raise OSError.
    """

    def __init__(self, settings: Settings | None = None) -> None:
        self.settings = settings or load_settings()
        self._network = load_network(self.settings)
        self._detector = open_detector(self.settings)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Gives up what it holds: the connections, where a server elsewhere runs the network."""
        self._network.close()

    def align(
        self,
        image: Picture,
        *,
        boxes: "Boxes | None" = None,
        boxes_are: BoxKind | None = None,
        points: int = 98,
        pose: bool = False,
        signals: bool = False,
        max_faces: int | None = None,
        min_confidence: float | None = None,
        quality: Quality = "normal",
    ) -> Result:
        """The faces of an image; see `Client.align`."""
        photo = self._asked(points, boxes, boxes_are, max_faces, min_confidence, quality)
        return self._looked_at(image, photo, View(points, pose, signals=signals))

    def pose(
        self,
        image: Picture,
        *,
        boxes: "Boxes | None" = None,
        boxes_are: BoxKind | None = None,
        signals: bool = False,
        max_faces: int | None = None,
        min_confidence: float | None = None,
        quality: Quality = "normal",
    ) -> Result:
        """The direction of each head, without landmarks; see `Client.pose`."""
        photo = self._asked(98, boxes, boxes_are, max_faces, min_confidence, quality)
        return self._looked_at(image, photo, View(points=None, pose=True, signals=signals))

    def batch(
        self,
        images: Sequence[Picture],
        *,
        points: int = 98,
        pose: bool = False,
        signals: bool = False,
        max_faces: int | None = None,
        min_confidence: float | None = None,
        quality: Quality = "normal",
    ) -> list[Result]:
        """One result an image, in their order; a refused one has its ``error``."""
        photo = self._asked(points, None, "detector", max_faces, min_confidence, quality)
        results = []
        for image in several(images):
            try:
                results.append(self._looked_at(image, photo, View(points, pose, signals=signals)))
            except ServiceError as error:
                results.append(Result({}, error, image))
        return results

    def track(
        self,
        frames: Iterable[Picture],
        *,
        points: int = 98,
        pose: bool = True,
        signals: bool = False,
        max_faces: int | None = None,
        min_confidence: float | None = None,
        smoothing: bool = False,
        fps: float | None = None,
        realtime: bool = False,
        patience_s: float | None = None,  # noqa: ARG002 - for a service, which is never away here
    ) -> Iterator[Frame]:
        """Follow faces through ``frames``; yields their results in order.

        Each face keeps its ``track_id``. A frame that cannot be read is a result with ``error``.
        With ``realtime`` frames are taken as fast as they come (by a thread of its own) and the
        newest wins; results say how many were ``dropped``.
        """
        several(frames)
        check_pace(realtime, fps)
        wanted = {"points": points, "fps": fps}
        limits = {"max_faces": max_faces, "min_confidence": min_confidence}
        try:
            stream_config({"type": "config"} | wanted | limits)
        except AtpnError as refused:
            raise _told(refused) from refused
        rules = rules_of(self.settings, max_faces, min_confidence)
        follow = _Follow(View(points, pose, smoothing), rules, signals, Timing(fps))
        last = -1
        with ExitStack() as stack:
            numbered = stack.enter_context(Newest(frames)) if realtime else enumerate(frames)
            for index, picture in numbered:
                dropped, last = index - last - 1, index
                try:
                    answer, error = self._followed(follow, picture, dropped), None
                except AtpnError as problem:
                    answer = {"type": "error", "code": problem.code, "detail": problem.detail}
                    error = _told(problem)
                yield Frame(answer, error, picture, index, dropped)

    def _followed(self, follow: "_Follow", picture: Picture, dropped: int) -> Payload:
        """The answer about the next frame of a stream."""
        follow.state = replace(follow.state, seq=follow.state.seq + 1)
        work = self._open(picture, follow.view.pose or follow.signals)
        steps = follow_frame(follow.state, work.image.width, work.image.height, follow.rules)
        followed = self._drive(steps, work)
        at_s = follow.timing.of(follow.state.seq)
        followed = observed(followed, at_s) if follow.signals else followed
        follow.state = followed.state
        word = "detected" if followed.newcomers else "tracked"
        result = FrameResult(
            seq=followed.state.seq,
            state=word if followed.state.tracks else "lost",
            faces=followed.shown,
            width=work.image.width,
            height=work.image.height,
            timings=work.timings,
            at_s=at_s,
            signals=followed.signals,
        )
        return _frame_answer(result, dropped, follow)

    def _asked(
        self,
        points: int,
        boxes: "Boxes | None",
        boxes_are: BoxKind | None,
        max_faces: int | None,
        min_confidence: float | None,
        quality: Quality,
    ) -> Photograph:
        """What a photograph is asked for; ServiceError where the service would refuse it."""
        fields = {"points": str(points), "quality": quality}
        fields |= {} if boxes_are is None else {"boxes_are": boxes_are}
        limits = {"max_faces": max_faces, "min_confidence": min_confidence}
        try:
            query = asked(AlignQuery, fields | limits)
            given = None
            if boxes is not None:
                edges = [[float(edge) for edge in box] for box in boxes]
                given = parse_boxes(edges, self.settings.max_boxes)
        except AtpnError as error:
            raise _told(error) from error
        return Photograph(
            b"",
            given,
            query.boxes_are,
            query.max_faces,
            query.min_confidence,
            quality=query.quality,
        )

    def _looked_at(self, picture: Picture, photo: Photograph, view: View) -> Result:
        try:
            work = self._open(picture, view.needs_pose)
            steps = find_faces(photo, work.image.width, work.image.height, self.settings)
            faces = self._drive(steps, work)
        except AtpnError as error:
            raise _told(error) from error
        seen = Seen(work.image, faces, work.timings)
        return Result(photo_payload(self._network.model, view, seen), picture=picture)

    def _open(self, picture: Picture, pose: bool) -> "_Work":
        if isinstance(picture, np.ndarray):
            return _Work(PixelImage(pixels(picture), self._detector), pose)
        most = self.settings.max_pixels
        image = EncodedImage(encoded(picture), most, self._detector, whole=False)
        return _Work(image, pose)

    def _drive(self, steps: Steps[T], work: "_Work") -> T:
        return drive(steps, lambda rois: self._see(work, rois), work.image.search)

    def _see(self, work: "_Work", rois: list[Box]) -> list[Face]:
        crops = work.image.crops(rois)
        started, most = time.monotonic(), self.settings.max_batch_size
        seen = []
        for i in range(0, len(crops), most):
            seen += self._network.run(np.stack(crops[i : i + most]), work.pose).each()
        work.inference_s += time.monotonic() - started
        return faces_of(rois, seen)


@dataclass
class _Follow:
    """One stream: what is asked of it, and what it remembers."""

    view: View
    rules: Rules
    signals: bool
    timing: Timing
    state: State = field(default_factory=State)
    smoother: Smoother = field(default_factory=Smoother)


@dataclass
class _Work:
    """An image, and what its faces took."""

    image: EncodedImage
    pose: bool  # head poses are wanted
    inference_s: float = 0.0

    @property
    def timings(self) -> Timings:
        """As answers tell them; nobody waits here."""
        return Timings(self.image.decode_s, sum(self.image.detect_s), 0.0, self.inference_s)


def _frame_answer(result: FrameResult, dropped: int, follow: _Follow) -> Payload:
    view = follow.view
    payload = frame_payload(result, dropped, view)
    if view.smoothing:
        add_smoothed(payload, result, follow.smoother, view)
    return payload


def _told(error: AtpnError) -> ServiceError:
    return ServiceError(error.detail, code=error.code, status=error.status)
