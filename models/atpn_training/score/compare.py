"""Compares a converted network with the one it was made of: error and speed, keep or drop.

    python -m atpn_training.score.compare --data DATA --base models/artifacts/atpn/1 --other DIR

Both run in turn on the same machine, so that what else runs there slows both.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from atpn.engine.inference import FaceNetwork, ModelFile, Predictions, find_model
from atpn.geometry import Box, crop, roi_from_landmarks
from atpn_training.artefacts.files import ARTIFACTS
from atpn_training.data.faces import load_faces
from atpn_training.data.images import Array, Images
from atpn_training.score.measures import THRESHOLD, errors_98
from atpn_training.score.served import Model, Runs, in_images

LARGEST_LOSS = 0.02  # of the NME, relative
LARGEST_TURN = 0.5  # degrees between the two networks' head poses, mean
LARGEST_FLIP = 0.005  # share of crops on the other side of the confidence threshold
SMALLEST_GAIN = 1.1  # of the speed
ROUNDS = 60


@dataclass(frozen=True)
class Trial:
    """Validation faces: crops (N, 112, 112, 3), their ROIs and the labelled points (N, 98, 2)."""

    crops: Images
    rois: list[Box]
    points: Array

    @classmethod
    def load(cls, data: Path) -> "Trial":
        """The validation split without pointing04, with ROIs from the labels."""
        faces = load_faces(data, "val")
        faces = faces.where(faces.source != "pointing04")
        rois = [roi_from_landmarks(points) for points in faces.teacher]
        crops = np.stack([crop(i, r) for i, r in zip(faces.images, rois, strict=True)])
        return cls(crops, rois, faces.teacher)

    def nme(self, found: Predictions) -> float:
        """Mean inter-ocular NME."""
        return float(errors_98(in_images(found, self.rois), self.points).interocular.mean())


@dataclass(frozen=True)
class Comparison:
    """How a converted network differs from its base."""

    base_nme: float
    other_nme: float
    turn_deg: float  # between head poses, mean over faces and angles
    flipped: float  # share of crops on the other side of the confidence threshold
    speed: dict[int, float] | None = None  # of the base's time, by batch size

    @property
    def accurate(self) -> bool:
        """Whether the error, the pose and the confidence stay within the limits."""
        return (
            self.other_nme <= self.base_nme * (1 + LARGEST_LOSS)
            and self.turn_deg <= LARGEST_TURN
            and self.flipped <= LARGEST_FLIP
        )

    @property
    def faster(self) -> bool:
        """Whether it is faster at every batch size that was measured."""
        return self.speed is not None and min(self.speed.values()) >= SMALLEST_GAIN

    def __str__(self) -> str:
        change = 100 * (self.other_nme / self.base_nme - 1)
        parts = [
            f"NME {100 * self.base_nme:.3f} -> {100 * self.other_nme:.3f} % ({change:+.2f} %)",
            f"pose {self.turn_deg:.3f} deg apart",
            f"confidence flipped {100 * self.flipped:.2f} %",
        ]
        for batch, gain in (self.speed or {}).items():
            parts.append(f"{gain:.2f} times as fast at batch {batch}")
        return ", ".join(parts)

    @property
    def verdict(self) -> str:
        """Keep or drop, and why."""
        if not self.accurate:
            return "drop: less accurate than allowed"
        return "keep" if self.faster else f"drop: not {SMALLEST_GAIN} times as fast"


def compare(base: Predictions, other: Predictions, trial: Trial) -> Comparison:
    """The two networks' answers to the trial's crops."""
    flips = (base.confidence >= THRESHOLD) != (other.confidence >= THRESHOLD)
    turn = np.degrees(np.abs(base.pose - other.pose))
    return Comparison(trial.nme(base), trial.nme(other), float(turn.mean()), float(flips.mean()))


def speed_ratio(base: Runs, other: Runs, crops: Images, rounds: int) -> float:
    """Median over rounds of the base's time / the other's, each round one run of both."""
    for network in (base, other):
        network.run(crops)
    ratios = []
    for _ in range(rounds):
        started = time.perf_counter()
        base.run(crops)
        between = time.perf_counter()
        other.run(crops)
        ratios.append((between - started) / (time.perf_counter() - between))
    return float(np.median(ratios))


def answers(model: bytes, crops: Images) -> Predictions:
    """What a graph says of crops (N, 112, 112, 3)."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        path.write_bytes(model)
        return Model(FaceNetwork(ModelFile("trial", "0", path, {}))).run(crops)


def first_accurate(
    model: bytes, candidates: Iterable[tuple[str, Callable[[], bytes]]], trial: Trial
) -> tuple[str, bytes, Comparison] | None:
    """The first candidate that is accurate enough: its name, graph and comparison with ``model``.

    Candidates are made one after the other; what each comes to is printed.
    """
    base = answers(model, trial.crops)
    for name, make in candidates:
        converted = make()
        found = compare(base, answers(converted, trial.crops), trial)
        print(f"{name}: {found}{'' if found.accurate else ' (refused)'}")
        if found.accurate:
            return name, converted, found
    return None


def opened(folder: Path) -> Model:
    """The model of a version folder (``.../<name>/<version>``), on one thread."""
    root, version = folder.resolve().parent, folder.name
    return Model(FaceNetwork(find_model(root.parent, root.name, version), threads=1))


def main() -> int:
    """Compare, print figures and verdict; 1 for drop."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with faces.csv")
    parser.add_argument("--base", type=Path, default=ARTIFACTS / "atpn" / "1")
    parser.add_argument("--other", type=Path, required=True, help="version folder of the other")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="of the speed measurement")
    args = parser.parse_args()
    base, other, trial = opened(args.base), opened(args.other), Trial.load(args.data)
    found = compare(base.run(trial.crops), other.run(trial.crops), trial)
    speed = {
        batch: speed_ratio(base.network, other.network, trial.crops[:batch], args.rounds)
        for batch in (1, 4)
    }
    found = Comparison(found.base_nme, found.other_nme, found.turn_deg, found.flipped, speed)
    print(f"{found}\n{found.verdict}")
    return 0 if found.verdict == "keep" else 1


if __name__ == "__main__":
    sys.exit(main())
