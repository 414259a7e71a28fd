"""Error on the validation split while training; the shipped figures come from `evaluate`."""

from dataclasses import asdict, dataclass

import numpy as np
import torch

from atpn.geometry import image_to_crop
from atpn_training.data.batches import stack
from atpn_training.data.held_back import Validation
from atpn_training.data.images import Array, Images
from atpn_training.data.negatives import FACE_PX
from atpn_training.network.atpn import ATPN
from atpn_training.score.measures import average_precision, errors_98, errors_inner


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


def alignment(net: ATPN, validation: Validation) -> Report:
    """NME against the teacher and against LFPW's hand labels."""
    faces, rois = validation.faces, validation.rois
    found = run(net, validation.crops)[0]
    teacher, hand = (
        np.stack([image_to_crop(p, r) for p, r in zip(labels, rois, strict=True)])
        for labels in (faces.teacher, faces.hand68)
    )
    lfpw = faces.source == "lfpw"
    return Report(
        nme_teacher=100 * float(errors_98(found, teacher).interocular.mean()),
        nme_lfpw=100 * float(errors_inner(found[lfpw], hand[lfpw]).interocular.mean()),
    )


def tracking(net: ATPN, validation: Validation) -> Report:
    """Average precision of faces that are wide enough against negatives."""
    positive = validation.crops[validation.faces.face_px >= FACE_PX]
    scores = run(net, np.concatenate([positive, validation.negatives]))[2].astype(np.float64)
    return Report(ap=average_precision(scores, np.arange(len(scores)) < len(positive)))


def pose(net: ATPN, validation: Validation) -> Report:
    """Mean absolute error of the three angles against the mesh rotations."""
    known = np.isfinite(validation.faces.mesh).all(1)
    found = run(net, validation.crops[known])[1]
    error = np.abs(found - validation.faces.mesh[known])
    return Report(pose_mae=float(np.degrees(error).mean()))


def run(net: ATPN, crops: Images, size: int = 128) -> list[Array]:
    """Landmarks, euler angles and confidence of (N, 112, 112, 3) crops."""
    parts = []
    with torch.no_grad():
        for i in range(0, len(crops), size):
            images = stack(list(crops[i : i + size])).to(memory_format=torch.channels_last)
            parts.append([t.numpy() for t in net(images)])
    return [np.concatenate(column) for column in zip(*parts, strict=True)]
