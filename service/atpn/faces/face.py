"""A face in image pixels: what the network's answer about a region of interest means."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from atpn.engine.inference import Prediction
from atpn.geometry import (
    Array,
    Box,
    crop_to_image,
    landmark_box,
    mirrored_pose,
    rotation_from_euler,
    turned_pose,
    upright_roi,
)
from atpn.landmarks import MIRROR


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


def faces_of(rois: list[Box], predictions: list[Prediction]) -> list[Face]:
    """One face per ROI: from units of the crop's side to image pixels."""
    return [_face_of(roi, seen) for roi, seen in zip(rois, predictions, strict=True)]


def _face_of(roi: Box, seen: Prediction) -> Face:
    landmarks, pose = seen.landmarks, seen.pose
    if roi.mirrored:
        landmarks, pose = landmarks[MIRROR], mirrored_pose(pose)
    return Face(roi, crop_to_image(landmarks, roi), seen.confidence, turned_pose(pose, roi.angle))
