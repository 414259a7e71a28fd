"""Table 8: head pose on 300W-LP and AFLW2000-3D."""

from pathlib import Path

import numpy as np
from tqdm import tqdm

from atpn.geometry import crop, roi_from_landmarks
from atpn_training.data.datasets import (
    DatasetError,
    PosedFace,
    read_300wlp_test,
    read_aflw2000,
)
from atpn_training.data.images import read_rgb
from atpn_training.experiments.bench import Bench, Outcome
from atpn_training.score.card import number, pose_table, table
from atpn_training.score.measures import (
    Angles,
    pose_figures,
)
from atpn_training.score.served import Model

PAPER_POSE = {"common": (1.55, 0.12), "challenging": (2.84, 1.49)}  # MAE °, FR@10° %


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
