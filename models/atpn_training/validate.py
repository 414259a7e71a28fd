"""Error on the validation split while training; the shipped figures come from `evaluate`."""

from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch

from atpn.geometry import Box, crop, image_to_crop, roi_from_landmarks
from atpn_training.batches import Sampler, stack
from atpn_training.data import Array, Faces, Images, Scene, load_faces
from atpn_training.measures import average_precision, errors_98, errors_inner
from atpn_training.net import ATPN


@dataclass(frozen=True)
class Report:
    """Figures of one validation; NaN where the stage does not touch them."""

    nme_teacher: float = float("nan")  # % of the inter-ocular distance, 98 points
    nme_lfpw: float = float("nan")  # % against hand labels, mapped points 17-67
    pose_mae: float = float("nan")  # degrees
    ap: float = float("nan")  # of face against background

    def row(self) -> dict[str, str]:
        """The figures as text, by name."""
        return {k: f"{v:.4f}" for k, v in asdict(self).items()}

    def __str__(self) -> str:
        return ", ".join(f"{k} {v:.3f}" for k, v in asdict(self).items() if not np.isnan(v))


@dataclass(frozen=True)
class Validation:
    """Fixed crops: every validation face in a perfect ROI, and fixed negatives."""

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
        sampler = Sampler(faces, backgrounds, scenes)
        rng = np.random.default_rng(0)
        negatives = np.stack([sampler.negative(rng) for _ in range(count)])
        return cls(faces, rois, crops, negatives)

    def alignment(self, net: ATPN) -> Report:
        """NME against the teacher and against LFPW's hand labels."""
        found = run(net, self.crops)[0]
        teacher = np.stack(
            [image_to_crop(p, r) for p, r in zip(self.faces.teacher, self.rois, strict=True)]
        )
        hand = np.stack(
            [image_to_crop(p, r) for p, r in zip(self.faces.hand68, self.rois, strict=True)]
        )
        lfpw = self.faces.source == "lfpw"
        return Report(
            nme_teacher=100 * float(errors_98(found, teacher).interocular.mean()),
            nme_lfpw=100 * float(errors_inner(found[lfpw], hand[lfpw]).interocular.mean()),
        )

    def pose(self, net: ATPN) -> Report:
        """Mean absolute error of the three angles against the mesh rotations."""
        known = np.isfinite(self.faces.mesh).all(1)
        found = run(net, self.crops[known])[1]
        error = np.abs(found - self.faces.mesh[known])
        return Report(pose_mae=float(np.degrees(error).mean()))

    def tracking(self, net: ATPN) -> Report:
        """Average precision of faces (wider than 60 px) against negatives."""
        positive = self.crops[self.faces.face_px >= 60]
        scores = run(net, np.concatenate([positive, self.negatives]))[2].astype(np.float64)
        return Report(ap=average_precision(scores, np.arange(len(scores)) < len(positive)))


def run(net: ATPN, crops: Images, size: int = 128) -> list[Array]:
    """Landmarks, euler angles and confidence of (N, 112, 112, 3) crops."""
    parts = []
    with torch.no_grad():
        for i in range(0, len(crops), size):
            images = stack(list(crops[i : i + size])).to(memory_format=torch.channels_last)
            parts.append([t.numpy() for t in net(images)])
    return [np.concatenate(column) for column in zip(*parts, strict=True)]
