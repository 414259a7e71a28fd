"""Which quick search may stand before the detector's thorough one: a table of sizes and shares.

    python -m atpn_training.score.searches --data DATA [--clips FOLDER]

Per candidate: how many images it decides alone, what the thorough search would have found there
besides, what it finds besides, and CPU milliseconds an image of both in its place.
"""

import argparse
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np

from atpn.faces import detection
from atpn.faces.detection import Detection, Detector
from atpn_training.data.images import Images, read_rgb
from atpn_training.score.served import shipped_detector

T = TypeVar("T")

SIDES, SHARES = (192, 224, 256, 288, 320), (0.10, 0.14, 0.18, 0.22)
SAME = 0.4  # IoU of boxes of one face
CLIP_FRAMES = 14  # of each clip


@dataclass(frozen=True)
class Outcome:
    """What one candidate does on a set of images."""

    decided: int
    missed: int
    extra: int
    ms: float


def timed(work: Callable[[], T]) -> tuple[T, float]:
    """The result and CPU milliseconds."""
    started = time.thread_time()
    return work(), 1000 * (time.thread_time() - started)


def unmatched(faces: list[Detection], others: list[Detection]) -> int:
    """How many of ``faces`` are not among the others."""
    return sum(all(face.box.iou(o.box) <= SAME for o in others) for face in faces)


def judged(
    detector: Detector, images: list[Images], thorough: list[tuple[list[Detection], float]]
) -> Outcome:
    """The candidate that `detection.QUICK_SIDE` and `detection.LARGE` say."""
    decided = missed = extra = 0
    spent = 0.0
    for image, (known, full_ms) in zip(images, thorough, strict=True):
        small = detection.shrink_quickly(image, detection.QUICK_SIDE)
        found, ms = timed(lambda: detector._detect(image, small, detector.threshold))  # noqa: B023
        least = detection.LARGE * max(image.shape[:2])
        alone = found and min(min(f.box.width, f.box.height) for f in found) >= least
        spent += ms if alone else ms + full_ms
        if alone:
            decided += 1
            missed += unmatched(known, found)
            extra += unmatched(found, known)
    return Outcome(decided, missed, extra, spent / max(1, len(images)))


def frames_of(folder: Path) -> Iterator[Images]:
    """A few frames of each clip."""
    for path in sorted(folder.iterdir()):
        video = cv2.VideoCapture(str(path))
        count = int(video.get(cv2.CAP_PROP_FRAME_COUNT))
        for at in np.linspace(0, max(0, count - 2), CLIP_FRAMES).astype(int):
            video.set(cv2.CAP_PROP_POS_FRAMES, int(at))
            ok, frame = video.read()
            if ok:
                yield cv2.cvtColor(frame, cv2.COLOR_BGR2RGB).astype(np.uint8, copy=False)
        video.release()


def table(name: str, images: list[Images]) -> list[str]:
    """A Markdown table of all candidates on a set of images."""
    detector = shipped_detector()
    thorough = [timed(lambda: detector.detect(image)) for image in images]  # noqa: B023
    faces, alone_ms = sum(len(f) for f, _ in thorough), np.mean([ms for _, ms in thorough])
    lines = [
        f"\n{name}: {len(images)} images, {faces} faces, thorough alone {alone_ms:.2f} ms\n",
        "| longest side | least share | decided alone | missed | extra | ms |",
        "|---:|---:|---:|---:|---:|---:|",
    ]
    for side in SIDES:
        for share in SHARES:
            detection.QUICK_SIDE, detection.LARGE = side, share
            o = judged(detector, images, thorough)
            lines.append(
                f"| {side} | {share} | {o.decided} | {o.missed} | {o.extra} | {o.ms:.2f} |"
            )
    return lines


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with scenes, background")
    parser.add_argument("--clips", type=Path, help="folder of videos")
    args = parser.parse_args()
    cv2.setNumThreads(1)
    for name in ("scenes", "background"):
        images = [read_rgb(path) for path in sorted((args.data / name).glob("*.jpg"))]
        print("\n".join(table(name, images)))
    if args.clips is not None:
        print("\n".join(table("clips", list(frames_of(args.clips)))))


if __name__ == "__main__":
    main()
