"""The served network on whole sets of images, and the regions of interest that it is shown."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np
from tqdm import tqdm

from atpn.engine.inference import FaceNetwork, Predictions, find_model
from atpn.faces.detection import Detector
from atpn.faces.face import Face, faces_of
from atpn.faces.looking import Detect, drive
from atpn.faces.second_look import look_twice
from atpn.geometry import (
    Box,
    crop,
    crop_to_image,
    roi_from_detection,
    square,
    upright_roi,
)
from atpn_training.artefacts.files import ARTIFACTS
from atpn_training.data.images import Array, Images

JITTER = (0.04, 0.08)  # ROI noise: centre in sides, logarithm of the side


class Runs(Protocol):
    """What answers crops: a served network, or one before its export."""

    def run(self, crops: Images) -> Predictions:
        """(N, 112, 112, 3) uint8 RGB crops to predictions."""


@dataclass(frozen=True)
class Model:
    """A network as an array function, in bounded batches."""

    network: Runs
    batch: int = 64

    @classmethod
    def load(cls, path: Path) -> "Model":
        """The model of a version folder, whose checksum must be right, or a file of weights."""
        if path.suffix == ".pt":
            from atpn_training.artefacts.weights import TorchNetwork  # noqa: PLC0415  slow to load

            return cls(TorchNetwork(path))
        folder = path.resolve()
        return cls(FaceNetwork(find_model(folder.parents[1], folder.parent.name, folder.name)))

    def run(self, crops: Images) -> Predictions:
        """Predictions of (N, 112, 112, 3) crops."""
        parts = [
            self.network.run(crops[i : i + self.batch])
            for i in tqdm(range(0, len(crops), self.batch), desc="network", leave=False)
        ]
        return Predictions(
            np.concatenate([p.landmarks for p in parts]),
            np.concatenate([p.pose for p in parts]),
            np.concatenate([p.confidence for p in parts]),
        )

    def landmarks(self, images: Images | list[Images], rois: list[Box]) -> Array:
        """Landmarks (N, 98, 2) in image pixels, one ROI an image."""
        return in_images(self.run(crops_of(images, rois)), rois)

    def as_photographs(self, images: Images | list[Images], rois: list[Box]) -> Array:
        """Landmarks as /align answers them: faces that lie askew are seen again, upright."""
        return np.stack(
            [
                drive(look_twice([roi]), partial(seen, self.network, image), no_search)[0].landmarks
                for image, roi in zip(images, rois, strict=True)
            ]
        )

    def second_look(self, images: Images | list[Images], rois: list[Box]) -> Array:
        """Landmarks as of faces that are tracked: seen again where they were found, upright."""
        found = self.landmarks(images, rois)
        return self.landmarks(images, [upright_roi(points) for points in found])


def seen(network: Runs, image: Images, rois: list[Box]) -> list[Face]:
    """What a network sees in regions of one image, as `atpn.faces.looking.drive` asks it."""
    return faces_of(rois, network.run(crops_of([image] * len(rois), rois)).each())


def no_search(asked: Detect) -> list[Box]:
    """For steps that ask for no search."""
    raise ValueError(f"these steps know their regions, and ask for {asked}")


def crops_of(images: Images | list[Images], rois: list[Box]) -> Images:
    """(N, 112, 112, 3), one ROI an image."""
    return np.stack([crop(i, r) for i, r in zip(images, rois, strict=True)])


def in_images(found: Predictions, rois: list[Box]) -> Array:
    """Landmarks (N, 98, 2) in the pixels of the images that the ROIs are of."""
    return np.stack([crop_to_image(p, r) for p, r in zip(found.landmarks, rois, strict=True)])


def shipped_detector() -> Detector:
    """The detector that the service ships, with the service's settings."""
    return Detector(find_model(ARTIFACTS, "yunet"))


def jittered(rois: list[Box], seed: int = 0) -> list[Box]:
    """ROIs moved and scaled at random, as by the error of the last frame's landmarks."""
    rng = np.random.default_rng(seed)
    move, grow = JITTER
    return [
        square(
            (r.x0 + r.x1) / 2 + rng.normal(0, move) * r.width,
            (r.y0 + r.y1) / 2 + rng.normal(0, move) * r.width,
            r.width * np.exp(rng.normal(0, grow)),
        )
        for r in rois
    ]


def detected(detector: Detector, image: Images, roi: Box, zoom: float = 1) -> Box | None:
    """The ROI from the detector's best box on the known face; None where it finds none.

    ``zoom`` enlarges the image first: tight crops of faces are larger than it expects.
    """
    large = image if zoom == 1 else cv2.resize(image, None, fx=zoom, fy=zoom).astype(np.uint8)
    boxes = [roi_from_detection(d.box) for d in detector.detect(large)]
    scaled = [Box(b.x0 / zoom, b.y0 / zoom, b.x1 / zoom, b.y1 / zoom) for b in boxes]
    return next((b for b in scaled if b.iou(roi) > 0.3), None)
