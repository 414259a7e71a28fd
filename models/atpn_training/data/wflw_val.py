"""WFLW test faces with their official points: to judge networks by, never to train on."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from atpn.landmarks import LEFT_EYE_OUTER, RIGHT_EYE_OUTER
from atpn_training.data.images import Array, Images, read_rgb

NOSE_TIP = 54
ASIDE = 0.25  # of the eyes' distance: the nose tip is off their middle, as at about 25 degrees
ATTRIBUTES = ("pose", "expression", "illumination", "makeup", "occlusion", "blur")


@dataclass(frozen=True)
class Labelled:
    """WFLW test faces with their hand-made points: never trained on."""

    images: list[Images]
    points: Array  # (N, 98, 2) pixels
    attributes: NDArray[np.bool_]  # (N, 6)

    @classmethod
    def load(cls, folder: Path) -> "Labelled":
        """``labels.jsonl`` and its pictures; none where the folder is absent."""
        path = folder / "labels.jsonl"
        lines = path.read_text().splitlines() if path.exists() else []
        listed = [json.loads(line) for line in lines]
        return cls(
            [read_rgb(folder / face["file"]) for face in listed],
            np.array([face["pts"] for face in listed], np.float32).reshape(-1, 98, 2),
            np.array([[bool(face["attr"][a]) for a in ATTRIBUTES] for face in listed], bool),
        )

    def groups(self) -> dict[str, NDArray[np.bool_]]:
        """Masks (N,): all, those that look aside by their own points, each attribute."""
        aside = looks_aside(self.points)
        masks = {"all": np.ones(len(aside), bool), "nose aside": aside, "nose ahead": ~aside}
        masks |= {name: self.attributes[:, k] for k, name in enumerate(ATTRIBUTES)}
        return {name: mask for name, mask in masks.items() if mask.any()}


def looks_aside(points: Array) -> NDArray[np.bool_]:
    """Whether the nose tip of (N, 98, 2) is far from the middle of the eyes, along their line."""
    left, right = points[:, LEFT_EYE_OUTER], points[:, RIGHT_EYE_OUTER]
    line = right - left
    along = ((points[:, NOSE_TIP] - left) * line).sum(1) / (line**2).sum(1)
    return np.asarray(np.abs(along - 0.5) > ASIDE)
