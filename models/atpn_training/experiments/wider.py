"""Table 9: face confidence on WIDER FACE."""

import numpy as np
from tqdm import tqdm

from atpn.geometry import crop, roi_from_detection
from atpn_training.data.datasets import (
    DatasetError,
    WiderImage,
)
from atpn_training.data.images import Images, read_rgb
from atpn_training.data.negatives import FACE_PX, scene_negative
from atpn_training.data.scenes import Scene
from atpn_training.experiments.bench import Bench, Outcome
from atpn_training.score.card import confidence_table
from atpn_training.score.measures import (
    Scores,
    confidence_figures,
)
from atpn_training.score.plots import plot_precision_recall

NEGATIVES_EACH = 10  # negatives for each positive (section 4.1)
PAPER_AP = 98.82


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
