"""Image and regions in, faces out: the sole meeting point of geometry and the batcher."""

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

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
    roi_from_landmarks,
    rotation_from_euler,
)
from atpn.images import decode
from atpn.inference import FaceNetwork


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

    @property
    def next_roi(self) -> Box:
        """Where to look for this face in the next frame."""
        return roi_from_landmarks(self.landmarks)

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


def predict(network: FaceNetwork) -> Callable[[list[Image]], list[Prediction]]:
    """The batcher's function: a list of (112, 112, 3) crops to one prediction each."""

    def run(crops: list[Image]) -> list[Prediction]:
        out = network.run(np.stack(crops))
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
            item.value.pose,
        )
        for roi, item in zip(rois, done, strict=True)
    ]
    timings = Timings(max(d.queue_s for d in done), max(d.run_s for d in done))
    return Aligned(faces, timings)
