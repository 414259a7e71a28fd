"""One photograph, encoded, to the faces on it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from atpn.engine.lanes import Priority
from atpn.errors import InvalidBox
from atpn.faces.detection import SURE
from atpn.faces.encoded_image import EncodedImage
from atpn.faces.face import Face
from atpn.faces.looking import Steps, detect, look
from atpn.faces.pipeline import Job, Pipeline, Timings
from atpn.faces.second_look import look_four_times, look_twice
from atpn.geometry import Box, roi_from_detection, roi_from_landmark_box, squared
from atpn.settings import Settings

BoxKind = Literal["detector", "landmarks", "roi"]
Quality = Literal["normal", "best"]
BEST_LOOKS = 4  # at each face where the best is wanted
#: What the network is to see of a given box, by what the box is: a detector's, from the forehead to
#: the chin; the bounding rectangle of landmarks; or just what the network is to see.
ROI_OF: dict[BoxKind, Callable[[Box], Box]] = {
    "detector": roi_from_detection,
    "landmarks": roi_from_landmark_box,
    "roi": squared,
}


@dataclass(frozen=True)
class Photograph:
    """An encoded image, and which of its faces are wanted."""

    data: bytes
    boxes: list[Box] | None = None  # None: look for faces
    boxes_are: BoxKind = "detector"
    max_faces: int | None = None  # best first; None: as the settings say
    min_confidence: float | None = None  # None: as the settings say; of given boxes all are kept
    whole: bool = False  # decode it at its own size, for drawing
    quality: Quality = "normal"
    pose: bool = True  # head poses are wanted

    @property
    def looks(self) -> int:
        """How many runs of the network are expected: what it takes of the queue."""
        faces = 1 if self.boxes is None else len(self.boxes)
        return faces * BEST_LOOKS if self.quality == "best" else faces


@dataclass(frozen=True)
class Seen:
    """A photograph's faces, and what it took to find them."""

    image: EncodedImage
    faces: list[Face]
    timings: Timings


async def look_at(
    pipeline: Pipeline, photo: Photograph, timeout_s: float, priority: Priority, route: str
) -> Seen:
    """Decode, find and align. Raises what `Pipeline.do` raises, and InvalidBox."""
    settings, metrics = pipeline.settings, pipeline.metrics
    job = Job(
        photo.data,
        lambda width, height: find_faces(photo, width, height, settings),
        photo.looks,
        photo.whole,
        photo.pose,
    )
    done = await pipeline.do(job, timeout_s, priority)
    metrics.faces.labels(route).inc(len(done.value))
    metrics.looked_at(route, done.image.decode_s, done.image.detect_s)
    return Seen(done.image, done.value, done.timings)


def find_faces(photo: Photograph, width: int, height: int, settings: Settings) -> Steps[list[Face]]:
    """The faces of a photograph of that size, as its request and the settings want them."""
    rois, least = yield from _regions(photo, width, height, settings)
    most = len(rois)
    if photo.boxes is None:
        most = min(photo.max_faces or most, settings.max_faces)
    faces = yield from _looked_at(rois[:most], least, photo, settings)
    if len(faces) < most:  # the network does not see what the detector was sure of
        faces += yield from _looked_at(rois[most : settings.max_faces], least, photo, settings)
    return faces[:most]


def _looked_at(
    rois: list[Box], least: float, photo: Photograph, settings: Settings
) -> Steps[list[Face]]:
    """Those that are sure enough."""
    if photo.quality == "best":
        faces = yield from look_four_times(rois)
    else:
        faces = yield from (look_twice(rois) if settings.second_look else look(rois))
    return [face for face in faces if face.confidence >= least]


def _regions(
    photo: Photograph, width: int, height: int, settings: Settings
) -> Steps[tuple[list[Box], float]]:
    """The ROIs to look at, best first, and the least confidence that a face there must have."""
    if photo.boxes is not None:
        check_inside(photo.boxes, width, height)
        return [ROI_OF[photo.boxes_are](box) for box in photo.boxes], photo.min_confidence or 0.0
    least = settings.min_confidence if photo.min_confidence is None else photo.min_confidence
    rois = yield from detect()
    if not rois:  # the network may be sure of a face where the detector is not
        rois, least = (yield from detect(unsure=True)), max(least, SURE)
    return rois, least


def check_inside(boxes: list[Box], width: int, height: int) -> None:
    """InvalidBox if one lies wholly outside the image or is far larger than it."""
    image = Box(0, 0, width, height)
    for i, box in enumerate(boxes):
        if image.iou(box) == 0:
            raise InvalidBox(f"boxes[{i}]: lies outside the image of {width}x{height} pixels")
        if max(box.width, box.height) > 4 * max(width, height):
            raise InvalidBox(f"boxes[{i}]: far larger than the image of {width}x{height} pixels")
