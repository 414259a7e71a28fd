"""One photograph, encoded, to the faces that a request wants to be told about."""

import asyncio
import time
from dataclasses import dataclass

from atpn.api.schemas import Payload, face_payload, milliseconds
from atpn.api.uploads import Upload, check_inside
from atpn.core import Core
from atpn.engine.batching import Priority
from atpn.errors import DeadlineExceeded
from atpn.faces.images import Picture
from atpn.faces.pipeline import Aligned, Face, Prepared
from atpn.geometry import Box, roi_from_detection


@dataclass(frozen=True)
class Wanted:
    """What a request asks to be told about each face."""

    points: int | None
    pose: bool
    max_faces: int | None
    min_confidence: float | None
    drawn: bool = False  # the picture itself is answered, with the faces drawn in it


@dataclass(frozen=True)
class Seen:
    """A photograph's faces, and what it took to find them."""

    picture: Picture
    faces: list[Face]
    decode_s: float
    detect_s: float  # 0 where boxes were given
    aligned: Aligned

    @property
    def ms(self) -> dict[str, float]:
        """Where the time went, in milliseconds."""
        return milliseconds(self.decode_s, self.detect_s, self.aligned)


async def look(
    core: Core, upload: Upload, wanted: Wanted, timeout_s: float, priority: Priority, route: str
) -> Seen:
    """Decode, find and align; everything that a client who hangs up no longer wants.

    Raises what decoding, `check_inside` and the batcher raise, and DeadlineExceeded.
    """
    settings = core.settings
    prepared, aligned = await _aligned(core, upload, wanted, timeout_s, priority)
    least = wanted.min_confidence
    if least is None:
        least = settings.min_confidence if upload.boxes is None else 0.0
    faces = [f for f in aligned.faces if f.confidence >= least]
    core.metrics.faces.labels(route).inc(len(faces))
    core.metrics.decode_seconds.observe(prepared.decode_s)
    if upload.boxes is None:
        core.metrics.detected(route, prepared.find_s)
    return Seen(
        picture=prepared.picture,
        faces=faces,
        decode_s=prepared.decode_s,
        detect_s=prepared.find_s if upload.boxes is None else 0.0,
        aligned=aligned,
    )


async def _aligned(
    core: Core, upload: Upload, wanted: Wanted, timeout_s: float, priority: Priority
) -> tuple[Prepared, Aligned]:
    deadline = time.monotonic() + timeout_s
    look = core.aligner.align_twice if core.settings.second_look else core.aligner.align
    try:
        async with asyncio.timeout(timeout_s):
            prepared = await _prepared(core, upload, wanted)
            left_s = deadline - time.monotonic()
            return prepared, await look(prepared, left_s, priority)
    except TimeoutError:
        raise DeadlineExceeded(f"not finished within {timeout_s:g} s") from None


async def _prepared(core: Core, upload: Upload, wanted: Wanted) -> Prepared:
    """Crops of the given boxes, or of what the detector finds."""
    boxes, most = upload.boxes, core.settings.max_faces
    if boxes is None:
        most = min(wanted.max_faces or most, most)
        return await core.aligner.search(upload.data, most, wanted.drawn)

    def given(width: int, height: int) -> list[Box]:
        check_inside(boxes, width, height)
        return [roi_from_detection(box) for box in boxes]

    return await core.aligner.prepare(upload.data, given, wanted.drawn)


def answer_payload(core: Core, wanted: Wanted, seen: Seen) -> Payload:
    """The body of an answer about one photograph."""
    return {
        "faces": [face_payload(f, wanted.points, wanted.pose) for f in seen.faces],
        "image": {"width": seen.picture.width, "height": seen.picture.height},
        "model": {"name": core.model.name, "version": core.model.version},
        "ms": seen.ms,
    }
