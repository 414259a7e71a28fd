"""What further looks at a face gain and cost, by what its box is said to be.

    python -m atpn_training.score.looks --data DATA [--model models/artifacts/atpn/1]

For each kind of box, said to be what it is or another kind: how many faces are looked at a second
time, and the NME of one look, of ``quality=normal`` and of ``quality=best``. On the validation
split against the teacher, and on the held-back WFLW faces against their own labels (landmark boxes:
their crops are too tight for a detector).
"""

import argparse
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from atpn.faces.detection import Detector
from atpn.faces.face import Face
from atpn.faces.looking import Steps, drive, look
from atpn.faces.second_look import look_four_times, look_twice
from atpn.geometry import Box, landmark_box, roi_from_detection, roi_from_landmark_box
from atpn_training.artefacts.files import ARTIFACTS
from atpn_training.data.faces import load_faces
from atpn_training.data.images import Array, Images
from atpn_training.data.wflw_val import Labelled
from atpn_training.score.measures import errors_98
from atpn_training.score.served import Model, no_search, seen, shipped_detector

WAYS: dict[str, Callable[[list[Box]], Steps[list[Face]]]] = {
    "one look": look,
    "normal": look_twice,
    "best": look_four_times,
}
#: As `atpn.faces.photographs` takes boxes.
ROI_OF = {"detector": roi_from_detection, "landmarks": roi_from_landmark_box}


@dataclass(frozen=True)
class Boxed:
    """Faces whose boxes come from somewhere."""

    name: str
    images: list[Images]
    boxes: list[Box]
    points: Array  # (N, 98, 2) pixels


def best_box(detector: Detector, image: Images, face: Box) -> Box | None:
    """The detector's box of the known face."""
    boxes = [found.box for found in detector.detect(image)]
    return next((box for box in boxes if box.iou(face) > 0.3), None)


def sets(data: Path) -> Iterator[Boxed]:
    """Validation faces in detector's and landmarks' boxes, WFLW faces in landmarks' boxes."""
    faces = load_faces(data, "val")
    faces = faces.where(faces.source != "pointing04")
    boxes = [landmark_box(points) for points in faces.teacher]
    detector = shipped_detector()
    found = [best_box(detector, i, b) for i, b in zip(faces.images, boxes, strict=True)]
    kept = [k for k, box in enumerate(found) if box is not None]
    known = [box for box in found if box is not None]
    yield Boxed("detector", [faces.images[k] for k in kept], known, faces.teacher[kept])
    yield Boxed("landmarks", list(faces.images), boxes, faces.teacher)
    wflw = Labelled.load(data / "wflw_val")
    own = [landmark_box(points) for points in wflw.points]
    yield Boxed("landmarks, WFLW", wflw.images, own, wflw.points)


def answered(model: Model, faces: Boxed, rois: list[Box], way: str) -> tuple[Array, int]:
    """Landmarks (N, 98, 2) of one way to look, and how many faces took a second look."""
    points, again = [], 0
    for image, roi in zip(faces.images, tqdm(rois, desc=f"{faces.name}, {way}"), strict=True):
        looks: list[int] = []

        def see(asked: list[Box], image: Images = image, looks: list[int] = looks) -> list[Face]:
            looks.append(len(asked))
            return seen(model.network, image, asked)

        (face,) = drive(WAYS[way]([roi]), see, no_search)
        points.append(face.landmarks)
        again += len(looks) > 1
    return np.stack(points), again


def row(model: Model, faces: Boxed, kind: str, roi_of: Callable[[Box], Box]) -> str:
    """A line of the table."""
    rois = [roi_of(box) for box in faces.boxes]
    cells, twice = [], 0
    for way in WAYS:
        points, again = answered(model, faces, rois, way)
        cells.append(f"{100 * errors_98(points, faces.points).interocular.mean():.2f}")
        twice = again if way == "normal" else twice
    share = f"{twice / len(rois):.0%}"
    return f"| {faces.name} ({len(rois)}) | {kind} | {share} | {' | '.join(cells)} |"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with faces.csv")
    parser.add_argument("--model", type=Path, default=ARTIFACTS / "atpn/1")
    args = parser.parse_args()
    model = Model.load(args.model)
    print(
        f"| boxes of | said to be | seen again | {' | '.join(WAYS)} |\n"
        "|---|---|---:|---:|---:|---:|"
    )
    for faces in sets(args.data):
        for kind, roi_of in ROI_OF.items():
            print(row(model, faces, kind, roi_of), flush=True)


if __name__ == "__main__":
    main()
