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
#: Most images show one face, and large. They are searched at this longest side first, and are done
#: where all that is found has at least this share of it: chosen on crowds, clips and photographs
#: without a face (`atpn_training.score.searches`), where nothing else was then missed.
QUICK_SIDE, LARGE = 256, 0.18
#: Where nothing reaches the threshold, a score of so much of it may be a face (covered, cut off, an
#: infant's), and is one where the network is so confident (`atpn_training.score.finds`).
UNSURE, SURE = 0.45, 0.97
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

    def search(self, image: Image, small: bool, unsure: bool) -> list[Detection]:
        """What `looking.Detect` asks for."""
        if unsure:
            return self.detect_unsure(image)
        return self.detect(image) if small else self.detect_large(image)

    def detect(self, image: Image) -> list[Detection]:
        """Faces in an (H, W, 3) uint8 RGB image, best score first."""
        return self._detect(image, shrink(image, self.max_side), self.threshold)

    def detect_large(self, image: Image) -> list[Detection]:
        """As `detect`, in a fraction of the time where all faces are large.

        A face that a small copy of the image shows large is alone, or in company of its size;
        where none is found there, or a smaller one, the image is searched as by `detect`.
        """
        if self.max_side <= QUICK_SIDE:
            return self.detect(image)
        found = self._detect(image, shrink_quickly(image, QUICK_SIDE), self.threshold)
        least = LARGE * max(image.shape[:2])
        if found and all(min(one.box.width, one.box.height) >= least for one in found):
            return found
        return self.detect(image)

    def detect_unsure(self, image: Image) -> list[Detection]:
        """What may be large faces, where `detect` finds none: the caller has to look closer."""
        small = shrink_quickly(image, min(QUICK_SIDE, self.max_side))
        return self._detect(image, small, UNSURE * self.threshold)

    def _detect(self, image: Image, small: Image, threshold: float) -> list[Detection]:
        """The faces of ``image``, found in a ``small`` copy of it."""
        padded = pad(small)
        outputs = self._session.run(OUTPUTS, {"image": padded[None]})
        boxes, scores = decode(outputs, padded.shape[1], threshold)
        boxes, scores = suppress(boxes, scores)
        height, width = image.shape[:2]
        boxes *= np.tile([width / small.shape[1], height / small.shape[0]], 2).astype(np.float32)
        return [
            Detection(Box(*box), score)
            for box, score in zip(boxes.tolist(), scores.tolist(), strict=True)
        ]


def shrink(image: Image, max_side: int) -> Image:
    """The image with its longer side at most ``max_side``, averaged down."""
    height, width = image.shape[:2]
    scale = max_side / max(height, width)
    if scale >= 1:
        return image
    return _resized(image, width * scale, height * scale, cv2.INTER_AREA)


def shrink_quickly(image: Image, max_side: int) -> Image:
    """As `shrink`: averaged down by a whole factor, and interpolated from there."""
    height, width = image.shape[:2]
    scale = max_side / max(height, width)
    if scale >= 1:
        return image
    factor = min(int(1 / scale), height, width)
    if factor > 1:
        whole = image[: height // factor * factor, : width // factor * factor]
        image = _resized(whole, width // factor, height // factor, cv2.INTER_AREA)
    return _resized(image, width * scale, height * scale, cv2.INTER_LINEAR)


def _resized(image: Image, width: float, height: float, how: int) -> Image:
    size = max(1, round(width)), max(1, round(height))
    return cv2.resize(image, size, interpolation=how).astype(np.uint8, copy=False)


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
    sized = np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], 1)
    best = cv2.dnn.NMSBoxes(sized.tolist(), scores.tolist(), 0.0, OVERLAP)
    kept = np.asarray(best, np.intp)
    return boxes[kept], scores[kept]
