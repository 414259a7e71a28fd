"""Faces in this process: what a service answers through `Client`, without a service."""

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from atpn.api.answers import View, frame_payload, photo_payload, points_payload
from atpn.client.errors import ServiceError
from atpn.client.parts import Payload
from atpn.client.pictures import Picture, encoded, pixels
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
from atpn.faces.tracking import State
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

    def align(
        self,
        image: Picture,
        *,
        boxes: "Boxes | None" = None,
        boxes_are: BoxKind = "detector",
        points: int = 98,
        pose: bool = False,
        signals: bool = False,
        max_faces: int | None = None,
        min_confidence: float | None = None,
        quality: Quality = "normal",
    ) -> Result:
        """The faces of an image; see `Client.align`."""
        photo = _photograph(boxes, boxes_are, max_faces, min_confidence, quality)
        return self._looked_at(image, photo, View(points, pose, signals=signals))

    def pose(
        self,
        image: Picture,
        *,
        boxes: "Boxes | None" = None,
        boxes_are: BoxKind = "detector",
        signals: bool = False,
        max_faces: int | None = None,
        min_confidence: float | None = None,
        quality: Quality = "normal",
    ) -> Result:
        """The direction of each head, without landmarks; see `Client.pose`."""
        photo = _photograph(boxes, boxes_are, max_faces, min_confidence, quality)
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
        photo = _photograph(None, "detector", max_faces, min_confidence, quality)
        results = []
        for image in images:
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
    ) -> Iterator[Frame]:
        """Follow faces through ``frames``; yields their results in order.

        Each face keeps its ``track_id``. A frame that cannot be read is a result with ``error``.
        """
        view = View(points, pose, smoothing)
        timing = Timing(fps)
        rules = rules_of(self.settings, max_faces, min_confidence)
        state, smoother = State(), Smoother()
        for index, picture in enumerate(frames):
            state = replace(state, seq=state.seq + 1)
            try:
                work = self._open(picture, pose or signals)
                steps = follow_frame(state, work.image.width, work.image.height, rules)
                followed = self._drive(steps, work)
                at_s = timing.of(state.seq)
                followed = observed(followed, at_s) if signals else followed
            except AtpnError as error:
                told = {"type": "error", "code": error.code, "detail": error.detail}
                yield Frame(told, _told(error), picture, index)
                continue
            state = followed.state
            word = "detected" if followed.newcomers else "tracked"
            result = FrameResult(
                seq=state.seq,
                state=word if state.tracks else "lost",
                faces=followed.shown,
                width=work.image.width,
                height=work.image.height,
                timings=work.timings,
                at_s=at_s,
                signals=followed.signals,
            )
            yield Frame(_frame_answer(result, view, smoother), None, picture, index)

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
class _Work:
    """An image, and what its faces took."""

    image: EncodedImage
    pose: bool  # head poses are wanted
    inference_s: float = 0.0

    @property
    def timings(self) -> Timings:
        """As answers tell them; nobody waits here."""
        return Timings(self.image.decode_s, sum(self.image.detect_s), 0.0, self.inference_s)


def _photograph(
    boxes: "Boxes | None",
    boxes_are: BoxKind,
    max_faces: int | None,
    min_confidence: float | None,
    quality: Quality,
) -> Photograph:
    given = None if boxes is None else [Box(*(float(edge) for edge in box)) for box in boxes]
    return Photograph(b"", given, boxes_are, max_faces, min_confidence, quality=quality)


def _frame_answer(result: FrameResult, view: View, smoother: Smoother) -> Payload:
    payload = frame_payload(result, 0, view)
    if view.smoothing:
        seen = [(t.track_id, face.landmarks, face.roi.width) for t, face in result.faces]
        smoothed = smoother(seen, result.at_s)
        for fields, points in zip(payload["faces"], smoothed, strict=True):
            fields["smoothed"] = points_payload(points, view.points or 98)
    return payload


def _told(error: AtpnError) -> ServiceError:
    return ServiceError(error.detail, code=error.code, status=error.status)
