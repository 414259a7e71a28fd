"""The paper's experiments on the real test sets, one command a table.

    python -m atpn_training.experiments wflw     --root WFLW --out OUT      # tables 1 and 3
    python -m atpn_training.experiments ablation --root WFLW --run RUN --out OUT   # table 4
    python -m atpn_training.experiments 300vw    --root 300VW --out OUT     # tables 6 and 7
    python -m atpn_training.experiments pose     --root DIR --out OUT       # table 8
    python -m atpn_training.experiments wider    --root WIDER --out OUT     # table 9

They score the ONNX file that is served, through the crop, the detector and the tracking that
serve it, and write a Markdown table beside the paper's figures, JSON, and curves.
"""

import argparse
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from atpn.faces.detection import Detector
from atpn.geometry import crop, landmark_box, roi_from_detection, roi_from_landmarks
from atpn_training import ablate
from atpn_training.artifacts import ARTIFACTS, replace_file
from atpn_training.batches import FACE_PX, scene_negative
from atpn_training.card import alignment_table, confidence_table, number, pose_table, table
from atpn_training.data import Array, Images, Scene, read_rgb
from atpn_training.datasets import (
    ATTRIBUTES,
    AnnotatedVideo,
    DatasetError,
    PosedFace,
    WflwFace,
    WiderImage,
    read_300vw,
    read_300wlp_test,
    read_aflw2000,
    read_pts,
    read_wflw,
    read_wider,
)
from atpn_training.export import export, load_net
from atpn_training.following import Follower, frames
from atpn_training.measures import (
    Angles,
    Errors,
    Figures,
    Scores,
    alignment_figures,
    confidence_figures,
    errors_68,
    errors_98,
    pose_figures,
    rounded,
)
from atpn_training.plots import plot_ced, plot_precision_recall
from atpn_training.served import Model, detected, in_images, shipped_detector

NEGATIVES_EACH = 10  # negatives for each positive of WIDER FACE (section 4.1)
SAME_FACE = 0.3  # IoU of a tracked face's box and the annotation's

#: Xia et al., tables 1 and 3 (NME %, FR@0.1 %, AUC@0.1), 6 and 7, 8 and 9.
PAPER_WFLW: dict[str, Figures] = {
    "all": {"nme_percent": 5.13, "fr_percent": 6.27, "auc": 0.557},
    "pose": {"nme_percent": 8.97},
    "expression": {"nme_percent": 5.49},
    "illumination": {"nme_percent": 4.95},
    "make-up": {"nme_percent": 4.94},
    "occlusion": {"nme_percent": 6.30},
    "blur": {"nme_percent": 5.78},
}
PAPER_300VW = {
    "A": {"tracking": 3.52, "detection": 3.49, "failure": 0.14},
    "B": {"tracking": 3.64, "detection": 3.57, "failure": 0.00},
    "C": {"tracking": 4.99, "detection": 4.89, "failure": 0.08},
}
PAPER_POSE = {"common": (1.55, 0.12), "challenging": (2.84, 1.49)}  # MAE °, FR@10° %
PAPER_AP = 98.82


@dataclass(frozen=True)
class Outcome:
    """What an experiment found: figures for JSON, and text for people."""

    figures: Figures
    text: str


@dataclass(frozen=True)
class Bench:
    """What experiments run on and where their curves go."""

    model: Model
    detector: Detector
    out: Path


# --- Tables 1 and 3: WFLW ----------------------------------------------------------------


def wflw(bench: Bench, faces: list[WflwFace]) -> Outcome:
    """NME, failure rate and area on WFLW's test faces and the six hard subsets."""
    errors = wflw_errors(bench.model, faces)
    subsets = {"all": errors}
    for name in ATTRIBUTES:
        hard = np.array([name in f.attributes for f in faces])
        if hard.any():
            subsets[name] = errors.where(hard)
    found = [detected_points(bench, f) for f in tqdm(faces, desc="detector", unit="face")]
    seen = np.array([p is not None for p in found])
    figures: Figures = {name: alignment_figures(own) for name, own in subsets.items()}
    if seen.any():
        points = np.stack([p for p in found if p is not None])
        truth = np.stack([f.points for f in faces])[seen]
        figures["all, ROI from the detector"] = alignment_figures(errors_98(points, truth))
    plot_ced(bench.out / "wflw_ced.png", subsets, "WFLW test: cumulative error by subset")
    paper = table(
        ["the paper's", "NME %", "FR@0.1 %", "AUC@0.1"],
        [
            [
                name,
                number(p["nme_percent"]),
                number(p.get("fr_percent")),
                number(p.get("auc"), 3),
            ]
            for name, p in PAPER_WFLW.items()
        ],
    )
    return Outcome(figures, f"{alignment_table(figures)}\n\n{paper}")


def wflw_errors(model: Model, faces: list[WflwFace]) -> Errors:
    """Errors with ROIs from the labels, as those of perfect tracking."""
    rois = [roi_from_landmarks(f.points) for f in faces]
    crops = [
        crop(read_rgb(f.image), roi)
        for f, roi in tqdm(zip(faces, rois, strict=True), desc="reading", total=len(faces))
    ]
    found = in_images(model.run(np.stack(crops)), rois)
    return errors_98(found, np.stack([f.points for f in faces]))


def detected_points(bench: Bench, face: WflwFace) -> Array | None:
    """The face's landmarks (98, 2) by way of the detector; None where it finds none."""
    image = read_rgb(face.image)
    roi = detected(bench.detector, image, roi_from_landmarks(face.points))
    return None if roi is None else bench.model.landmarks([image], [roi])[0]


# --- Table 4: ablation -------------------------------------------------------------------


def ablation(bench: Bench, faces: list[WflwFace], run: Path) -> Outcome:
    """The variants that `ablate` trained under ``run``, each exported and scored on WFLW."""
    figures: Figures = {}
    rows = []
    for name, stages in ablate.STAGES_OF.items():
        weights = run / name / "alignment.done.pt"
        if "alignment" not in stages:
            continue
        if not weights.exists():
            raise DatasetError(f"{weights} does not exist: run atpn_training.ablate first")
        folder = bench.out / "ablation" / name / "atpn" / "1"
        export(load_net(weights, name), folder, {})
        own = alignment_figures(wflw_errors(Model.load(folder), faces))
        figures[name] = own
        cells = [number(own["nme_percent"]), number(own["fr_percent"]), number(own["auc"], 3)]
        rows.append([ablate.TITLES[name], *cells, ablate.PAPER[name].nme])
    head = ["WFLW test", "NME %", "FR@0.1 %", "AUC@0.1", "the paper's NME %"]
    return Outcome(figures, table(head, rows))


# --- Tables 6 and 7: 300VW ---------------------------------------------------------------


@dataclass(frozen=True)
class Followed:
    """One video: errors of the frames that were tracked and that the detector saw."""

    tracked: list[tuple[Array, Array]]  # (98, 2) found and (68, 2) annotated
    seen: list[tuple[Array, Array]]
    frames: int  # annotated frames from the first that was tracked
    lost: int  # of those, frames in which the annotated face was not tracked


def follow_video(bench: Bench, video: AnnotatedVideo, limit: int | None) -> Followed:
    """Track a video as the service would, and detect in each frame anew beside it."""
    follower = Follower(bench.model.network, bench.detector)
    tracked, seen, counted, lost = [], [], 0, 0
    shown = tqdm(frames(video.video), desc=f"{video.category} {video.name}", unit="frame")
    for index, image in enumerate(shown):
        if limit is not None and index >= limit:
            break
        step = follower.advance(image)
        if index not in video.annotations:
            continue
        truth = read_pts(video.annotations[index])
        own = [f.landmarks for f in step.faces.values()]
        best = max(own, key=lambda p: overlap(p, truth), default=None)
        if best is not None and overlap(best, truth) > SAME_FACE:
            tracked.append((best, truth))
        elif tracked:
            lost += 1
        counted += bool(tracked)
        roi = detected(bench.detector, image, roi_from_landmarks(truth))
        if roi is not None:
            seen.append((bench.model.landmarks([image], [roi])[0], truth))
    return Followed(tracked, seen, counted, lost)


def overlap(points: Array, others: Array) -> float:
    """IoU of the bounding rectangles of two sets of points."""
    return landmark_box(points).iou(landmark_box(others))


def vw(bench: Bench, videos: list[AnnotatedVideo], limit: int | None = None) -> Outcome:
    """NME by category, tracked and detected, and how often tracking failed."""
    figures: Figures = {}
    rows = []
    for category, paper in PAPER_300VW.items():
        chosen = [v for v in videos if v.category == category]
        if not chosen:
            continue
        done = [follow_video(bench, v, limit) for v in chosen]
        tracked = [pair for d in done for pair in d.tracked]
        seen = [pair for d in done for pair in d.seen]
        counted = sum(d.frames for d in done)
        own: Figures = {
            "videos": len(chosen),
            "frames": counted,
            "tracking": paired_figures(tracked),
            "detection": paired_figures(seen),
            "failure_percent": rounded(100 * sum(d.lost for d in done) / max(1, counted)),
        }
        figures[category] = own
        nmes = [number((own[k] or {}).get("nme_percent")) for k in ("tracking", "detection")]
        rows.append(
            [
                f"300VW {category}",
                str(len(chosen)),
                str(counted),
                *nmes,
                f"{paper['tracking']:.2f} / {paper['detection']:.2f}",
                number(own["failure_percent"]),
                number(paper["failure"]),
            ]
        )
    head = ["category", "videos", "frames", "NME % tracking", "NME % detection", "the paper's"]
    return Outcome(figures, table([*head, "tracking failure %", "the paper's"], rows))


def paired_figures(pairs: list[tuple[Array, Array]]) -> Figures | None:
    """Figures of 98 found against 68 annotated points; None without any."""
    if not pairs:
        return None
    found, truth = (np.stack(side) for side in zip(*pairs, strict=True))
    return alignment_figures(errors_68(found, truth))


# --- Table 8: head pose ------------------------------------------------------------------


def posed_angles(model: Model, faces: list[PosedFace]) -> Angles:
    """The network's angles and the labelled ones, with ROIs from the labelled points."""
    crops = [
        crop(read_rgb(f.image), roi_from_landmarks(f.points))
        for f in tqdm(faces, desc="reading", unit="face")
    ]
    return Angles(model.run(np.stack(crops)).pose, np.stack([f.euler for f in faces]))


def pose(bench: Bench, sets: dict[str, list[PosedFace]]) -> Outcome:
    """Mean absolute error of the three angles and FR@10° of each set."""
    found = {k: pose_figures(posed_angles(bench.model, v)) for k, v in sets.items() if v}
    paper = [
        [name, number(mae), number(failure)]
        for name, (mae, failure) in PAPER_POSE.items()
        if name in sets
    ]
    text = pose_table(found)
    if paper:
        text += "\n\n" + table(["the paper's, 300W-LP test", "mean °", "FR@10° %"], paper)
    return Outcome(found, text)


def posed_sets(root: Path, helen_test: Path | None) -> dict[str, list[PosedFace]]:
    """What of 300W-LP (``300W_LP``) and AFLW2000-3D (``AFLW2000``) lies below ``root``."""
    sets: dict[str, list[PosedFace]] = {}
    if (root / "300W_LP").is_dir():
        sets |= read_300wlp_test(root / "300W_LP", helen_test)
    if (root / "AFLW2000").is_dir():
        sets["AFLW2000-3D"] = read_aflw2000(root / "AFLW2000")
    if not sets:
        raise DatasetError(f"{root} has neither 300W_LP nor AFLW2000")
    return sets


# --- Table 9: face confidence ------------------------------------------------------------


def wider(bench: Bench, images: list[WiderImage], seed: int = 0) -> Outcome:
    """AP of faces wider than 60 px against ten negatives each (IoU below 0.3)."""
    rng = np.random.default_rng(seed)
    positives: list[Images] = []
    negatives: list[Images] = []
    for listed in tqdm(images, desc="reading", unit="image"):
        wide = [b for b, ok in zip(listed.boxes, listed.valid, strict=True) if ok]
        wide = [b for b in wide if b.width > FACE_PX]
        if not wide:
            continue
        image = read_rgb(listed.image)
        positives += [crop(image, roi_from_detection(b)) for b in wide]
        scene = Scene(image, listed.boxes)
        negatives += [scene_negative(rng, scene) for _ in range(NEGATIVES_EACH * len(wide))]
    if not positives:
        raise DatasetError("no picture shows a valid face wider than 60 px")
    scores = Scores(
        bench.model.run(np.stack(positives)).confidence,
        bench.model.run(np.stack(negatives)).confidence,
    )
    figures = confidence_figures(scores)
    plot_precision_recall(bench.out / "wider_pr.png", {"WIDER FACE": scores}, "Face confidence")
    text = confidence_table({"WIDER FACE, faces wider than 60 px": figures})
    return Outcome(figures, f"{text}\n\nThe paper's AP: {PAPER_AP} %")


# --- The command line --------------------------------------------------------------------


def parse() -> argparse.Namespace:
    """The command line."""
    summary = (__doc__ or "").splitlines()[0]
    parser = argparse.ArgumentParser(description=summary)
    commands = parser.add_subparsers(dest="experiment", required=True)
    for name, titles in {
        "wflw": "tables 1 and 3: landmarks on WFLW",
        "ablation": "table 4: the variants of an ablation run, on WFLW",
        "300vw": "tables 6 and 7: tracking on 300VW",
        "pose": "table 8: head pose on 300W-LP and AFLW2000-3D",
        "wider": "table 9: face confidence on WIDER FACE",
    }.items():
        command = commands.add_parser(name, help=titles, description=titles)
        command.add_argument("--root", type=Path, required=True, help="folder of the data set")
        command.add_argument("--out", type=Path, required=True, help="folder for the results")
        command.add_argument("--model", type=Path, default=ARTIFACTS / "atpn" / "1")
        if name == "ablation":
            command.add_argument("--run", type=Path, required=True, help="ablate's --out")
        if name == "300vw":
            command.add_argument("--limit", type=int, help="frames of each video")
        if name == "pose":
            command.add_argument("--helen-test", type=Path, help="names of HELEN's test pictures")
    return parser.parse_args()


def perform(args: argparse.Namespace) -> Outcome:
    """Read the data set and run the experiment that was asked for."""
    root: Path = args.root
    bench = Bench(Model.load(args.model), shipped_detector(), args.out)
    experiments: dict[str, Callable[[], Outcome]] = {
        "wflw": lambda: wflw(bench, read_wflw(root)),
        "ablation": lambda: ablation(bench, read_wflw(root), args.run),
        "300vw": lambda: vw(bench, list(read_300vw(root)), args.limit),
        "pose": lambda: pose(bench, posed_sets(root, args.helen_test)),
        "wider": lambda: wider(bench, read_wider(root)),
    }
    return experiments[args.experiment]()


def main() -> int:
    """Run one experiment, print its table and write it; 1 if the data set is damaged."""
    args = parse()
    cv2.setNumThreads(1)  # small images: handing them to threads costs more than it gains
    try:
        outcome = perform(args)
    except (DatasetError, ValueError) as error:
        print(f"{args.experiment}: {error}", file=sys.stderr)
        return 1
    text = json.dumps(outcome.figures, indent=2, ensure_ascii=False)
    replace_file(args.out / f"{args.experiment}.json", f"{text}\n".encode())
    replace_file(args.out / f"{args.experiment}.md", f"{outcome.text}\n".encode())
    print(outcome.text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
