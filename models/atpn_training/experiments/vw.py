"""Tables 6 and 7: tracking on 300VW."""

from dataclasses import dataclass

import numpy as np
from tqdm import tqdm

from atpn.geometry import landmark_box, roi_from_landmarks
from atpn_training.data.datasets import (
    AnnotatedVideo,
    read_pts,
)
from atpn_training.data.images import Array
from atpn_training.experiments.bench import Bench, Outcome
from atpn_training.score.card import number, table
from atpn_training.score.following import Follower, frames
from atpn_training.score.measures import (
    Figures,
    alignment_figures,
    errors_68,
    rounded,
)
from atpn_training.score.served import detected

SAME_FACE = 0.3  # IoU of a tracked face's box and the annotation's

#: Xia et al., tables 6 and 7.
PAPER_300VW = {
    "A": {"tracking": 3.52, "detection": 3.49, "failure": 0.14},
    "B": {"tracking": 3.64, "detection": 3.57, "failure": 0.00},
    "C": {"tracking": 4.99, "detection": 4.89, "failure": 0.08},
}


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
