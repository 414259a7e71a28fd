"""Endless, reproducible training batches: batch k of a seed is always the same.

A run that resumes at step k therefore goes on exactly where it stopped.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import cv2
import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from atpn.geometry import CROP_SIZE, Box, crop, square
from atpn_training.augment import Image, Sample, disturbed, random_crop
from atpn_training.data import STORED, Faces, Scene

Batch = dict[str, Tensor]
NEGATIVE_IOU = 0.3  # a negative overlaps every face less than this (section 4.1)
#: For each positive. The paper draws ten; fewer make the threshold of 0.7 kinder to faces that
#: are hard to see, and show more faces in the same time.
NEGATIVES = 3
#: Of the samples of the pose and of the alignment stage are heads turned on by `profiles`.
POSED_PROFILES, ALIGNED_PROFILES = 0.25, 0.12
FACE_PX = 60  # a positive is wider than this in its photograph (section 4.1)


@dataclass
class Sampler:
    """Draws samples from the pictures in memory."""

    faces: Faces
    backgrounds: list[Image]
    scenes: list[Scene] = field(default_factory=list)
    profiles: Faces | None = None  # synthesised

    def __post_init__(self) -> None:
        self._p = self.faces.weight / self.faces.weight.sum()
        self._with_pose = np.flatnonzero(np.isfinite(self.faces.euler).all(1))
        self._wide = np.flatnonzero(self.faces.face_px >= FACE_PX)

    def _sample(self, rng: Generator, i: int, faces: Faces) -> Sample:
        sample = random_crop(rng, faces.images[i], faces.points[i], faces.euler[i])
        return Sample(disturbed(rng, sample.image, self.backgrounds), sample.points, sample.euler)

    def aligned(self, rng: Generator, size: int) -> Batch:
        """Stage 1: image, points, weight (down where the teacher's passes disagree)."""
        turned = self._turned(rng, size, ALIGNED_PROFILES)
        rows = rng.choice(len(self.faces), size - len(turned), p=self._p)
        pairs = [(self.faces, i) for i in rows] + [(self.profiles, i) for i in turned]
        samples = [self._sample(rng, i, faces) for faces, i in pairs]
        doubt = np.array([faces.doubt[i] for faces, i in pairs], np.float32)
        return {
            "image": stack([s.image for s in samples]),
            "points": torch.from_numpy(np.stack([s.points for s in samples])),
            "weight": torch.from_numpy(1 / (1 + (doubt / 0.02) ** 2)),
        }

    def _turned(self, rng: Generator, size: int, share: float) -> NDArray[np.int64]:
        """Rows of the profiles that make up about a share of a batch; none without profiles."""
        made = len(self.profiles) if self.profiles is not None else 0
        return rng.integers(made, size=rng.binomial(size, share)) if made else np.empty(0, int)

    def posed(self, rng: Generator, size: int) -> Batch:
        """Stage 3: image and euler (yaw, pitch, roll in radians)."""
        turned = self._turned(rng, size, POSED_PROFILES)
        p = self._p[self._with_pose] / self._p[self._with_pose].sum()
        rows = rng.choice(self._with_pose, size - len(turned), p=p)
        pairs = [(self.faces, i) for i in rows] + [(self.profiles, i) for i in turned]
        samples = [self._sample(rng, i, faces) for faces, i in pairs]
        return {
            "image": stack([s.image for s in samples]),
            "euler": torch.from_numpy(np.stack([s.euler for s in samples])),
        }

    def judged(self, rng: Generator, size: int, negatives: int = NEGATIVES) -> Batch:
        """Stage 2: image and face (1 or 0), ``negatives`` of them for each positive."""
        images, labels = [], []
        for k in range(size):
            if k % (negatives + 1) == 0:
                images.append(self._sample(rng, int(rng.choice(self._wide)), self.faces).image)
                labels.append(1)
            else:
                images.append(disturbed(rng, self.negative(rng), self.backgrounds))
                labels.append(0)
        return {"image": stack(images), "face": torch.tensor(labels)}

    def negative(self, rng: Generator) -> Image:
        """A crop that overlaps every face with IoU < 0.3: scene, beside a face, faceless."""
        kind = rng.random()
        if kind < 0.45 and self.scenes:
            return scene_negative(rng, self.scenes[rng.integers(len(self.scenes))])
        if kind < 0.8:
            return shifted_negative(rng, self.faces.images[rng.integers(len(self.faces))])
        background = self.backgrounds[rng.integers(len(self.backgrounds))]
        return crop(background, random_square(rng, background))


def stack(images: list[Image]) -> Tensor:
    """(B, 112, 112, 3) uint8 images to a (B, 3, 112, 112) float tensor, channels last."""
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float()


def random_square(rng: Generator, image: Image, smallest: float = 40) -> Box:
    """A square somewhere in the image; small ones are as likely as large ones."""
    h, w = image.shape[:2]
    side = float(np.exp(rng.uniform(np.log(smallest), np.log(min(h, w)))))
    return square(rng.uniform(0, w), rng.uniform(0, h), side)


def scene_negative(rng: Generator, scene: Scene) -> Image:
    """A square of a crowd scene, often next to a face, that overlaps no face much."""
    for _ in range(50):
        if scene.boxes and rng.random() < 0.6:
            box = scene.boxes[rng.integers(len(scene.boxes))]
            side = max(box.width, box.height) * np.exp(rng.normal(0, 0.6))
            cx = (box.x0 + box.x1) / 2 + rng.normal(0, 1.2) * side
            cy = (box.y0 + box.y1) / 2 + rng.normal(0, 1.2) * side
            roi = square(cx, cy, max(side, 24))
        else:
            roi = random_square(rng, scene.image)
        if is_negative(roi, scene.boxes):
            return crop(scene.image, roi)
    return np.zeros((CROP_SIZE, CROP_SIZE, 3), np.uint8)


def is_negative(roi: Box, faces: tuple[Box, ...]) -> bool:
    """Whether the ROI overlaps every face, as an ROI would frame it, with IoU < 0.3."""
    return all(
        roi.iou(face) < NEGATIVE_IOU and roi.iou(framed(face)) < NEGATIVE_IOU for face in faces
    )


def framed(face: Box) -> Box:
    """About the ROI that a detected box leads to."""
    side = max(face.width, face.height) * 1.3
    return square((face.x0 + face.x1) / 2, (face.y0 + face.y1) / 2, side)


def shifted_negative(rng: Generator, image: Image) -> Image:
    """A stored crop seen through an ROI that is moved away or far too small or large."""
    face = square(STORED / 2, STORED / 2, STORED / 2 * 1.5)
    if rng.random() < 0.3:  # the photograph shrunk: a face too small for the ROI
        small = cv2.resize(image, (STORED // 3, STORED // 3), interpolation=cv2.INTER_AREA)
        canvas = np.zeros((STORED, STORED, 3), np.uint8)
        canvas[:] = rng.integers(0, 256, 3)
        x, y = rng.integers(0, STORED - STORED // 3, 2)
        canvas[y : y + STORED // 3, x : x + STORED // 3] = small
        return crop(canvas, square(STORED / 2, STORED / 2, STORED))
    while True:
        side = face.width * np.exp(rng.uniform(np.log(0.3), np.log(1.3)))
        cx, cy = STORED / 2 + rng.uniform(-0.9, 0.9, 2) * STORED / 2
        roi = square(cx, cy, side)
        if roi.iou(face) < NEGATIVE_IOU:
            return crop(image, roi)


class Numbered(Dataset[Batch]):
    """Batch ``k`` drawn with a generator of its own."""

    def __init__(self, draw: Callable[[Generator], Batch], seed: int, first: int, last: int):
        self._draw, self._seed, self._first, self._count = draw, seed, first, last - first

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, k: int) -> Batch:
        if not 0 <= k < self._count:
            raise IndexError(k)
        return self._draw(np.random.default_rng([self._seed, self._first + k]))


def quiet_worker(_: int) -> None:
    """A worker process uses one thread; the training keeps the others."""
    cv2.setNumThreads(0)
    torch.set_num_threads(1)


def batches(
    draw: Callable[[Generator], Batch], seed: int, first: int, last: int, workers: int
) -> DataLoader[Batch]:
    """Batches ``first`` .. ``last - 1``, made ahead in worker processes."""
    return DataLoader(
        Numbered(draw, seed, first, last),
        batch_size=None,
        num_workers=workers,
        prefetch_factor=4 if workers else None,
        worker_init_fn=quiet_worker,
    )
