"""What is answered about a photograph or a frame: plain dicts, as `schemas` describes them."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from atpn.engine.inference import ModelFile
from atpn.faces.face import Face
from atpn.faces.person import Person
from atpn.faces.photographs import Seen
from atpn.faces.pipeline import Timings
from atpn.faces.signals import AVERAGE, Eye, Signals, measured, signals_of
from atpn.faces.smoothing import Smoother
from atpn.faces.stream import FrameResult
from atpn.faces.tracking import Track
from atpn.geometry import Array, Box
from atpn.landmarks import subset

Payload = dict[str, Any]


@dataclass(frozen=True)
class View:
    """What an answer tells of each face."""

    points: int | None = 98  # 98, 68 or 5; None: no landmarks
    pose: bool = True
    smoothing: bool = False  # of a stream's landmarks, told beside them
    signals: bool = False  # of a photograph; a stream's are made with its frames

    @property
    def needs_pose(self) -> bool:
        """Signals are measured on faces that are turned to the camera."""
        return self.pose or self.signals


def box_payload(box: Box) -> list[float]:
    """[x0, y0, x1, y1] in hundredths of a pixel."""
    return [round(v, 2) for v in (box.x0, box.y0, box.x1, box.y1)]


def points_payload(landmarks: Array, count: int) -> list[list[float]]:
    """98, 68 or 5 of (98, 2) landmarks as [x, y] in hundredths of a pixel."""
    points = subset(landmarks, count).astype(np.float64)
    return points.round(2).tolist()  # type: ignore[no-any-return]


def pose_payload(face: Face) -> Payload:
    """Degrees and the rotation matrix."""
    yaw, pitch, roll = (round(float(a), 2) for a in np.degrees(face.pose))
    rotation = face.rotation.round(5).tolist()
    return {"yaw": yaw, "pitch": pitch, "roll": roll, "rotation": rotation}


def signals_payload(signals: Signals) -> Payload:
    """Thousandths; None where something is turned away."""
    return {
        "left_eye": eye_payload(signals.left_eye),
        "right_eye": eye_payload(signals.right_eye),
        "mouth_open": thousandths(signals.mouth_open),
        "smile": thousandths(signals.smile),
        "brow_raise": thousandths(signals.brow_raise),
    }


def blinks_payload(person: Person, signals: Signals) -> Payload:
    """How often the eyes closed and opened again, the last time, and for how long they are closed.

    Seconds before the frame that is answered, in thousandths.
    """
    last, closed = person.last, person.closed
    seen = signals.left_eye.open is not None or signals.right_eye.open is not None
    return {
        "count": person.blinks,
        "closed_s": thousandths((person.at_s - closed.at_s if closed else 0.0) if seen else None),
        "last": None
        if last is None
        else {
            "seq": last.seq,
            "ago_s": max(0.0, round(person.at_s - last.at_s, 3)),  # clocks are set back, too
            "length_s": round(last.length_s, 3),
        },
    }


def eye_payload(eye: Eye) -> Payload:
    """How open it is, and where its pupil stands."""
    pupil = None if eye.pupil is None else [thousandths(v) for v in eye.pupil]
    return {"open": thousandths(eye.open), "pupil": pupil}


def thousandths(value: float | None) -> float | None:
    """Rounded, where there is one."""
    return None if value is None else round(value, 3)


def face_payload(face: Face, view: View) -> Payload:
    """A face, as much of it as the view shows."""
    payload: Payload = {
        "box": box_payload(face.box),
        "confidence": round(face.confidence, 4),
    }
    if view.points is not None:
        payload["landmarks"] = points_payload(face.landmarks, view.points)
    if view.pose:
        payload["pose"] = pose_payload(face)
    return payload


def milliseconds(timings: Timings) -> Payload:
    """Timings for the wire."""
    seconds = {
        "decode": timings.decode_s,
        "detect": timings.detect_s,
        "queue": timings.queue_s,
        "inference": timings.inference_s,
    }
    return {name: round(1000 * value, 3) for name, value in seconds.items()}


def photo_payload(model: ModelFile, view: View, seen: Seen) -> Payload:
    """The body of an answer about one photograph."""
    return {
        "faces": [photo_face_payload(face, view) for face in seen.faces],
        "image": {"width": seen.image.width, "height": seen.image.height},
        "model": {"name": model.name, "version": model.version},
        "ms": milliseconds(seen.timings),
    }


def photo_face_payload(face: Face, view: View) -> Payload:
    """A face of a photograph: its signals are those beside the average face."""
    payload = face_payload(face, view)
    if view.signals:
        ratios = measured(face.landmarks, face.rotation)
        payload["signals"] = signals_payload(signals_of(ratios, AVERAGE))
    return payload


def frame_payload(result: FrameResult, skipped: int, view: View) -> Payload:
    """The ``frame`` message."""
    return {
        "type": "frame",
        "seq": result.seq,
        "state": result.state,
        "dropped": skipped,
        "image": {"width": result.width, "height": result.height},
        "faces": [
            tracked_face_payload(track, face, result.signals.get(track.track_id), view)
            for track, face in result.faces
        ],
        "ms": milliseconds(result.timings),
    }


def add_smoothed(payload: Payload, result: FrameResult, smoother: Smoother, view: View) -> None:
    """Add ``smoothed`` to each face of ``payload``, the ``frame`` message of ``result``."""
    seen = [(track.track_id, face.landmarks, face.roi.width) for track, face in result.faces]
    smoothed = smoother(seen, result.at_s, (result.width, result.height))
    for fields, points in zip(payload["faces"], smoothed, strict=True):
        fields["smoothed"] = points_payload(points, view.points or 98)


def tracked_face_payload(track: Track, face: Face, signals: Signals | None, view: View) -> Payload:
    """A face of a frame; with its signals where there are."""
    payload: Payload = {
        "track_id": track.track_id,
        "generation": track.generation,
        "roi": box_payload(face.roi),
        "roi_angle": round(float(np.degrees(face.roi.angle)), 2),
    }
    payload |= face_payload(face, view)
    if signals is not None and track.person is not None:
        blinks = blinks_payload(track.person, signals)
        payload["signals"] = signals_payload(signals) | {"blinks": blinks}
    return payload
