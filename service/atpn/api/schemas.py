"""The wire format of answers, for the documentation; `answers` makes them, as plain dicts."""

from pydantic import BaseModel, Field


class Pose(BaseModel):
    """Head pose: degrees, and the rotation matrix R = Rx(-pitch) Ry(yaw) Rz(roll)."""

    yaw: float = Field(description="degrees; positive: the nose points to the image's left")
    pitch: float = Field(description="degrees; positive: the nose points up")
    roll: float = Field(description="degrees; positive: the head is turned clockwise on the image")
    rotation: list[list[float]] = Field(
        description="3x3, camera axes x right, y down, z away; identity looks into the camera"
    )


class EyeSignals(BaseModel):
    """One eye; left and right are those of the image."""

    open: float | None = Field(description="0 closed, 1 open; null: turned away")
    pupil: tuple[float, float] | None = Field(
        description="x, y of the pupil from the middle between the eye's corners in halves of the "
        "eye's width: x -1 the left corner, 1 the right one, y down; null: turned away or covered"
    )


class Signals(BaseModel):
    """What the face does, each from 0 to 1; null where it is turned away."""

    left_eye: EyeSignals
    right_eye: EyeSignals
    mouth_open: float | None = Field(description="1: as high as it is wide")
    smile: float | None
    brow_raise: float | None


class FaceAnswer(BaseModel):
    """One face, in pixels of the image after EXIF orientation (origin top-left, y down)."""

    box: tuple[float, float, float, float] = Field(description="landmark rectangle x0, y0, x1, y1")
    confidence: float = Field(description="probability that this is a face, 0 to 1")
    landmarks: list[tuple[float, float]] | None = Field(None, description="x, y of each point")
    pose: Pose | None = None
    signals: Signals | None = None


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
