"""Image and regions in, faces out: the sole meeting point of geometry and the batcher."""

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from atpn.engine.batching import Batcher, Done, Priority
from atpn.engine.inference import Engine
from atpn.faces.detection import Detector
from atpn.faces.images import Picture, decode_picture
from atpn.faces.second_look import askew, believed, share
from atpn.geometry import (
    CROP_SIZE,
    Array,
    Box,
    Image,
    crop_to_image,
    landmark_box,
    roi_from_detection,
    rotation_from_euler,
    turned_pose,
    upright_roi,
    wrapped,
)


@dataclass(frozen=True)
class Prediction:
    """The network's answer for one crop."""

    landmarks: Array  # (98, 2) in units of the crop's side
    pose: Array  # (3,) yaw, pitch, roll in radians
    confidence: float


@dataclass(frozen=True)
class Face:
    """One face in image pixels."""

    roi: Box  # what the network looked at
    landmarks: Array  # (98, 2)
    confidence: float  # that the ROI shows a face, 0..1
    pose: Array  # (3,) yaw, pitch, roll in radians

    @property
    def box(self) -> Box:
        """The landmarks' bounding rectangle."""
        return landmark_box(self.landmarks)

    @cached_property
    def next_roi(self) -> Box:
        """Where to look for this face in the next frame."""
        return upright_roi(self.landmarks)

    @property
    def rotation(self) -> NDArray[np.float64]:
        """The 3x3 rotation matrix of the head."""
        return rotation_from_euler(*(float(a) for a in self.pose))


@dataclass(frozen=True)
class Timings:
    """Where the time went, in seconds; the longest item's where there are several."""

    queue_s: float = 0.0
    inference_s: float = 0.0

    def __add__(self, other: "Timings") -> "Timings":
        return Timings(self.queue_s + other.queue_s, self.inference_s + other.inference_s)


@dataclass(frozen=True)
class Aligned:
    """Faces of one call, in the order of its ROIs."""

    faces: list[Face]
    timings: Timings


#: A photograph is first decoded at no less than this times the detector's longest side: faces that
#: fill a tenth of it then need no second decoding.
LEAST_SEARCHED = 2


def predict(engine: Engine) -> Callable[[list[Image]], list[Prediction]]:
    """The batcher's function: a list of (112, 112, 3) crops to one prediction each."""

    def run(crops: list[Image]) -> list[Prediction]:
        out = engine.network.run(np.stack(crops))
        return [
            Prediction(points, pose, float(confidence))
            for points, pose, confidence in zip(
                out.landmarks, out.pose, out.confidence, strict=True
            )
        ]

    return run


@dataclass(frozen=True)
class Prepared:
    """A decoded image and the crops that the network is to see."""

    picture: Picture
    rois: list[Box]  # in pixels of the image, however it was decoded
    crops: list[Image]  # (112, 112, 3) each, one per ROI
    decode_s: float = 0.0
    find_s: float = 0.0


#: Width and height of an image to the ROIs to look at.
Known = Callable[[int, int], list[Box]]
#: What the detector found to what of it is to be looked at.
Choose = Callable[[list[Box]], list[Box]]


class Aligner:
    """Finds and aligns faces; decoding, detection and cropping are done in ``threads``.

    JPEGs are decoded at 1/2, 1/4 or 1/8 where network and detector still see all their pixels.
    """

    def __init__(
        self,
        batcher: Batcher[Image, Prediction],
        detector: Detector,
        threads: ThreadPoolExecutor,
        max_pixels: int,
    ) -> None:
        self._batcher = batcher
        self._detector = detector
        self._threads = threads
        self._max_pixels = max_pixels

    async def prepare(self, data: bytes, known: Known, whole: bool = False) -> Prepared:
        """Decode ``data`` and cut out the ROIs that are ``known``, in one hop to a thread.

        ``whole`` asks for the picture at its own size. Raises what `images.decode` and
        ``known`` raise.
        """
        return await self._in_thread(self._prepared, data, known, whole)

    async def search(self, data: bytes, max_faces: int, whole: bool = False) -> Prepared:
        """Decode ``data`` and cut out what the detector finds, at most ``max_faces``.

        Raises what `images.decode` raises.
        """
        return await self._in_thread(self._searched, data, max_faces, whole)

    async def look_again(self, picture: Picture, rois: list[Box]) -> Prepared:
        """Cut further ROIs out of a decoded image."""
        return await self._in_thread(cut, picture, rois)

    async def search_again(self, picture: Picture, choose: Choose) -> Prepared:
        """Cut what ``choose`` leaves of the detector's finds out of a decoded image."""
        return await self._in_thread(self._searched_again, picture, choose)

    async def align(self, prepared: Prepared, timeout_s: float, priority: Priority) -> Aligned:
        """One face per ROI, in order; raises what `Batcher.submit` raises."""
        if not prepared.crops:
            return Aligned([], Timings())
        done = await self._batcher.submit(prepared.crops, timeout_s, priority)
        return faces_of(prepared.rois, done)

    async def align_twice(
        self, prepared: Prepared, timeout_s: float, priority: Priority
    ) -> Aligned:
        """As `align`, and a second look at each face that was askew in its ROI.

        Where that is believed, the face has its ROI and its confidence.
        """
        first = await self.align(prepared, timeout_s, priority)
        again = [i for i, face in enumerate(first.faces) if askew(face.roi, face.next_roi)]
        if not again:
            return first
        rois = [first.faces[i].next_roi for i in again]
        closer = await self.look_again(prepared.picture, rois)
        second = await self.align(closer, timeout_s, priority)
        faces = list(first.faces)
        for i, face in zip(again, second.faces, strict=True):
            if believed(faces[i].confidence, face.confidence):
                faces[i] = seen_twice(faces[i], face)
        return Aligned(faces, first.timings + second.timings)

    def _prepared(self, data: bytes, known: Known, whole: bool) -> Prepared:
        started = time.monotonic()
        rois: list[Box] = []

        def reducible(width: int, height: int) -> float:
            rois.extend(known(width, height))
            if whole or not rois:  # without ROIs the detector will be asked
                return 1
            return min(most_reduction(rois), max(width, height) / self._detector.max_side)

        picture = decode_picture(data, self._max_pixels, reducible)
        decoded = time.monotonic()
        return replace(cut(picture, rois), decode_s=decoded - started)

    def _searched(self, data: bytes, max_faces: int, whole: bool) -> Prepared:
        started = time.monotonic()
        side = LEAST_SEARCHED * self._detector.max_side
        picture = decode_picture(
            data, self._max_pixels, lambda width, height: 1 if whole else max(width, height) / side
        )
        decoded = time.monotonic()
        prepared = self._searched_again(picture, lambda rois: rois[:max_faces])
        rois = prepared.rois
        if rois and picture.reduction > most_reduction(rois):  # a face is small: decode again
            again = time.monotonic()
            picture = decode_picture(data, self._max_pixels, lambda *_: most_reduction(rois))
            decoded += time.monotonic() - again
            prepared = replace(cut(picture, rois), find_s=prepared.find_s)
        return replace(prepared, decode_s=decoded - started)

    def _searched_again(self, picture: Picture, choose: Choose) -> Prepared:
        started = time.monotonic()
        found = [
            roi_from_detection(detection.box.scaled(picture.reduction))
            for detection in self._detector.detect(picture.pixels)  # best first
        ]
        rois, ended = choose(found), time.monotonic()
        return replace(cut(picture, rois), find_s=ended - started)

    async def _in_thread(self, work: Callable[..., Prepared], *args: object) -> Prepared:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work, *args)


def most_reduction(rois: list[Box]) -> float:
    """How much smaller an image may be while each ROI still has a pixel for each of its crop's."""
    return min(min(roi.width, roi.height) for roi in rois) / CROP_SIZE


def cut(picture: Picture, rois: list[Box]) -> Prepared:
    """The crops of the ROIs."""
    return Prepared(picture, rois, [picture.crop(roi) for roi in rois])


def seen_twice(first: Face, second: Face) -> Face:
    """What two looks at a face say together."""
    part = share(first.landmarks, second.landmarks, second.roi.width)
    turn = wrapped(second.pose - first.pose)
    return replace(
        second,
        landmarks=first.landmarks + part * (second.landmarks - first.landmarks),
        pose=wrapped(first.pose + part * turn),
    )


def faces_of(rois: list[Box], done: list[Done[Prediction]]) -> Aligned:
    """Predictions in crop units to faces in image pixels."""
    faces = [
        Face(
            roi,
            crop_to_image(item.value.landmarks, roi),
            item.value.confidence,
            turned_pose(item.value.pose, roi.angle),
        )
        for roi, item in zip(rois, done, strict=True)
    ]
    timings = Timings(max(d.queue_s for d in done), max(d.run_s for d in done))
    return Aligned(faces, timings)
