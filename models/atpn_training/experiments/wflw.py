"""Tables 1, 3 and 4: landmarks on WFLW's test faces, and the ablation's variants there."""

from pathlib import Path

import numpy as np
from tqdm import tqdm

from atpn.geometry import crop, roi_from_landmarks
from atpn_training.artefacts.export import export
from atpn_training.data.datasets import (
    ATTRIBUTES,
    DatasetError,
    WflwFace,
)
from atpn_training.data.images import Array, read_rgb
from atpn_training.experiments.bench import Bench, Outcome
from atpn_training.score.card import alignment_table, number, table
from atpn_training.score.measures import (
    Errors,
    Figures,
    alignment_figures,
    errors_98,
)
from atpn_training.score.plots import plot_ced
from atpn_training.score.served import Model, detected, in_images
from atpn_training.train import ablate
from atpn_training.train.checkpoint import load_net

#: Xia et al., tables 1 and 3.
PAPER_WFLW: dict[str, Figures] = {
    "all": {"nme_percent": 5.13, "fr_percent": 6.27, "auc": 0.557},
    "pose": {"nme_percent": 8.97},
    "expression": {"nme_percent": 5.49},
    "illumination": {"nme_percent": 4.95},
    "make-up": {"nme_percent": 4.94},
    "occlusion": {"nme_percent": 6.30},
    "blur": {"nme_percent": 5.78},
}


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


def ablation(bench: Bench, faces: list[WflwFace], run: Path) -> Outcome:
    """The variants that `ablate` trained under ``run``, each exported and scored on WFLW."""
    figures: Figures = {}
    rows = []
    for name, stages in ablate.STAGES_OF.items():
        weights = run / name / "alignment.done.pt"
        if "alignment" not in stages:
            continue
        if not weights.exists():
            raise DatasetError(f"{weights} does not exist: run atpn_training.train.ablate first")
        folder = bench.out / "ablation" / name / "atpn" / "1"
        export(load_net(weights), folder, {})
        own = alignment_figures(wflw_errors(Model.load(folder), faces))
        figures[name] = own
        cells = [number(own["nme_percent"]), number(own["fr_percent"]), number(own["auc"], 3)]
        rows.append([ablate.TITLES[name], *cells, ablate.PAPER[name].nme])
    head = ["WFLW test", "NME %", "FR@0.1 %", "AUC@0.1", "the paper's NME %"]
    return Outcome(figures, table(head, rows))
