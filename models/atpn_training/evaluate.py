"""Scores the ONNX file that is served, through the crop and the runtime that serve it.

    python -m atpn_training.evaluate --data DATA [--model models/artifacts/atpn/1] [--write]

With ``--write`` the figures go into the model's metadata and into the model card.
"""

import argparse
import csv
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from atpn.detection import Detector
from atpn.geometry import (
    Box,
    crop,
    crop_to_image,
    roi_from_detection,
    roi_from_landmarks,
    square,
)
from atpn.inference import FaceNetwork, Predictions, find_model
from atpn_training.artifacts import ARTIFACTS, read_metadata, replace_file, write_metadata
from atpn_training.data import (
    Array,
    Faces,
    Images,
    load_backgrounds,
    load_faces,
    load_scenes,
    split_list,
)
from atpn_training.validate import Validation, average_precision, nme_98, nme_mapped_68

Errors = NDArray[np.float64]
Figures = dict[str, Any]

CARD = ARTIFACTS.parent / "README.md"
BEGIN, END = "<!-- figures: begin -->", "<!-- figures: end -->"
FAILURE = 0.1  # NME above which a face has failed (section 4.2)
POSE_FAILURE = 10.0  # degrees, mean of the angles
THRESHOLD = 0.7  # confidence at which a face is tracked on (section 3.4)
JITTER = (0.04, 0.08)  # ROI noise: centre in sides, logarithm of the side
ZOOM = 2  # the detector sees the stored crops enlarged: faces of about 190 px


@dataclass(frozen=True)
class Model:
    """The served network as an array function, in bounded batches."""

    network: FaceNetwork
    batch: int = 64

    @classmethod
    def load(cls, folder: Path) -> "Model":
        """The model of a version folder, whose checksum must be right."""
        found = find_model(folder.resolve().parents[1], folder.resolve().parent.name, folder.name)
        return cls(FaceNetwork(found))

    def run(self, crops: Images) -> Predictions:
        """Predictions of (N, 112, 112, 3) crops."""
        parts = [
            self.network.run(crops[i : i + self.batch])
            for i in tqdm(range(0, len(crops), self.batch), desc="network", leave=False)
        ]
        return Predictions(
            np.concatenate([p.landmarks for p in parts]),
            np.concatenate([p.pose for p in parts]),
            np.concatenate([p.confidence for p in parts]),
        )

    def landmarks(self, images: Images, rois: list[Box]) -> Array:
        """Landmarks (N, 98, 2) in image pixels, one ROI an image."""
        crops = np.stack([crop(i, r) for i, r in zip(images, rois, strict=True)])
        found = self.run(crops).landmarks
        return np.stack([crop_to_image(p, r) for p, r in zip(found, rois, strict=True)])


# --- Measures ----------------------------------------------------------------------------


def alignment_figures(errors: Errors) -> Figures:
    """Mean, median, failure rate and area under the error distribution of NMEs (N,)."""
    return {
        "faces": len(errors),
        "nme_percent": rounded(100 * errors.mean()),
        "median_percent": rounded(100 * np.median(errors)),
        "fr_percent": rounded(100 * (errors > FAILURE).mean()),
        "auc": rounded(np.clip(1 - errors / FAILURE, 0, None).mean()),
    }


def pose_figures(found: Array, target: Array, names: tuple[str, ...]) -> Figures:
    """Mean absolute error in degrees of each angle, of all, and the failure rate."""
    error = np.degrees(np.abs(found - target))  # (N, angles)
    by_angle = {
        f"{name}_deg": rounded(mean) for name, mean in zip(names, error.mean(0), strict=True)
    }
    failed = error.mean(1) > POSE_FAILURE
    return {
        "faces": len(error),
        **by_angle,
        "mean_deg": rounded(error.mean()),
        "fr_percent": rounded(100 * failed.mean()),
    }


def confidence_figures(faces: Array, backgrounds: Array) -> Figures:
    """Average precision, and recall and false positives at the threshold, of (N,) and (M,)."""
    scores = np.concatenate([faces, backgrounds]).astype(np.float64)
    return {
        "faces": len(faces),
        "negatives": len(backgrounds),
        "ap_percent": rounded(100 * average_precision(scores, np.arange(len(scores)) < len(faces))),
        "recall_percent": rounded(100 * (faces >= THRESHOLD).mean()),
        "false_positive_percent": rounded(100 * (backgrounds >= THRESHOLD).mean()),
    }


def rounded(value: float | np.floating[Any]) -> float:
    """Four digits after the point, as a plain number."""
    return round(float(value), 4)


# --- Regions of interest -----------------------------------------------------------------


def jittered(rois: list[Box], seed: int = 0) -> list[Box]:
    """ROIs moved and scaled at random, as by the error of the last frame's landmarks."""
    rng = np.random.default_rng(seed)
    move, grow = JITTER
    return [
        square(
            (r.x0 + r.x1) / 2 + rng.normal(0, move) * r.width,
            (r.y0 + r.y1) / 2 + rng.normal(0, move) * r.width,
            r.width * np.exp(rng.normal(0, grow)),
        )
        for r in rois
    ]


def detected(detector: Detector, images: Images, rois: list[Box]) -> list[Box | None]:
    """The ROI from the detector's best box on the known face; None where it finds none."""
    found: list[Box | None] = []
    for image, roi in tqdm(zip(images, rois, strict=True), desc="detector", total=len(rois)):
        large = cv2.resize(image, None, fx=ZOOM, fy=ZOOM).astype(np.uint8)
        boxes = [roi_from_detection(d.box) for d in detector.detect(large)]
        scaled = [Box(b.x0 / ZOOM, b.y0 / ZOOM, b.x1 / ZOOM, b.y1 / ZOOM) for b in boxes]
        found.append(next((b for b in scaled if b.iou(roi) > 0.3), None))
    return found


# --- The tests ---------------------------------------------------------------------------


def alignment(model: Model, detector: Detector, validation: Validation) -> Figures:
    """Landmarks against the teacher and LFPW's hand labels, by ROI and by source."""
    faces, rois = validation.faces, validation.rois
    found = model.landmarks(faces.images, rois)
    errors = nme_98(found, faces.teacher)
    moved = model.landmarks(faces.images, jittered(rois))
    boxes = detected(detector, faces.images, rois)
    seen = np.array([box is not None for box in boxes])
    from_boxes = model.landmarks(faces.images[seen], [b for b in boxes if b is not None])
    lfpw = faces.source == "lfpw"
    return {
        "teacher": alignment_figures(errors),
        "teacher_jittered_roi": alignment_figures(nme_98(moved, faces.teacher)),
        "teacher_detector_roi": alignment_figures(nme_98(from_boxes, faces.teacher[seen])),
        "lfpw_hand": alignment_figures(nme_mapped_68(found[lfpw], faces.hand68[lfpw])),
        "by_source": {
            str(source): alignment_figures(errors[faces.source == source])
            for source in np.unique(faces.source)
        },
    }


def pose(model: Model, validation: Validation, pointing: Faces, angles: Array) -> Figures:
    """Head pose against the face mesh and against Pointing'04's pan and tilt (radians)."""
    known = np.isfinite(validation.faces.mesh).all(1)
    mesh = model.run(validation.crops[known]).pose
    rois = [roi_from_landmarks(points) for points in pointing.teacher]
    crops = np.stack([crop(i, r) for i, r in zip(pointing.images, rois, strict=True)])
    coarse = model.run(crops).pose[:, :2]
    names = ("yaw", "pitch", "roll")
    return {
        "mesh": pose_figures(mesh, validation.faces.mesh[known], names),
        "pointing04": pose_figures(coarse, angles, names[:2]),
    }


def confidence(model: Model, validation: Validation) -> Figures:
    """Face confidence of faces wider than 60 px against fixed negatives."""
    wide = validation.crops[validation.faces.face_px >= 60]
    return confidence_figures(
        model.run(wide).confidence, model.run(validation.negatives).confidence
    )


def pointing_angles(root: Path) -> Array:
    """Pan and tilt (N, 2) of Pointing'04's validation rows as yaw and pitch in radians."""
    with (root / "faces.csv").open(newline="") as file:
        rows = [r for r in csv.DictReader(file) if r["source"] == "pointing04"]
    degrees = [(float(r["pan"]), float(r["tilt"])) for r in rows if r["split"] == "val"]
    return np.radians(np.array(degrees, np.float32))


def evaluate(data: Path, folder: Path) -> Figures:
    """Every figure of the model card."""
    model = Model.load(folder)
    detector = Detector(find_model(ARTIFACTS, "yunet"))
    validation = Validation.load(
        data,
        split_list(load_backgrounds(data), "val"),
        split_list(load_scenes(data), "val"),
    )
    faces = load_faces(data, "val")
    pointing = faces.where(faces.source == "pointing04")
    return {
        "split": "validation; without pointing04 where it is not named",
        "command": "python -m atpn_training.evaluate --data DATA --write",
        "alignment": alignment(model, detector, validation),
        "pose": pose(model, validation, pointing, pointing_angles(data)),
        "confidence": confidence(model, validation),
    }


# --- The model card ----------------------------------------------------------------------


def figures_table(figures: Figures) -> str:
    """The figures as Markdown tables."""
    own = figures["alignment"]
    named = {
        "teacher's points, ROI from those points": own["teacher"],
        "the same, ROI moved by noise": own["teacher_jittered_roi"],
        "the same, ROI from the detector": own["teacher_detector_roi"],
        "LFPW hand labels, mapped points 17-67": own["lfpw_hand"],
    }
    by_source = {f"teacher's points, {k}": v for k, v in own["by_source"].items()}
    blocks = [
        alignment_table({**named, **by_source}),
        pose_table(figures["pose"]),
        confidence_table(figures["confidence"]),
    ]
    return "\n\n".join(blocks)


def alignment_table(tests: Figures) -> str:
    """One row a test."""
    head = (
        "| landmarks, against | faces | NME % | median % | FR@0.1 % | AUC@0.1 |\n"
        "|---|---:|---:|---:|---:|---:|\n"
    )
    return head + "\n".join(
        f"| {name} | {t['faces']} | {t['nme_percent']:.2f} | {t['median_percent']:.2f} "
        f"| {t['fr_percent']:.2f} | {t['auc']:.3f} |"
        for name, t in tests.items()
    )


def pose_table(tests: Figures) -> str:
    """Mean absolute errors in degrees."""
    head = (
        "| head pose, against | faces | yaw ° | pitch ° | roll ° | mean ° | FR@10° % |\n"
        "|---|---:|---:|---:|---:|---:|---:|\n"
    )
    names = {"mesh": "face mesh", "pointing04": "Pointing'04 (steps of 15°; no roll)"}
    return head + "\n".join(
        f"| {names[key]} | {t['faces']} | {t['yaw_deg']:.2f} | {t['pitch_deg']:.2f} "
        f"| {format(t['roll_deg'], '.2f') if 'roll_deg' in t else ''} | {t['mean_deg']:.2f} "
        f"| {t['fr_percent']:.2f} |"
        for key, t in tests.items()
    )


def confidence_table(t: Figures) -> str:
    """Face against background."""
    return (
        "| face confidence | faces | negatives | AP % | recall at 0.7 % | "
        "false positives at 0.7 % |\n|---|---:|---:|---:|---:|---:|\n"
        f"| faces wider than 60 px | {t['faces']} | {t['negatives']} | {t['ap_percent']:.2f} "
        f"| {t['recall_percent']:.2f} | {t['false_positive_percent']:.2f} |"
    )


def with_table(card: str, table: str) -> str:
    """The card's text with the table between the markers; ValueError without markers."""
    before, begin, rest = card.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the model card has no {BEGIN} ... {END}")
    return f"{before}{begin}\n\n{table}\n\n{end}{after}"


def main() -> int:
    """Score the model, print the figures, write them where asked to."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", type=Path, required=True, help="folder with faces.csv")
    parser.add_argument("--model", type=Path, default=ARTIFACTS / "atpn" / "1")
    parser.add_argument("--write", action="store_true", help="into metadata and model card")
    args = parser.parse_args()
    figures = evaluate(args.data, args.model)
    print(json.dumps(figures, indent=2))
    if args.write:
        write_metadata(args.model, {**read_metadata(args.model), "figures": figures})
        replace_file(CARD, with_table(CARD.read_text(), figures_table(figures)).encode())
    return 0


if __name__ == "__main__":
    sys.exit(main())
