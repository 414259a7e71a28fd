"""Judges networks by hand-made labels, side by side: one table, one column a network.

    python -m atpn_training.score.judge --data DATA before=.../atpn/1 after=RUN/pose.done.pt

A network is a version folder with an ONNX file, or a file of weights (which needs torch).
"""

import argparse
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from atpn.geometry import roi_from_landmarks
from atpn_training.data.augment import framed
from atpn_training.data.directions import directions
from atpn_training.data.faces import Faces, load_faces
from atpn_training.data.images import Array, Images
from atpn_training.data.negatives import FACE_PX, Negatives
from atpn_training.data.scenes import load_backgrounds, load_scenes, split_list
from atpn_training.data.wflw_val import Labelled
from atpn_training.score.measures import Values, errors_98, errors_inner
from atpn_training.score.served import Model, crops_of

Rows = dict[str, float]
NEGATIVES = 1000
CONFIDENT = 0.7  # the tracker goes on from here


@dataclass(frozen=True)
class Material:
    """What networks are judged on."""

    wflw: Labelled
    val: Faces
    negatives: Images  # (NEGATIVES, 112, 112, 3)
    framed: Images  # the same in black frames, in which many of the faces lie: 10 to 16 % a side

    @classmethod
    def load(cls, data: Path) -> "Material":
        """The held-back faces of a data folder, and negatives of its held-back photographs."""
        val, rng = load_faces(data, "val"), np.random.default_rng(0)
        backgrounds = split_list(load_backgrounds(data), "val")
        drawn = Negatives(val.images, backgrounds, split_list(load_scenes(data), "val"))
        negatives = np.stack([drawn.draw(rng) for _ in range(NEGATIVES)])
        black = [framed(negative, rng.uniform(0.1, 0.16, 4), 0) for negative in negatives]
        return cls(Labelled.load(data / "wflw_val"), val, negatives, np.stack(black))


def judge(network: Model, material: Material) -> Rows:
    """Every row of the table for one network: NME in %, angles in degrees."""
    return {
        **_wflw(network, material.wflw),
        **_hand(network, material.val),
        **_teacher(network, material.val),
        **_pose(network, material.val),
        **_confidence(network, material),
    }


def _wflw(network: Model, faces: Labelled) -> Rows:
    rois = [roi_from_landmarks(p) for p in faces.points]
    own = errors_98(network.landmarks(faces.images, rois), faces.points).interocular
    rows = {f"WFLW val, {k} ({m.sum()})": 100 * own[m].mean() for k, m in faces.groups().items()}
    return {**rows, "WFLW val, worst tenth": 100 * np.sort(own)[-len(own) // 10 :].mean()}


def _hand(network: Model, faces: Faces) -> Rows:
    rows = {}
    for name, source, labels, errors in (
        ("LFPW val, hand", "lfpw", faces.hand68, errors_inner),
        ("infants val, hand", "infanface", faces.hand68, errors_inner),
        ("WFLW30 val, hand", "wflw30", faces.points, errors_98),
    ):
        chosen = (faces.source == source) & np.isfinite(labels).all((1, 2))
        hand = labels[chosen]
        found = network.landmarks(list(faces.images[chosen]), [roi_from_landmarks(p) for p in hand])
        rows[f"{name} ({len(hand)})"] = 100 * errors(found, hand).interocular.mean()
    return rows


def _teacher(network: Model, faces: Faces) -> Rows:
    faces = faces.where(faces.source != "pointing04")
    rois = [roi_from_landmarks(p) for p in faces.teacher]
    own = errors_98(network.landmarks(list(faces.images), rois), faces.teacher).interocular
    return {f"teacher's points, median ({len(own)})": 100 * float(np.median(own))}


def _pose(network: Model, faces: Faces) -> Rows:
    rois = [roi_from_landmarks(p) for p in faces.teacher]
    crops = crops_of(faces.images, rois)
    found, mirrored = network.run(crops).pose, network.run(crops[:, :, ::-1]).pose
    known = np.isfinite(faces.mesh).all(1) & (faces.source != "pointing04")
    off = _degrees(np.abs(found - faces.mesh)[known])
    apart = _degrees(found + mirrored * np.array([1, -1, 1], np.float32))
    rows = {f"{a} from the mesh": off[:, i].mean() for i, a in enumerate(("yaw", "pitch", "roll"))}
    rows["yaw + yaw of the mirror image, mean"] = apart[:, 0].mean()
    rows["the same, mean of amounts"] = np.abs(apart[:, 0]).mean()
    rows |= _looked("yaw", found[:, 0], faces.looked[:, 0])
    rows |= _looked("pitch", found[:, 1], faces.looked[:, 1])
    pointed = directions(found)
    rows |= _looked("azimuth", pointed[:, 0], faces.looked[:, 0])
    return rows | _looked("elevation", pointed[:, 1], faces.looked[:, 1])


def _confidence(network: Model, material: Material) -> Rows:
    """In %: faces below the paper's threshold, and negatives above it."""
    faces = material.val.where(material.val.face_px >= FACE_PX)
    crops = crops_of(faces.images, [roi_from_landmarks(p) for p in faces.teacher])
    negatives, in_frames = material.negatives, material.framed
    sets = (crops, negatives, in_frames)
    sure = [network.run(images).confidence >= CONFIDENT for images in sets]
    return {
        f"faces below {CONFIDENT}, % ({len(crops)})": 100 * float(np.mean(~sure[0])),
        f"negatives from {CONFIDENT}, % ({len(negatives)})": 100 * float(np.mean(sure[1])),
        f"the same framed in black, % ({len(in_frames)})": 100 * float(np.mean(sure[2])),
    }


def _looked(name: str, found: Array, wanted: Array) -> Rows:
    """Error and bias on Pointing'04 by the amount of the angle that was asked for."""
    known = np.isfinite(wanted)
    own, asked = _degrees(found[known]), _degrees(wanted[known])
    off = np.abs(own - asked)
    rows = {f"Pointing'04 {name}, all": off.mean()}
    rows[f"Pointing'04 {name}, bias"] = (own - asked)[np.abs(asked) < 50].mean()
    for size in np.unique(np.abs(asked).round()):
        chosen = np.abs(asked).round() == size
        rows[f"Pointing'04 {name} {size:.0f}"] = off[chosen].mean()
    return rows


def _degrees(radians: Array) -> Values:
    return np.degrees(radians.astype(np.float64))


def table(judged: dict[str, Rows]) -> str:
    """Markdown: one row a figure, one column a network."""
    names = list(judged)
    lines = [f"| error | {' | '.join(names)} |", f"|---|{'---:|' * len(names)}"]
    lines += [
        f"| {row} | {' | '.join(f'{judged[n][row]:.3f}' for n in names)} |"
        for row in judged[names[0]]
    ]
    return "\n".join(lines)


def named(text: str) -> tuple[str, Path]:
    """``name=path`` or a path, from the command line."""
    name, _, path = text.rpartition("=")
    return name or Path(path).stem, Path(path)


def compared(about: str | None) -> argparse.Namespace:
    """The command line of a program that compares networks; its docstring's first line is told."""
    parser = argparse.ArgumentParser(description=(about or "").splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with faces.csv")
    parser.add_argument("networks", nargs="+", type=named, metavar="[NAME=]PATH")
    return parser.parse_args()


def main() -> None:
    """Print the table."""
    args = compared(__doc__)
    cv2.setNumThreads(1)
    material = Material.load(args.data)
    print(table({name: judge(Model.load(path), material) for name, path in args.networks}))


if __name__ == "__main__":
    main()
