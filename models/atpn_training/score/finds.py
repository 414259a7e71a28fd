"""Which faces a photograph's search misses, and what it takes for a face.

    python -m atpn_training.score.finds --data DATA [--model models/artifacts/atpn/1]

One row for what the detector is sure of, and one for each share of its threshold that may be a face
where the network is confident enough (`atpn.faces.detection.UNSURE` and `SURE`). On the faces of
the validation split, and on all photographs without one: nine in ten of those were the network's
negatives in training.
"""

import argparse
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from atpn.faces import detection
from atpn.faces.detection import Detector
from atpn.geometry import Box, crop, landmark_box, roi_from_detection
from atpn_training.artefacts.files import ARTIFACTS
from atpn_training.data.faces import load_faces
from atpn_training.data.images import Images
from atpn_training.data.scenes import load_backgrounds
from atpn_training.score.served import Model, shipped_detector

SHARES, CONFIDENCES = (0.45, 0.6, 0.75), (0.5, 0.9, 0.97)
LEAST = 0.5  # confidence of a face that the detector is sure of: the service's setting
SAME = 0.3  # IoU of the landmarks' box and a detector's


@dataclass(frozen=True)
class Seen:
    """What may be faces of one photograph: boxes, scores, confidences."""

    boxes: list[Box]
    scores: list[float]
    confidences: list[float]

    def told(self, threshold: float, least: float) -> list[Box]:
        """The boxes of that score and confidence."""
        rows = zip(self.boxes, self.scores, self.confidences, strict=True)
        return [box for box, score, sure in rows if score >= threshold and sure >= least]

    def answered(self, threshold: float, share: float, least: float) -> list[Box]:
        """As /align answers; ``share`` 1: the sure ones alone."""
        return self.told(threshold, LEAST) or self.told(share * threshold, least)


def look(detector: Detector, model: Model, image: Images) -> Seen:
    """All that scores as much as the smallest share."""
    found = detector.detect(image)
    if not found:
        found = detector.detect_unsure(image)
    boxes = [one.box for one in found]
    crops = [crop(image, roi_from_detection(box)) for box in boxes]
    sure = model.network.run(np.stack(crops)).confidence.tolist() if crops else []
    return Seen(boxes, [one.score for one in found], sure)


def rows(
    threshold: float, faces: list[tuple[Seen, Box, str]], others: list[Seen]
) -> Iterator[tuple[str, int, int, str]]:
    """Name, faces that were missed, photographs with a face too many, missed ones by source."""
    rules = [(1.0, LEAST), *((s, c) for s in SHARES for c in CONFIDENCES)]
    for share, least in rules:
        missed = Counter(
            source
            for seen, box, source in faces
            if all(b.iou(box) <= SAME for b in seen.answered(threshold, share, least))
        )
        wrong = sum(bool(seen.answered(threshold, share, least)) for seen in others)
        name = "sure alone" if share == 1 else f"{share:g} of the threshold, {least:g}"
        parts = ", ".join(f"{source} {count}" for source, count in missed.most_common())
        yield name, missed.total(), wrong, parts


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with faces.csv")
    parser.add_argument("--model", type=Path, default=ARTIFACTS / "atpn/1")
    args = parser.parse_args()
    model, detector = Model.load(args.model), shipped_detector()
    detection.UNSURE = min(SHARES)
    known = load_faces(args.data, "val")
    known = known.where(known.source != "pointing04")
    faces = [
        (look(detector, model, image), landmark_box(points), str(source))
        for image, points, source in zip(
            tqdm(known.images, desc="faces"), known.teacher, known.source, strict=True
        )
    ]
    others = [look(detector, model, image) for image in load_backgrounds(args.data)]
    print(f"| may be a face | of {len(faces)} faces missed | of {len(others)} others told | by |")
    print("|---|---:|---:|---|")
    for name, missed, wrong, parts in rows(detector.threshold, faces, others):
        print(f"| {name} | {missed} | {wrong} | {parts} |")


if __name__ == "__main__":
    main()
