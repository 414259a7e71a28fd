"""Finds faces in whole images with YuNet: resize, ONNX Runtime, decoding, suppression.

Source: Wu, Peng and Yu, "YuNet: A Tiny Millisecond-level Face Detector" (2023); decoded as
OpenCV's FaceDetectorYN does.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from atpn.engine.inference import ModelFile, open_session
from atpn.geometry import Box, Image

Array = NDArray[np.float32]

STRIDES = (8, 16, 32)  # pixels a cell of each output grid
MULTIPLE = 32  # the sides of the network's input
OVERLAP = 0.3  # of two boxes (IoU): above it they are the same face
OUTPUTS = [f"{kind}_{stride}" for stride in STRIDES for kind in ("cls", "obj", "bbox")]


@dataclass(frozen=True)
class Detection:
    """One face: its box in image pixels and a score in [0, 1]."""

    box: Box
    score: float


class Detector:
    """The face detector. Thread-safe, as ONNX Runtime's ``run`` is.

    ``threshold`` is the lowest score that is a face; ``max_side`` the longest side in pixels
    at which images are searched (faces below about 10 px there are missed).
    """

    def __init__(
        self,
        model: ModelFile,
        device: str = "cpu",
        threads: int = 1,
        threshold: float = 0.7,
        max_side: int = 640,
    ) -> None:
        self.model = model
        self.threshold = threshold
        self.max_side = max_side
        self._session = open_session(model.path, device, threads)

    def detect(self, image: Image) -> list[Detection]:
        """Faces in an (H, W, 3) uint8 RGB image, best score first."""
        small = shrink(image, self.max_side)
        padded = pad(small)
        outputs = self._session.run(OUTPUTS, {"image": padded[None]})
        boxes, scores = decode(outputs, padded.shape[1], self.threshold)
        boxes, scores = suppress(boxes, scores)
        height, width = image.shape[:2]
        boxes *= np.tile([width / small.shape[1], height / small.shape[0]], 2).astype(np.float32)
        return [
            Detection(Box(*(float(v) for v in box)), float(score))
            for box, score in zip(boxes, scores, strict=True)
        ]


def shrink(image: Image, max_side: int) -> Image:
    """The image with its longer side at most ``max_side``, averaged down."""
    height, width = image.shape[:2]
    scale = max_side / max(height, width)
    if scale >= 1:
        return image
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)


def pad(image: Image) -> Image:
    """The image with black added at the right and below up to multiples of 32."""
    height, width = image.shape[:2]
    down, right = -height % MULTIPLE, -width % MULTIPLE
    return np.pad(image, ((0, down), (0, right), (0, 0)))


def decode(outputs: list[Array], width: int, threshold: float) -> tuple[Array, Array]:
    """Boxes (N, 4) in input pixels and scores (N,) of all cells at or above the threshold.

    ``outputs`` are cls, obj and bbox of each stride, as `OUTPUTS` names them; ``width`` is
    that of the network's input.
    """
    boxes, scores = [], []
    for stride, cls, obj, bbox in zip(
        STRIDES, outputs[::3], outputs[1::3], outputs[2::3], strict=True
    ):
        score = np.sqrt(np.clip(cls[0, :, 0], 0, 1) * np.clip(obj[0, :, 0], 0, 1))
        cells = np.flatnonzero(score >= threshold)
        rows, columns = np.divmod(cells, width // stride)
        offset = bbox[0, cells]  # (n, 4): centre in cells, logarithm of the size in cells
        centre = (offset[:, :2] + np.stack([columns, rows], 1)) * stride
        half = np.exp(offset[:, 2:]) * (stride / 2)
        boxes.append(np.concatenate([centre - half, centre + half], 1, dtype=np.float32))
        scores.append(score[cells])
    return np.concatenate(boxes), np.concatenate(scores)


def suppress(boxes: Array, scores: Array) -> tuple[Array, Array]:
    """Keep the best of boxes (N, 4) that overlap; best score first."""
    order = np.argsort(-scores, kind="stable")
    kept: list[int] = []
    while order.size:
        best, rest = int(order[0]), order[1:]
        kept.append(best)
        order = rest[overlap(boxes[best], boxes[rest]) <= OVERLAP]
    return boxes[kept], scores[kept]


def overlap(box: Array, others: Array) -> Array:
    """Intersection over union of one box (4,) with others (N, 4): (N,)."""
    low = np.maximum(box[:2], others[:, :2])
    high = np.minimum(box[2:], others[:, 2:])
    shared = np.clip(high - low, 0, None).prod(1)
    area = (others[:, 2:] - others[:, :2]).prod(1)
    both = (box[2:] - box[:2]).prod() + area
    return np.asarray(shared / (both - shared), np.float32)
