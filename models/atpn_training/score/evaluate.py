"""Scores the ONNX file that is served, through the crop and the runtime that serve it.

    python -m atpn_training.score.evaluate --data DATA [--clips DIR] [--model DIR] [--write]

With ``--write`` the figures go into the model's metadata, models/figures.md and the model card,
and their curves into models/figures.
"""

import argparse
import csv
import json
import sys
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from atpn.faces.detection import Detector
from atpn.geometry import crop, landmark_box, roi_from_detection, roi_from_landmarks
from atpn_training.artefacts.files import ARTIFACTS, read_metadata, replace_file, write_metadata
from atpn_training.data.faces import load_faces
from atpn_training.data.held_back import Validation
from atpn_training.data.images import Array
from atpn_training.data.labels import DOUBTFUL, HAND_68, HAND_98
from atpn_training.data.negatives import FACE_PX
from atpn_training.data.scenes import load_backgrounds, load_scenes, split_list
from atpn_training.data.wflw_val import Labelled
from atpn_training.score.card import CARD, FIGURES_PAGE, brief_table, figures_table, with_table
from atpn_training.score.following import VIDEOS, Step, follow, frames, lingering, tracking_figures
from atpn_training.score.measures import (
    Angles,
    Errors,
    Figures,
    Scores,
    alignment_figures,
    confidence_figures,
    errors_98,
    errors_inner,
    pose_bins,
    pose_figures,
)
from atpn_training.score.plots import plot_ced, plot_clip, plot_pose_bins, plot_precision_recall
from atpn_training.score.served import Model, detected, jittered, shipped_detector

COMMAND = "python -m atpn_training.score.evaluate --data DATA --clips CLIPS --write"
DEFAULT = "atpn"  # the model whose curves are drawn
MODELS = (DEFAULT, "atpn-open")
FIGURES = ARTIFACTS.parent / "figures"
ZOOM = 2  # the detector sees the stored crops enlarged: faces of about 190 px
FACELESS_END = "none"  # in a clip's name: its face leaves and none comes back
DRAWN = ("hand_over_face",)  # the clip whose angles are drawn: the first that is there


@dataclass(frozen=True)
class Clip:
    """A tracked clip; ``present`` where the detector saw every frame, too."""

    steps: list[Step]
    rate: float  # frames a second
    present: list[bool] | None = None


@dataclass(frozen=True)
class Results:
    """What was measured, face by face."""

    alignment: dict[str, Errors]
    by_source: dict[str, Errors]
    mesh: Angles
    pointing: Angles
    confidence: Scores
    clips: dict[str, Clip]


# --- The tests ---------------------------------------------------------------------------


def alignment(model: Model, detector: Detector, validation: Validation) -> dict[str, Errors]:
    """Landmarks against the teacher by several kinds of ROI, and against hand labels."""
    faces, rois = validation.faces, validation.rois
    own_roi = errors_98(model.landmarks(faces.images, rois), faces.teacher)
    tests = {
        "teacher": own_roi,
        "teacher_sure": own_roi.where(faces.spread <= DOUBTFUL),
        "teacher_jittered_roi": errors_98(
            model.landmarks(faces.images, jittered(rois)), faces.teacher
        ),
    }
    pairs = tqdm(zip(faces.images, rois, strict=True), desc="detector", total=len(rois))
    boxes = [detected(detector, image, roi, ZOOM) for image, roi in pairs]
    seen = np.array([box is not None for box in boxes])
    images, found = faces.images[seen], [b for b in boxes if b is not None]
    looks = {
        "detector_roi": model.landmarks,
        "photograph": model.as_photographs,
        "second_look": model.second_look,
    }
    for name, look in looks.items():
        tests[f"teacher_{name}"] = errors_98(look(images, found), faces.teacher[seen])
    boxed = [roi_from_detection(landmark_box(points)) for points in faces.teacher]
    tests["teacher_box"] = errors_98(model.as_photographs(faces.images, boxed), faces.teacher)
    labelled = [(source, faces.hand68, errors_inner) for source in HAND_68]
    labelled += [(source, faces.points, errors_98) for source in HAND_98]
    for source, labels, errors in labelled:
        rows = (faces.source == source) & np.isfinite(labels).all((1, 2))
        if rows.any():
            hand = labels[rows]
            own, around = faces.images[rows], [roi_from_landmarks(p) for p in hand]
            tests[f"{source}_hand"] = errors(model.landmarks(own, around), hand)
            tests[f"{source}_second_look"] = errors(model.second_look(own, around), hand)
            tests[f"{source}_teacher"] = errors(faces.teacher[rows], hand)
    return tests


def wflw_val(model: Model, faces: Labelled) -> dict[str, Errors]:
    """Landmarks against WFLW's own; nothing where there are no such faces."""
    if not faces.images:
        return {}
    rois = [roi_from_landmarks(points) for points in faces.points]
    return {
        "wflw_val": errors_98(model.landmarks(faces.images, rois), faces.points),
        "wflw_val_second_look": errors_98(model.second_look(faces.images, rois), faces.points),
    }


def pointing(model: Model, root: Path) -> Angles:
    """Yaw and pitch of Pointing'04's validation persons against pan and tilt.

    The folder's pan is negative towards the image's right and its tilt positive upwards: those
    are the signs of yaw and of pitch. The angles themselves are others: `data.directions`.
    """
    faces = load_faces(root, "val")
    faces = faces.where(faces.source == "pointing04")
    rois = [roi_from_landmarks(points) for points in faces.teacher]
    crops = np.stack([crop(i, r) for i, r in zip(faces.images, rois, strict=True)])
    return Angles(model.run(crops).pose[:, :2], pointing_angles(root))


def pointing_angles(root: Path) -> Array:
    """Pan and tilt (N, 2) of Pointing'04's validation rows as yaw and pitch in radians."""
    with (root / "faces.csv").open(newline="") as file:
        rows = [r for r in csv.DictReader(file) if r["source"] == "pointing04"]
    degrees = [(float(r["pan"]), float(r["tilt"])) for r in rows if r["split"] == "val"]
    return np.radians(np.array(degrees, np.float32))


def track_clips(model: Model, detector: Detector, folder: Path) -> dict[str, Clip]:
    """Every clip of a folder, tracked as the service would; ValueError if there is none."""
    paths = sorted(p for p in folder.glob("*") if p.suffix.lower() in VIDEOS)
    if not paths:
        raise ValueError(f"{folder} has no clips ({', '.join(VIDEOS)})")
    clips = {}
    for path in paths:
        video = cv2.VideoCapture(str(path))
        rate = video.get(cv2.CAP_PROP_FPS) or 25.0
        video.release()
        steps = follow(model.network, detector, tqdm(frames(path), desc=path.stem, unit="frame"))
        present = None
        if FACELESS_END in path.stem:
            shown = tqdm(frames(path), desc=f"{path.stem}, detector", unit="frame")
            present = [bool(detector.detect(image)) for image in shown]
        clips[path.stem] = Clip(steps, rate, present)
    return clips


def measure(data: Path, clips: Path | None, folder: Path, negatives: int = 2000) -> Results:
    """Everything that the model card shows."""
    model, detector = Model.load(folder), shipped_detector()
    backgrounds, scenes = load_backgrounds(data), load_scenes(data)
    validation = Validation.load(
        data, split_list(backgrounds, "val"), split_list(scenes, "val"), negatives
    )
    faces = validation.faces
    answers = model.run(validation.crops)
    tests = alignment(model, detector, validation)
    tests |= wflw_val(model, Labelled.load(data / "wflw_val"))
    known = np.isfinite(faces.mesh).all(1)
    wide = faces.face_px >= FACE_PX
    return Results(
        alignment=tests,
        by_source={
            str(source): tests["teacher"].where(faces.source == source)
            for source in np.unique(faces.source)
        },
        mesh=Angles(answers.pose[known], faces.mesh[known]),
        pointing=pointing(model, data),
        confidence=Scores(answers.confidence[wide], model.run(validation.negatives).confidence),
        clips={} if clips is None else track_clips(model, detector, clips),
    )


# --- What is made of them ----------------------------------------------------------------


def clip_figures(clip: Clip) -> Figures:
    """Figures of a clip; where its face leaves, of the part that shows it, and what follows."""
    if clip.present is None:
        return tracking_figures(clip.steps)
    present = np.array(clip.present)
    last = int(np.flatnonzero(present)[-1]) if present.any() else -1
    figures = tracking_figures(clip.steps[: last + 1])
    return {**figures, **lingering(clip.steps, present), "frames": len(clip.steps)}


def summarise(results: Results, model: str = DEFAULT) -> Figures:
    """The figures as they are kept with the model of that name."""
    found, target = results.pointing.found, results.pointing.target
    figures: Figures = {
        "split": "validation; without pointing04 where it is not named",
        "command": COMMAND + ("" if model == DEFAULT else f" --model models/artifacts/{model}/1"),
        "alignment": {
            **{name: alignment_figures(errors) for name, errors in results.alignment.items()},
            "by_source": {k: alignment_figures(v) for k, v in results.by_source.items()},
        },
        "pose": {
            "mesh": pose_figures(results.mesh),
            "pointing04": pose_figures(results.pointing),
            "pointing04_bins": {
                "yaw": pose_bins(found[:, 0], target[:, 0]),
                "pitch": pose_bins(found[:, 1], target[:, 1]),
            },
        },
        "confidence": confidence_figures(results.confidence),
    }
    if results.clips:
        figures["tracking"] = {name: clip_figures(clip) for name, clip in results.clips.items()}
    return figures


def draw(results: Results, folder: Path) -> None:
    """The curves, as PNG files in ``folder``."""
    shown = {
        "teacher's points": "teacher",
        "the same, ROI from the detector": "teacher_detector_roi",
        "LFPW, hand labels": "lfpw_hand",
        "InfAnFace (infants), hand labels": "infanface_hand",
        "the same, second look": "infanface_second_look",
    }
    curves = {k: results.alignment[v] for k, v in shown.items() if v in results.alignment}
    plot_ced(folder / "ced.png", curves, "Landmarks: cumulative error, validation split")
    plot_precision_recall(
        folder / "precision_recall.png",
        {"faces wider than 60 px against negatives": results.confidence},
        "Face confidence, validation split",
    )
    title = "Head pose on Pointing'04, persons 9 and 10 (not trained on)"
    plot_pose_bins(folder / "pose.png", results.pointing, title)
    name = next((n for n in (*DRAWN, *results.clips) if n in results.clips), None)
    if name is not None:
        clip = results.clips[name]
        title = f"Head pose through the clip {name} (unsmoothed)"
        plot_clip(folder / "clip.png", clip.steps, clip.rate, title)


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", type=Path, required=True, help="folder with faces.csv")
    parser.add_argument("--clips", type=Path, help="folder of videos to track")
    parser.add_argument("--model", type=Path, default=ARTIFACTS / DEFAULT / "1")
    parser.add_argument("--negatives", type=int, default=2000, help="crops without a face")
    parser.add_argument("--plots", type=Path, help="folder for the curves (PNG)")
    parser.add_argument("--write", action="store_true", help="into metadata, model card, plots")
    return parser.parse_args(arguments)


def write_pages(name: str, figures: Figures) -> None:
    """A model's tables into the page of figures, all models' main figures into the card."""
    page = with_table(FIGURES_PAGE.read_text(), f"of {name}", figures_table(figures))
    replace_file(FIGURES_PAGE, page.encode())
    known = {model: read_metadata(ARTIFACTS / model / "1").get("figures", {}) for model in MODELS}
    card = with_table(CARD.read_text(), "in brief", brief_table({**known, name: figures}))
    replace_file(CARD, card.encode())


def main() -> int:
    """Score the model, print the figures, write them where asked to."""
    args = parse()
    cv2.setNumThreads(1)  # small images: handing them to threads costs more than it gains
    results = measure(args.data, args.clips, args.model, args.negatives)
    name = args.model.resolve().parent.name
    figures = summarise(results, name)
    print(json.dumps(figures, indent=2))
    if args.write:
        write_metadata(args.model, {**read_metadata(args.model), "figures": figures})
        write_pages(name, figures)
    if args.plots or (args.write and name == DEFAULT):
        draw(results, args.plots or FIGURES)
    return 0


if __name__ == "__main__":
    sys.exit(main())
