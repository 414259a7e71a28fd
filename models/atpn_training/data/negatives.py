"""Crops that show no face as a region of interest would frame it (section 4.1)."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.random import Generator

from atpn.geometry import CROP_SIZE, Box, crop, square
from atpn_training.data.images import FRAMED, STORED, Images
from atpn_training.data.scenes import Scene

NEGATIVE_IOU = 0.3  # a negative overlaps every face less than this (section 4.1)
FACE_PX = 60  # a positive is wider than this in its photograph (section 4.1)


@dataclass(frozen=True)
class Negatives:
    """Draws them from scenes, from beside the faces of crops, and from faceless photographs."""

    crops: Images  # (N, 192, 192, 3), each around a face
    backgrounds: list[Images]
    scenes: list[Scene]

    def draw(self, rng: Generator) -> Images:
        """A crop that overlaps every face with IoU < 0.3: scene, beside a face, faceless."""
        kind = rng.random()
        if kind < 0.45 and self.scenes:
            return scene_negative(rng, self.scenes[rng.integers(len(self.scenes))])
        if kind < 0.8:
            return shifted_negative(rng, self.crops[rng.integers(len(self.crops))])
        background = self.backgrounds[rng.integers(len(self.backgrounds))]
        return crop(background, random_square(rng, background))


def random_square(rng: Generator, image: Images, smallest: float = 40) -> Box:
    """A square somewhere in the image; small ones are as likely as large ones."""
    h, w = image.shape[:2]
    side = float(np.exp(rng.uniform(np.log(smallest), np.log(min(h, w)))))
    return square(rng.uniform(0, w), rng.uniform(0, h), side)


def scene_negative(rng: Generator, scene: Scene) -> Images:
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


def shifted_negative(rng: Generator, image: Images) -> Images:
    """A stored crop seen through an ROI that is moved away or far too small or large."""
    face = square(STORED / 2, STORED / 2, STORED / 2 * FRAMED)
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
