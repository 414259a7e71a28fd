"""Endless, reproducible training batches: batch k of a seed is always the same.

A run that resumes at step k therefore goes on exactly where it stopped.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import cv2
import numpy as np
import torch
from numpy.random import Generator
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from atpn_training.data.augment import Image, Sample, disturbed, filled, random_crop, within_frame
from atpn_training.data.faces import Faces
from atpn_training.data.images import Array
from atpn_training.data.labels import HAND_68, HAND_98, MASKED
from atpn_training.data.negatives import FACE_PX, Negatives
from atpn_training.data.scenes import Scene
from atpn_training.data.views import VIEWS

Batch = dict[str, Tensor]
#: For each positive. The paper draws ten; fewer make the threshold of 0.7 kinder to faces that
#: are hard to see, and show more faces in the same time.
NEGATIVES = 3
#: How much more often the pose stage draws Pointing'04, which has the only real profiles.
REAL_PROFILES = 3.0
#: How much less often it draws masked faces, of which the mesh is a guess.
MASKED_POSE = 0.5
FRAMED_NEGATIVES = 0.25  # end within their crop, as the photographs of many faces do
#: The alignment stage draws a face 1 + (yaw / this)^2 times as often, MOST_ASIDE at most: beyond
#: 45 degrees of yaw are 10 % of its crops, and would be 5 %. Not so Pointing'04, which has many.
ASIDE_DEG, MOST_ASIDE = 30.0, 5.0
PROFILE_SHARE = 0.25  # of the pose stage's samples are heads turned on by `profiles`


@dataclass
class Sampler:
    """Draws samples from the pictures in memory."""

    faces: Faces
    backgrounds: list[Image]
    scenes: list[Scene] = field(default_factory=list)
    profiles: Faces | None = None  # synthesised, for the pose stage alone

    def __post_init__(self) -> None:
        aligned = self.faces.weight * turned_aside(self.faces)
        self._p = aligned / aligned.sum()
        self._trust = trust(self.faces)
        self._negatives = Negatives(self.faces.images, self.backgrounds, self.scenes)
        real = np.where(self.faces.source == "pointing04", REAL_PROFILES, 1)
        guessed = np.where(np.isin(self.faces.source, MASKED), MASKED_POSE, 1)
        posed = self.faces.weight * np.isfinite(self.faces.euler).all(1) * real * guessed
        self._p_posed = posed / max(posed.sum(), 1e-9)
        wide = self.faces.weight * (self.faces.face_px >= FACE_PX)
        self._p_wide = wide / max(wide.sum(), 1e-9)

    def _sample(self, rng: Generator, faces: Faces, i: int) -> Sample:
        image = filled(rng, faces.images[i], self.backgrounds[rng.integers(len(self.backgrounds))])
        sample = random_crop(rng, image, faces.points[i], faces.euler[i])
        return Sample(disturbed(rng, sample.image, self.backgrounds), sample.points, sample.euler)

    def aligned(self, rng: Generator, size: int) -> Batch:
        """Stage 1: image, points, weight (`trust`)."""
        rows = rng.choice(len(self.faces), size, p=self._p)
        samples = [self._sample(rng, self.faces, i) for i in rows]
        return {
            "image": stack([s.image for s in samples]),
            "points": torch.from_numpy(np.stack([s.points for s in samples])),
            "weight": torch.from_numpy(self._trust[rows]),
        }

    def posed(self, rng: Generator, size: int) -> Batch:
        """Stage 3: image and euler (yaw, pitch, roll in radians)."""
        made = self.profiles
        turned = int(rng.binomial(size, PROFILE_SHARE)) if made is not None and len(made) else 0
        rows = rng.choice(len(self.faces), size - turned, p=self._p_posed)
        samples = [self._sample(rng, self.faces, i) for i in rows]
        if made is not None and turned:
            samples += [self._sample(rng, made, i) for i in rng.integers(len(made), size=turned)]
        return {
            "image": stack([s.image for s in samples]),
            "euler": torch.from_numpy(np.stack([s.euler for s in samples])),
        }

    def judged(self, rng: Generator, size: int, negatives: int = NEGATIVES) -> Batch:
        """Stage 2: image and face (1 or 0), ``negatives`` of them for each positive."""
        images, labels = [], []
        for k in range(size):
            if k % (negatives + 1) == 0:
                face = int(rng.choice(len(self.faces), p=self._p_wide))
                images.append(self._sample(rng, self.faces, face).image)
                labels.append(1)
            else:
                negative = self._negatives.draw(rng)
                if rng.random() < FRAMED_NEGATIVES:
                    negative = within_frame(rng, negative)
                images.append(disturbed(rng, negative, self.backgrounds))
                labels.append(0)
        return {"image": stack(images), "face": torch.tensor(labels)}


def turned_aside(faces: Faces) -> Array:
    """How much more often the alignment stage draws each face (N,) for how far it looks aside."""
    more = np.minimum(1 + (np.degrees(faces.euler[:, 0]) / ASIDE_DEG) ** 2, MOST_ASIDE)
    enough = np.isin(faces.source, ("pointing04", VIEWS))
    return np.where(np.isfinite(more) & ~enough, more, 1).astype(np.float32)


def trust(faces: Faces) -> Array:
    """How much each face's points (N,) count: less where the teacher's passes disagree.

    Points that are made by hand count in full.
    """
    agreed = 1 / (1 + (faces.spread / 0.02) ** 2)
    return np.where(np.isin(faces.source, HAND_68 + HAND_98), np.float32(1), agreed)


def stack(images: list[Image]) -> Tensor:
    """(B, 112, 112, 3) uint8 images to a (B, 3, 112, 112) float tensor, channels last."""
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float()


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
