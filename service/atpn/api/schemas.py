"""The wire format of answers: pydantic models for the documentation, plain dicts for speed."""

from typing import Any

import numpy as np
from pydantic import BaseModel, Field

from atpn.errors import AtpnError
from atpn.faces.pipeline import Aligned, Face
from atpn.geometry import Array, Box
from atpn.landmarks import subset

Payload = dict[str, Any]


class Pose(BaseModel):
    """Head pose: degrees, and the rotation matrix R = Rx(-pitch) Ry(yaw) Rz(roll)."""

    yaw: float = Field(description="degrees; positive: the nose points to the image's left")
    pitch: float = Field(description="degrees; positive: the nose points up")
    roll: float = Field(description="degrees; positive: the head is turned clockwise on the image")
    rotation: list[list[float]] = Field(
        description="3x3, camera axes x right, y down, z away; identity looks into the camera"
    )


class FaceAnswer(BaseModel):
    """One face, in pixels of the image after EXIF orientation (origin top-left, y down)."""

    box: tuple[float, float, float, float] = Field(description="landmark rectangle x0, y0, x1, y1")
    confidence: float = Field(description="probability that this is a face, 0 to 1")
    landmarks: list[tuple[float, float]] | None = Field(None, description="x, y of each point")
    pose: Pose | None = None


class Size(BaseModel):
    """Pixels of the image after EXIF orientation."""

    width: int
    height: int


class Model(BaseModel):
    """Which weights answered."""

    name: str
    version: str


class Milliseconds(BaseModel):
    """Where the time went on the server."""

    decode: float
    detect: float = Field(description="0 where boxes were given")
    queue: float
    inference: float


class Answer(BaseModel):
    """What /align and /pose answer."""

    faces: list[FaceAnswer] = Field(description="empty where no face was found")
    image: Size
    model: Model
    ms: Milliseconds


class Problem(BaseModel):
    """An error (RFC 9457), as application/problem+json."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    code: str = Field(description="stable; switch on this one")
    request_id: str | None = None


class Failed(BaseModel):
    """The place of an image that could not be answered."""

    error: Problem


class BatchAnswer(BaseModel):
    """What /align/batch answers."""

    results: list[Answer | Failed] = Field(description="one per image, in their order")


#: What the service answers about the README's photograph with ``points=5&include=pose``.
ANSWER_EXAMPLE: Payload = {
    "faces": [
        {
            "box": [179.77, 87.13, 272.77, 178.74],
            "confidence": 1.0,
            "landmarks": [
                [204.19, 100.77],
                [246.52, 103.27],
                [224.22, 129.54],
                [201.59, 138.99],
                [245.45, 141.25],
            ],
            "pose": {
                "yaw": 0.33,
                "pitch": -10.65,
                "roll": 2.98,
                "rotation": [
                    [0.99863, -0.05204, 0.00583],
                    [0.05222, 0.98139, -0.1848],
                    [0.0039, 0.18485, 0.98276],
                ],
            },
        }
    ],
    "image": {"width": 512, "height": 512},
    "model": {"name": "atpn", "version": "1"},
    "ms": {"decode": 2.588, "detect": 14.901, "queue": 0.119, "inference": 4.072},
}
PROBLEM_EXAMPLE: Payload = {
    "type": "about:blank",
    "title": "Invalid box",
    "status": 422,
    "detail": "boxes[0]: x1 must be at least x0 + 1 and y1 at least y0 + 1",
    "code": "invalid_box",
    "request_id": "5f0c9f9a3c1d4f0e8f1b2a3c4d5e6f70",
}


def problem_payload(error: AtpnError) -> Payload:
    """The members of an error's problem document that do not depend on a request."""
    return {
        "type": "about:blank",
        "title": error.title,
        "status": error.status,
        "detail": error.detail,
        "code": error.code,
    }


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


def face_payload(face: Face, points: int | None, pose: bool) -> Payload:
    """A face; without landmarks where ``points`` is None, without pose unless asked for."""
    payload: Payload = {
        "box": box_payload(face.box),
        "confidence": round(face.confidence, 4),
    }
    if points is not None:
        payload["landmarks"] = points_payload(face.landmarks, points)
    if pose:
        payload["pose"] = pose_payload(face)
    return payload


def milliseconds(decode_s: float, detect_s: float, aligned: Aligned) -> Payload:
    """Timings for the wire."""
    seconds = {
        "decode": decode_s,
        "detect": detect_s,
        "queue": aligned.timings.queue_s,
        "inference": aligned.timings.inference_s,
    }
    return {name: round(1000 * value, 3) for name, value in seconds.items()}
