"""The training data: labelled 192x192 face crops, all held in memory."""

import csv
import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from atpn.geometry import euler_from_rotation
from atpn_training.data.images import STORED, Array, Images, read_rgb
from atpn_training.data.labels import TEACHER_ASIDE, calibrated, targets

#: How often a crop of each source is drawn, relative to the others. The WFLW photographs are
#: closest to the test; utkface is cut tight and large; youtube repeats its people; under masks
#: the teacher guesses.
SOURCE_WEIGHT = {
    "wflw30": 3.0,
    "wflw_train": 6.0,
    "lfpw": 2.0,
    "infanface": 3.0,
    "utkface": 0.5,
    "congress": 0.5,
    "youtube": 0.7,
    "facemask": 0.7,
    "facemask_b": 0.7,
}


@dataclass(frozen=True)
class Faces:
    """Labelled crops of one split; all arrays have length N and coordinates are crop pixels."""

    images: Images  # (N, 192, 192, 3) RGB
    points: Array  # (N, 98, 2) target landmarks
    teacher: Array  # (N, 98, 2) the teacher's landmarks; see `load_faces`
    hand68: Array  # (N, 68, 2), NaN where absent
    mesh: Array  # (N, 3) yaw, pitch, roll in radians by the face mesh, NaN where absent
    euler: Array  # (N, 3) target yaw, pitch, roll: the mesh's, calibrated
    looked: Array  # (N, 2) azimuth, elevation that Pointing'04's people were told; else NaN
    spread: Array  # (N,) disagreement of the teacher's passes / rectangle side
    face_px: Array  # (N,) side of the landmark rectangle in the original photograph
    weight: Array  # (N,) sampling weight
    source: NDArray[np.str_]  # (N,)
    person: NDArray[np.str_]  # (N,) of Pointing'04, else empty

    def __len__(self) -> int:
        return len(self.images)

    def where(self, keep: NDArray[np.bool_]) -> "Faces":
        """The rows of the mask."""
        return Faces(**{name: value[keep] for name, value in vars(self).items()})

    def with_share(self, others: "Faces", share: float) -> "Faces":
        """These and the others, which are drawn for ``share`` of the samples."""
        weight = others.weight / others.weight.sum() * self.weight.sum() * share / (1 - share)
        both = {
            name: np.concatenate([value, getattr(others, name)])
            for name, value in vars(self).items()
        }
        return Faces(**{**both, "weight": np.concatenate([self.weight, weight])})


def _number(text: str) -> float:
    return float(text) if text else float("nan")


def _listed(root: Path, split: str, open_only: bool) -> dict[int, dict[str, str]]:
    """The rows of ``faces.csv`` that make up a split, by number.

    A picture that is also among those for validation is not trained on.
    """
    with (root / "faces.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    held_back = {_content(root, row) for row in rows if row["split"] == "val"}
    return {
        i: row
        for i, row in enumerate(rows)
        if row["split"] == split
        and (row["open"] == "True" or not open_only)
        and (split == "val" or _content(root, row) not in held_back)
    }


def _content(root: Path, row: dict[str, str]) -> bytes:
    return hashlib.sha256((root / row["file"]).read_bytes()).digest()


def load_meshes(root: Path, split: str, open_only: bool = False) -> Array:
    """Face meshes (N, 478, 2) in the order of `load_faces`, in pixels; NaN where absent.

    ``mesh.npz`` may be absent altogether.
    """
    rows = _listed(root, split, open_only)
    meshes = np.full((len(rows), 478, 2), np.nan, np.float32)
    if (root / "mesh.npz").exists():
        place = {number: k for k, number in enumerate(rows)}
        with np.load(root / "mesh.npz") as stored:
            pairs = [(k, place[int(n)]) for k, n in enumerate(stored["row"]) if int(n) in place]
            if pairs:
                known, into = np.array(pairs).T
                meshes[into] = stored["points"][known]
    return meshes


def load_faces(root: Path, split: str, open_only: bool = False) -> Faces:
    """Read ``faces.csv``, ``labels.npz`` and the crops of one split (``train`` or ``val``).

    The teacher's points are moved to where the faces' are (`labels.TEACHER_ASIDE`) for training;
    those that networks are judged by stay as they are, so that figures can be compared.
    """
    rows = _listed(root, split, open_only)
    chosen, picked = list(rows), list(rows.values())
    with np.load(root / "labels.npz") as labels:
        teacher, hand98, hand68 = (labels[k][chosen] for k in ("teacher98", "hand98", "hand68"))
        rotation = labels["rotation"][chosen]
    if split == "train":
        teacher = teacher + np.array([TEACHER_ASIDE, 0], np.float32)
    images = np.empty((len(picked), STORED, STORED, 3), np.uint8)
    for i, row in enumerate(tqdm(picked, desc=f"reading {split} faces", unit="face")):
        images[i] = read_rgb(root / row["file"])
    source = np.array([row["source"] for row in picked])
    mesh = np.full((len(picked), 3), np.nan, np.float32)
    for known in np.flatnonzero(np.isfinite(rotation).all((1, 2))):
        mesh[known] = euler_from_rotation(rotation[known].astype(np.float64))
    looked = np.radians([[_number(row["pan"]), _number(row["tilt"])] for row in picked])
    looked = looked.astype(np.float32)
    points, usable = targets(teacher, hand68, hand98, source)
    weight = np.array([SOURCE_WEIGHT.get(s, 1.0) for s in source], np.float32)
    return Faces(
        images=images,
        points=points,
        teacher=teacher,
        hand68=hand68,
        mesh=mesh,
        euler=calibrated(mesh, looked),
        looked=looked,
        spread=np.array([float(row["spread"]) for row in picked], np.float32),
        face_px=np.array([float(row["face_px"]) for row in picked], np.float32),
        weight=weight * usable,
        source=source,
        person=np.array([row["person"] for row in picked]),
    )
