"""The training data: labelled 192x192 face crops, backgrounds and scenes, all held in memory."""

import csv
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from atpn.geometry import Box, euler_from_rotation
from atpn.landmarks import EXACT_68

Array = NDArray[np.float32]
Images = NDArray[np.uint8]
T = TypeVar("T")

STORED = 192  # side of the stored crops in pixels
#: How often a crop of each source is drawn, relative to the others. The WFLW photographs are
#: closest to the test; utkface is cut tight and large; pointing04 is one room.
SOURCE_WEIGHT = {"wflw30": 3.0, "wflw_train": 3.0, "lfpw": 1.5, "infanface": 1.5, "utkface": 0.5}
#: Whose 68-point labels are hand-made, and so replace the teacher's points.
HAND_68 = ("lfpw", "infanface")


@dataclass(frozen=True)
class Faces:
    """Labelled crops of one split; all arrays have length N and coordinates are crop pixels."""

    images: Images  # (N, 192, 192, 3) RGB
    points: Array  # (N, 98, 2) target landmarks
    teacher: Array  # (N, 98, 2) the teacher's landmarks
    hand68: Array  # (N, 68, 2), NaN where absent
    euler: Array  # (N, 3) yaw, pitch, roll in radians, NaN where absent
    spread: Array  # (N,) disagreement of the teacher's passes / rectangle side
    face_px: Array  # (N,) side of the landmark rectangle in the original photograph
    weight: Array  # (N,) sampling weight
    source: NDArray[np.str_]  # (N,)

    def __len__(self) -> int:
        return len(self.images)

    def where(self, keep: NDArray[np.bool_]) -> "Faces":
        """The rows of the mask."""
        return Faces(**{name: value[keep] for name, value in vars(self).items()})


def read_rgb(path: Path) -> Images:
    """Decode one image file to (H, W, 3) RGB; ValueError if it is not an image."""
    image = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if image is None:
        raise ValueError(f"{path} is not an image")
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB).astype(np.uint8, copy=False)


def _targets(teacher: Array, hand68: Array, hand98: Array, source: NDArray[np.str_]) -> Array:
    """Hand labels where there are any, the teacher's points elsewhere."""
    points = teacher.copy()
    by_hand = np.isfinite(hand98).all((1, 2))
    points[by_hand] = hand98[by_hand]
    mapped = np.isin(source, HAND_68) & np.isfinite(hand68).all((1, 2)) & ~by_hand
    for i68, i98 in EXACT_68:
        if i68 < 17:  # the contour is placed by other rules
            continue
        share = 0.5 if i68 < 27 else 1.0  # so are the brows, in part
        points[mapped, i98] += share * (hand68[mapped, i68] - points[mapped, i98])
    return points


def load_faces(root: Path, split: str, open_only: bool = False) -> Faces:
    """Read ``faces.csv``, ``labels.npz`` and the crops of one split (``train`` or ``val``)."""
    with (root / "faces.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    chosen = [
        i
        for i, row in enumerate(rows)
        if row["split"] == split and (row["open"] == "True" or not open_only)
    ]
    with np.load(root / "labels.npz") as labels:
        teacher, hand98, hand68 = (labels[k][chosen] for k in ("teacher98", "hand98", "hand68"))
        rotation = labels["rotation"][chosen]
    picked = [rows[i] for i in chosen]
    images = np.empty((len(picked), STORED, STORED, 3), np.uint8)
    for i, row in enumerate(tqdm(picked, desc=f"reading {split} faces", unit="face")):
        images[i] = read_rgb(root / row["file"])
    source = np.array([row["source"] for row in picked])
    euler = np.full((len(picked), 3), np.nan, np.float32)
    for known in np.flatnonzero(np.isfinite(rotation).all((1, 2))):
        euler[known] = euler_from_rotation(rotation[known].astype(np.float64))
    return Faces(
        images=images,
        points=_targets(teacher, hand68, hand98, source),
        teacher=teacher,
        hand68=hand68,
        euler=euler,
        spread=np.array([float(row["spread"]) for row in picked], np.float32),
        face_px=np.array([float(row["face_px"]) for row in picked], np.float32),
        weight=np.array([SOURCE_WEIGHT.get(s, 1.0) for s in source], np.float32),
        source=source,
    )


@dataclass(frozen=True)
class Scene:
    """A photograph with every face box that a detector found (score at least 0.4)."""

    image: Images  # (H, W, 3) RGB
    boxes: tuple[Box, ...]


def load_scenes(root: Path) -> list[Scene]:
    """Crowd and street scenes: where negatives near real faces come from."""
    listed = json.loads((root / "scenes.json").read_text())
    return [
        Scene(read_rgb(root / name), tuple(Box(*box[:4]) for box in boxes))
        for name, boxes in tqdm(sorted(listed.items()), desc="reading scenes", unit="image")
    ]


def load_backgrounds(root: Path) -> list[Images]:
    """Photographs without a face."""
    paths = sorted((root / "background").glob("*.jpg"))
    return [read_rgb(p) for p in tqdm(paths, desc="reading backgrounds", unit="image")]


def split_list(items: list[T], split: str, every: int = 10) -> list[T]:
    """Every tenth item is validation, the others are training."""
    return [x for i, x in enumerate(items) if (i % every == 0) == (split == "val")]
