"""Image and regions in, faces out: the sole meeting point of geometry and the batcher."""

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from atpn.batching import Batcher, Done, Priority
from atpn.detection import Detector
from atpn.geometry import (
    Array,
    Box,
    Image,
    crop,
    crop_to_image,
    landmark_box,
    roi_from_detection,
    rotation_from_euler,
    turned_pose,
    upright_roi,
)
from atpn.images import decode
from atpn.inference import Engine


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


#: A face is looked at again where the ROI overlaps the one its landmarks lead to by less than
#: this, or is turned from it by more (radians). On the validation faces in ROIs as imprecise as
#: a detector's that is 43 % of them, and NME falls from 4.20 to 4.08 %; on WFLW's, 4.71 to 4.36.
ASKEW_IOU, ASKEW_ANGLE = 0.8, np.radians(8)
#: A second look that is less sure of the face by more than this is not believed.
DOUBT = 0.2


def askew(face: Face) -> bool:
    """Whether the network saw the face far from where tracking would have shown it."""
    better = face.next_roi
    turn = np.angle(np.exp(1j * (better.angle - face.roi.angle)))
    return better.iou(face.roi) < ASKEW_IOU or bool(abs(turn) > ASKEW_ANGLE)


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

    image: Image  # (H, W, 3)
    rois: list[Box]
    crops: list[Image]  # (112, 112, 3) each, one per ROI
    decode_s: float = 0.0
    find_s: float = 0.0


Find = Callable[[Image], list[Box]]


class Aligner:
    """Finds and aligns faces; decoding, detection and cropping are done in ``threads``."""

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

    def detect(self, image: Image) -> list[Box]:
        """ROIs of the faces that the detector finds, best first (blocking)."""
        return [roi_from_detection(found.box) for found in self._detector.detect(image)]

    async def prepare(self, data: bytes, find: Find) -> Prepared:
        """Decode ``data`` and cut out the ROIs that ``find`` names, in one hop to a thread.

        Raises what `images.decode` and ``find`` raise.
        """
        return await self._in_thread(self._prepared, data, find)

    async def look_again(self, image: Image, find: Find) -> Prepared:
        """Cut further ROIs out of a decoded image."""
        return await self._in_thread(cut, image, find)

    async def align(self, prepared: Prepared, timeout_s: float, priority: Priority) -> Aligned:
        """One face per ROI, in order; raises what `Batcher.submit` raises."""
        if not prepared.crops:
            return Aligned([], Timings())
        done = await self._batcher.submit(prepared.crops, timeout_s, priority)
        return faces_of(prepared.rois, done)

    async def align_twice(
        self, prepared: Prepared, timeout_s: float, priority: Priority
    ) -> Aligned:
        """As `align`, and a second look at each face that was askew in its ROI."""
        first = await self.align(prepared, timeout_s, priority)
        again = [i for i, face in enumerate(first.faces) if askew(face)]
        if not again:
            return first
        rois = [first.faces[i].next_roi for i in again]
        closer = await self.look_again(prepared.image, lambda _: rois)
        second = await self.align(closer, timeout_s, priority)
        faces = list(first.faces)
        for i, face in zip(again, second.faces, strict=True):
            if face.confidence >= faces[i].confidence - DOUBT:
                faces[i] = face
        return Aligned(faces, first.timings + second.timings)

    def _prepared(self, data: bytes, find: Find) -> Prepared:
        started = time.monotonic()
        image = decode(data, self._max_pixels)
        decoded = time.monotonic()
        return replace(cut(image, find), decode_s=decoded - started)

    async def _in_thread(self, work: Callable[..., Prepared], *args: object) -> Prepared:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work, *args)


def cut(image: Image, find: Find) -> Prepared:
    """The crops of the ROIs that ``find`` names."""
    started = time.monotonic()
    rois = find(image)
    found = time.monotonic()
    return Prepared(image, rois, [crop(image, roi) for roi in rois], find_s=found - started)


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
