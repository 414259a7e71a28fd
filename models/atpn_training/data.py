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
}
#: A label is doubtful where the teacher's passes differ by more than this share of the face's side.
DOUBTFUL = 0.03
#: Whose 68-point labels are hand-made, and so replace the teacher's points.
HAND_68 = ("lfpw", "infanface")
#: Whose 98 points are WFLW's own.
HAND_98 = ("wflw30",)


@dataclass(frozen=True)
class Faces:
    """Labelled crops of one split; all arrays have length N and coordinates are crop pixels."""

    images: Images  # (N, 192, 192, 3) RGB
    points: Array  # (N, 98, 2) target landmarks
    teacher: Array  # (N, 98, 2) the teacher's landmarks
    hand68: Array  # (N, 68, 2), NaN where absent
    mesh: Array  # (N, 3) yaw, pitch, roll in radians by the face mesh, NaN where absent
    euler: Array  # (N, 3) target yaw, pitch, roll: the mesh's, calibrated
    looked: Array  # (N, 2) where Pointing'04's people were told to look: yaw, pitch; else NaN
    spread: Array  # (N,) disagreement of the teacher's passes / rectangle side
    doubt: Array  # (N,) of the target landmarks / rectangle side: the spread, or see `agreed`
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


@dataclass(frozen=True)
class _Upright:
    """A frame for each face in which it stands upright: origin between the eyes, and the line
    from there to the middle of the mouth is the imaginary unit. Also sound in profile.
    """

    origin: NDArray[np.complex64]  # (N, 1)
    unit: NDArray[np.complex64]  # (N, 1)

    @classmethod
    def of(cls, hand68: Array) -> "_Upright":
        """The frames of (N, 68, 2) points."""
        flat = _complex(hand68)
        eyes, mouth = flat[:, 36:48].mean(1, keepdims=True), flat[:, 48:].mean(1, keepdims=True)
        return cls(eyes, (mouth - eyes) / 1j)

    def into(self, points: Array) -> Array:
        """Image coordinates to the frame's."""
        return _real((_complex(points) - self.origin) / self.unit)

    def back(self, points: Array) -> Array:
        """The frame's coordinates to the image's."""
        return _real(_complex(points) * self.unit + self.origin)


def _complex(points: Array) -> NDArray[np.complex64]:
    return np.asarray(points[..., 0] + 1j * points[..., 1], np.complex64)


def _real(points: NDArray[np.complex64]) -> Array:
    return np.stack([points.real, points.imag], -1)


#: The teacher and hand labels are that far apart (in distances from eyes to mouth) where one of
#: them has not found the face: beyond the first the teacher, beyond the second the hand, too.
TEACHER_LOST, BOTH_LOST = 0.12, 0.75


def _hand_targets(teacher: Array, hand68: Array) -> tuple[Array, NDArray[np.bool_]]:
    """98 targets (N, 98, 2) of faces with hand-made 68 points, and which can be used (N,).

    300W's and WFLW's schemes place several points differently although they map by name: on
    the lips by 5 to 8 % of the inter-ocular distance. So the hand's points are first moved by
    the median of their difference from the teacher, in the face's upright frame. Where the
    teacher has missed the face (rolled infants), all 98 points are regressed from the 68.
    """
    frame = _Upright.of(hand68)
    ours, theirs = frame.into(teacher), frame.into(hand68)
    inner = [(i68, i98) for i68, i98 in EXACT_68 if i68 >= 17]  # contour: other rules
    from68, to98 = (list(column) for column in zip(*inner, strict=True))
    share = np.array([0.5 if i < 27 else 1.0 for i in from68], np.float32)  # brows: in part
    off = theirs[:, from68] - ours[:, to98]
    off = off - np.median(off, axis=0)
    distance = np.linalg.norm(off, axis=-1).mean(1)
    targets = ours.copy()
    targets[:, to98] += share[:, None] * off

    seen, missed = distance <= TEACHER_LOST, distance > TEACHER_LOST
    flat = theirs.reshape(len(theirs), -1)
    mean68, mean98 = flat[seen].mean(0), ours[seen].mean(0).ravel()
    x = (flat[seen] - mean68).astype(np.float64)
    y = (ours[seen].reshape(len(x), -1) - mean98).astype(np.float64)
    ridge = 0.01 * len(x) * np.var(x) * np.eye(x.shape[1])
    slope = np.linalg.solve(x.T @ x + ridge, x.T @ y)
    targets[missed] = ((flat[missed] - mean68) @ slope + mean98).reshape(-1, 98, 2)
    return frame.back(targets), distance <= BOTH_LOST


#: No passes are nearer to the truth than this share of the face's side, however much they agree.
FLOOR = 0.008


def agreed(teacher: Array, spread: Array, network: Array, apart: Array) -> tuple[Array, Array]:
    """The mean of the teacher's and a network's points, each as far as its own passes agree.

    ``teacher`` and ``network`` (N, 98, 2), ``spread`` and ``apart`` (N,) the disagreement of the
    passes of each / rectangle side. Returns points (N, 98, 2) and their doubt (N,), likewise.
    """
    theirs, ours = FLOOR**2 + spread**2, FLOOR**2 + apart**2
    share = theirs / (theirs + ours)  # of the network
    points = teacher + share[:, None, None] * (network - teacher)
    distance = np.linalg.norm(teacher - network, axis=-1).mean(1)
    distance /= np.ptp(network, axis=1).max(1)
    within = share * apart**2 + (1 - share) * spread**2
    doubt = np.sqrt(within + share * (1 - share) * distance**2)
    return points.astype(np.float32), doubt.astype(np.float32)


def _targets(
    teacher: Array, hand68: Array, hand98: Array, source: NDArray[np.str_]
) -> tuple[Array, NDArray[np.bool_]]:
    """Hand labels where there are any, the teacher's points elsewhere; and which can be used."""
    points, usable = teacher.copy(), np.ones(len(teacher), bool)
    rows = np.flatnonzero(np.isin(source, HAND_68) & np.isfinite(hand68).all((1, 2)))
    if len(rows):
        points[rows], usable[rows] = _hand_targets(teacher[rows], hand68[rows])
    by_hand = np.isfinite(hand98).all((1, 2))
    points[by_hand] = hand98[by_hand]
    return points, usable


#: The mesh compresses large angles: yaw beyond the first figure (degrees) and all pitch are
#: stretched. Pointing'04 asks for more (1.4 and 2), but its people turn their eyes, too.
YAW_KNEE, YAW_STRETCH, PITCH_STRETCH = 15.0, 1.25, 1.25


def calibrated(mesh: Array, looked: Array) -> Array:
    """Target yaw, pitch, roll (N, 3) from the mesh's and where known where people looked.

    ``looked`` (N, 2) is Pointing'04's pan and tilt in radians, NaN elsewhere: mixed half and
    half with the mesh, and more so near profile, where the mesh stops at about 60 degrees.
    """
    euler = mesh.copy()
    beyond = np.maximum(np.abs(mesh[:, 0]) - np.radians(YAW_KNEE), 0)
    euler[:, 0] += np.sign(mesh[:, 0]) * beyond * (YAW_STRETCH - 1)
    euler[:, 1] *= PITCH_STRETCH
    known = np.isfinite(looked).all(1) & np.isfinite(mesh).all(1)
    pan, tilt = looked[known].T
    share = np.interp(np.degrees(np.abs(pan)), [45, 90], [0.5, 0.9])
    euler[known, 0] += share * (pan - euler[known, 0])
    euler[known, 1] += 0.5 * (tilt - euler[known, 1])
    return euler


def _number(text: str) -> float:
    return float(text) if text else float("nan")


def _listed(root: Path, split: str, open_only: bool) -> dict[int, dict[str, str]]:
    """The rows of ``faces.csv`` that make up a split, by number."""
    with (root / "faces.csv").open(newline="") as file:
        rows = enumerate(csv.DictReader(file))
        return {
            i: row
            for i, row in rows
            if row["split"] == split and (row["open"] == "True" or not open_only)
        }


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


def load_faces(
    root: Path, split: str, open_only: bool = False, consensus: Path | None = None
) -> Faces:
    """Read ``faces.csv``, ``labels.npz`` and the crops of one split (``train`` or ``val``).

    ``consensus``: the file of `atpn_training.consensus`, whose points are mixed into the targets.
    """
    rows = _listed(root, split, open_only)
    chosen, picked = list(rows), list(rows.values())
    with np.load(root / "labels.npz") as labels:
        teacher, hand98, hand68 = (labels[k][chosen] for k in ("teacher98", "hand98", "hand68"))
        rotation = labels["rotation"][chosen]
    images = np.empty((len(picked), STORED, STORED, 3), np.uint8)
    for i, row in enumerate(tqdm(picked, desc=f"reading {split} faces", unit="face")):
        images[i] = read_rgb(root / row["file"])
    source = np.array([row["source"] for row in picked])
    mesh = np.full((len(picked), 3), np.nan, np.float32)
    for known in np.flatnonzero(np.isfinite(rotation).all((1, 2))):
        mesh[known] = euler_from_rotation(rotation[known].astype(np.float64))
    looked = np.radians([[_number(row["pan"]), _number(row["tilt"])] for row in picked])
    looked = looked.astype(np.float32)
    spread = np.array([float(row["spread"]) for row in picked], np.float32)
    known, doubt = teacher, spread
    if consensus is not None:
        with np.load(consensus) as looks:
            known, doubt = agreed(teacher, spread, looks["points"], looks["spread"].mean(1))
    points, usable = _targets(known, hand68, hand98, source)
    doubt = np.where(np.isfinite(hand98).all((1, 2)), 0, doubt).astype(np.float32)
    weight = np.array([SOURCE_WEIGHT.get(s, 1.0) for s in source], np.float32)
    return Faces(
        images=images,
        points=points,
        teacher=teacher,
        hand68=hand68,
        mesh=mesh,
        euler=calibrated(mesh, looked),
        looked=looked,
        spread=spread,
        doubt=doubt,
        face_px=np.array([float(row["face_px"]) for row in picked], np.float32),
        weight=weight * usable,
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


def scrambled(images: Images, count: int, seed: int = 0, tiles: int = 4) -> list[Images]:
    """``count`` of the images in shuffled and turned tiles, which show no face any more.

    They stand in for faceless photographs where only certain images may be trained on.
    """
    rng = np.random.default_rng(seed)
    side = STORED // tiles
    made = []
    for i in rng.choice(len(images), count, replace=len(images) < count):
        cut = (
            images[i].reshape(tiles, side, tiles, side, 3).swapaxes(1, 2).reshape(-1, side, side, 3)
        )
        turned = [np.rot90(tile, int(rng.integers(4))) for tile in cut[rng.permutation(tiles**2)]]
        rows = np.stack(turned).reshape(tiles, tiles, side, side, 3).swapaxes(1, 2)
        made.append(np.ascontiguousarray(rows.reshape(STORED, STORED, 3)))
    return made


def split_list(items: list[T], split: str, every: int = 10) -> list[T]:
    """Every tenth item is validation, the others are training."""
    return [x for i, x in enumerate(items) if (i % every == 0) == (split == "val")]
