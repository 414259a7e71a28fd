"""What the service answered, as typed frozen objects with numpy arrays inside.

Coordinates are pixels of the image after EXIF orientation: origin top-left, x right, y down.
Arrays are read-only; ``answer`` is what the service sent.
"""

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from atpn.client.errors import ServiceError
from atpn.client.parts import NotAsked, Payload, shown
from atpn.client.pictures import Picture, Pixels, pixels
from atpn.client.signals import Signals
from atpn.extras import needs
from atpn.landmarks import to_5, to_68

Array = NDArray[np.float32]
A = TypeVar("A", bound=NDArray[Any])


class Box(NamedTuple):
    """A rectangle in pixels; may reach beyond the image."""

    x0: float
    y0: float
    x1: float
    y1: float

    @property
    def width(self) -> float:
        """Pixels."""
        return self.x1 - self.x0

    @property
    def height(self) -> float:
        """Pixels."""
        return self.y1 - self.y0


@dataclass(frozen=True, repr=False)
class Pose:
    """The direction of a head."""

    answer: Payload

    def __repr__(self) -> str:
        return shown(self, yaw=self.yaw, pitch=self.pitch, roll=self.roll)

    @property
    def yaw(self) -> float:
        """Degrees; positive: the nose points to the image's left."""
        return float(self.answer["yaw"])

    @property
    def pitch(self) -> float:
        """Degrees; positive: the nose points up."""
        return float(self.answer["pitch"])

    @property
    def roll(self) -> float:
        """Degrees; positive: the head is turned clockwise on the image."""
        return float(self.answer["roll"])

    @cached_property
    def matrix(self) -> NDArray[np.float64]:
        """(3, 3) rotation; camera axes x right, y down, z away."""
        return _fixed(np.array(self.answer["rotation"], np.float64))


@dataclass(frozen=True, repr=False)
class Face:
    """One face."""

    answer: Payload

    def __repr__(self) -> str:
        told = ("track_id", "confidence", "box")
        return shown(self, **{name: self.answer[name] for name in told if name in self.answer})

    @cached_property
    def box(self) -> Box:
        """The rectangle of its landmarks."""
        return Box(*self.answer["box"])

    @property
    def confidence(self) -> float:
        """Probability that this is a face, 0 to 1."""
        return float(self.answer["confidence"])

    @property
    def track_id(self) -> int:
        """The face's number for the whole session; only of tracked faces."""
        return int(self._asked("track_id", "use track()"))

    @cached_property
    def roi(self) -> Box:
        """The square that the network looked at; only of tracked faces."""
        return Box(*self._asked("roi", "use track()"))

    @cached_property
    def landmarks(self) -> Array:
        """(98, 2), (68, 2) or (5, 2), as was asked for."""
        return self._points("landmarks", "use align() or track()")

    @cached_property
    def smoothed(self) -> Array:
        """The landmarks with their jitter filtered out, where ``smoothing`` was asked for."""
        return self._points("smoothed", "ask with smoothing=True")

    @cached_property
    def points68(self) -> Array:
        """(68, 2) in the order of 300W."""
        return self.landmarks if len(self.landmarks) == 68 else _fixed(to_68(self._all_points()))

    @cached_property
    def points5(self) -> Array:
        """(5, 2): left eye, right eye, nose tip, left and right mouth corner, of the image."""
        return self.landmarks if len(self.landmarks) == 5 else _fixed(to_5(self._all_points()))

    @cached_property
    def pose(self) -> Pose:
        """Yaw, pitch and roll."""
        return Pose(self._asked("pose", "ask with pose=True"))

    @cached_property
    def signals(self) -> Signals:
        """How open eyes and mouth are, smile, brows and pupils."""
        return Signals(self._asked("signals", "ask with signals=True"))

    def _asked(self, name: str, advice: str) -> Any:
        if name not in self.answer:
            raise NotAsked(f"the answer has no {name}: {advice}")
        return self.answer[name]

    def _points(self, name: str, advice: str) -> Array:
        return _fixed(np.array(self._asked(name, advice), np.float32).reshape(-1, 2))

    def _all_points(self) -> Array:
        if len(self.landmarks) != 98:
            raise NotAsked(f"the answer has {len(self.landmarks)} points: ask with points=98")
        return self.landmarks


@dataclass(frozen=True, repr=False)
class Result:
    """The faces of one image, or the error that its place in a batch holds."""

    answer: Payload
    error: ServiceError | None = field(default=None, compare=False)  # the answer tells it too
    picture: Picture | None = field(default=None, compare=False)

    def __repr__(self) -> str:
        if self.error is not None:
            return shown(self, error=self.error)
        return shown(self, width=self.width, height=self.height, faces=list(self.faces))

    @cached_property
    def faces(self) -> tuple[Face, ...]:
        """Best first, or in the order of the given boxes; empty where there are none."""
        return tuple(Face(face) for face in self.answer.get("faces", []))

    @property
    def width(self) -> int:
        """Pixels of the upright image; 0 where it could not be read."""
        return int(self.answer.get("image", {}).get("width", 0))

    @property
    def height(self) -> int:
        """Pixels of the upright image; 0 where it could not be read."""
        return int(self.answer.get("image", {}).get("height", 0))

    @property
    def ms(self) -> dict[str, float]:
        """Milliseconds in the service: decode, detect, queue, inference."""
        return dict(self.answer.get("ms", {}))

    def draw(self) -> Pixels:
        """The image, (H, W, 3) RGB, with points and, where they were asked for, head axes and
        signals.

        Raises MissingExtra without OpenCV, ValueError where the image is not at hand.
        """
        if self.picture is None:
            raise ValueError("the result does not hold its image")
        with needs("video"):
            from atpn.faces.drawing import Mark, draw  # noqa: PLC0415 - needs OpenCV

        marks = [
            Mark(
                face.landmarks if "landmarks" in face.answer else corners(face.box),
                face.pose.matrix if "pose" in face.answer else None,
                f"{face.track_id}" if "track_id" in face.answer else "",
                face.signals.notes if "signals" in face.answer else (),
            )
            for face in self.faces
        ]
        return draw(pixels(self.picture), marks)


@dataclass(frozen=True, repr=False)
class Frame(Result):
    """The faces of one frame of a stream, or the frame's error."""

    index: int = 0  # of the frame among those given to track(), from 0
    dropped: int = 0  # frames between the last answered one and this one that were left out
    session_id: str = ""  # track ids are unique within it; a session that expired is replaced

    def __repr__(self) -> str:
        if self.error is not None:
            return shown(self, index=self.index, error=self.error)
        return shown(self, index=self.index, state=self.state, faces=list(self.faces))

    @property
    def state(self) -> str:
        """``detected``, ``tracked``, ``resumed``, ``lost`` (no face), or ``error``."""
        return "error" if self.error else str(self.answer["state"])

    @property
    def seq(self) -> int | None:
        """The frame's number in its session; None where it was not sent."""
        return self.answer.get("seq")


def corners(box: Box) -> Array:
    """(4, 2): what is drawn of a face whose landmarks were not asked for."""
    return np.array([[x, y] for x in (box.x0, box.x1) for y in (box.y0, box.y1)], np.float32)


def _fixed(array: A) -> A:
    array.flags.writeable = False
    return array
