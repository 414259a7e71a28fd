"""The validation split as fixed crops: the same for every network, in training and after it."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from atpn.geometry import Box, crop, roi_from_landmarks
from atpn_training.data.faces import Faces, load_faces
from atpn_training.data.images import Images
from atpn_training.data.negatives import Negatives
from atpn_training.data.scenes import Scene


@dataclass(frozen=True)
class Validation:
    """Every validation face in a perfect ROI, and fixed negatives."""

    faces: Faces
    rois: list[Box]
    crops: Images  # (N, 112, 112, 3)
    negatives: Images  # (M, 112, 112, 3)

    @classmethod
    def load(
        cls, root: Path, backgrounds: list[Images], scenes: list[Scene], count: int = 2000
    ) -> "Validation":
        """The validation split without pointing04, and ``count`` negatives."""
        faces = load_faces(root, "val")
        faces = faces.where(faces.source != "pointing04")
        rois = [roi_from_landmarks(points) for points in faces.teacher]
        crops = np.stack([crop(i, r) for i, r in zip(faces.images, rois, strict=True)])
        negatives, rng = Negatives(faces.images, backgrounds, scenes), np.random.default_rng(0)
        return cls(faces, rois, crops, np.stack([negatives.draw(rng) for _ in range(count)]))
