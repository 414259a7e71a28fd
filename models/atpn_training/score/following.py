"""Tracks the faces of a clip frame by frame by the service's own rules, and measures that."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from atpn.faces.detection import Detector
from atpn.faces.face import Face
from atpn.faces.frame import Followed, follow_frame
from atpn.faces.looking import Detect, drive
from atpn.faces.tracking import Rules, State
from atpn.geometry import Box, roi_from_detection
from atpn.landmarks import LEFT_EYE_OUTER, RIGHT_EYE_OUTER
from atpn_training.data.images import Images
from atpn_training.score.measures import Figures, rounded
from atpn_training.score.served import Runs, seen

VIDEOS = (".mp4", ".mov", ".avi", ".mkv", ".webm")


@dataclass(frozen=True)
class Step:
    """What tracking did with one frame."""

    faces: dict[int, Face]  # by track id
    given_up: int  # tracks that the frame ended
    looked: bool  # whether the detector saw it
    detections: int = 0  # and how many faces it found


def frames(path: Path) -> Iterator[Images]:
    """Frames (H, W, 3) RGB of a video file; ValueError if there is none to read."""
    video = cv2.VideoCapture(str(path))
    count = 0
    try:
        while True:
            ok, frame = video.read()
            if not ok:
                break
            count += 1
            yield cv2.cvtColor(frame, cv2.COLOR_BGR2RGB).astype(np.uint8, copy=False)
    finally:
        video.release()
    if count == 0:
        raise ValueError(f"{path} is not a video that can be read")


@dataclass
class Follower:
    """A stream without a socket: drives the very steps that the service drives."""

    network: Runs
    detector: Detector
    rules: Rules = field(default_factory=Rules)
    state: State = field(default_factory=State)

    def follow(self, image: Images) -> Followed:
        """What the next frame shows; it is not remembered."""
        height, width = image.shape[:2]
        now = replace(self.state, seq=self.state.seq + 1)
        return drive(
            follow_frame(now, width, height, self.rules),
            partial(seen, self.network, image),
            partial(self._search, image),
        )

    def advance(self, image: Images) -> Step:
        """Track one frame."""
        followed = self.follow(image)
        self.state = followed.state
        looked = followed.found is not None
        return Step(followed.faces, followed.given_up, looked, followed.found or 0)

    def _search(self, image: Images, asked: Detect) -> list[Box]:
        found = self.detector.search(image, asked.small, asked.unsure)
        return [roi_from_detection(one.box) for one in found]


def follow(network: Runs, detector: Detector, clip: Iterable[Images]) -> list[Step]:
    """Track a whole clip."""
    follower = Follower(network, detector)
    return [follower.advance(image) for image in clip]


# --- Measures ----------------------------------------------------------------------------


def tracking_figures(steps: list[Step]) -> Figures:
    """How well a clip was tracked, from the first frame with a face on.

    ``lost_percent`` is the share of frames without any face, ``given_up_per_1000`` how often in
    1000 frames a tracked face was given up (and the detector asked), ``jitter_percent`` see
    `jitter`.
    """
    first = next((i for i, s in enumerate(steps) if s.faces), None)
    if first is None:
        return {"frames": len(steps), "first": None}
    after = steps[first:]
    shaking = jitter(after)
    return {
        "frames": len(steps),
        "first": first,
        "lost_percent": rounded(100 * float(np.mean([not s.faces for s in after]))),
        "given_up_per_1000": rounded(1000 * sum(s.given_up for s in after) / len(after)),
        "detector_percent": rounded(100 * float(np.mean([s.looked for s in after]))),
        "jitter_percent": None if shaking is None else rounded(100 * shaking),
    }


def jitter(steps: list[Step]) -> float | None:
    """How much landmarks shake, in inter-ocular distances; None where no face stays.

    The distance of each landmark from the middle of its places one frame before and after: even
    motion does not count. Mean over the landmarks, median over frames and faces.
    """
    shaking = []
    for before, now, after in zip(steps, steps[1:], steps[2:], strict=False):
        for track_id in before.faces.keys() & now.faces.keys() & after.faces.keys():
            a, p, b = (s.faces[track_id].landmarks for s in (before, now, after))
            scale = float(np.linalg.norm(p[LEFT_EYE_OUTER] - p[RIGHT_EYE_OUTER]))
            off = np.linalg.norm(p - (a + b) / 2, axis=-1).mean()
            shaking.append(float(off) / max(scale, 1.0))
    return float(np.median(shaking)) if shaking else None


def lingering(steps: list[Step], present: NDArray[np.bool_]) -> Figures:
    """What is tracked after the last frame that shows a face, as ``present`` (frames,) says.

    ``lingered_frames`` counts the frames at once after it in which a face is still tracked,
    ``false_frames`` all of them.
    """
    shown = np.flatnonzero(present)
    rest = [bool(s.faces) for s in steps[int(shown[-1]) + 1 if shown.size else 0 :]]
    at_once = rest.index(False) if False in rest else len(rest)
    return {"faceless_frames": len(rest), "lingered_frames": at_once, "false_frames": sum(rest)}
