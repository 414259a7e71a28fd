"""What a face does, as the service answered it."""

from dataclasses import dataclass
from typing import Any, NamedTuple

from atpn.client.parts import NotAsked, Payload, shown


@dataclass(frozen=True, repr=False)
class Eye:
    """One eye of a face; left and right are those of the image."""

    answer: Payload

    def __repr__(self) -> str:
        return shown(self, open=self.open, pupil=self.pupil)

    @property
    def open(self) -> float | None:
        """0 closed, 1 open; None: turned away."""
        return _number(self.answer["open"])

    @property
    def pupil(self) -> tuple[float, float] | None:
        """(x, y) from the middle between the corners, in halves of the eye's width: x -1 is the
        left corner and 1 the right one, y points down. None: turned away or covered.
        """
        place = self.answer["pupil"]
        return None if place is None else (float(place[0]), float(place[1]))


class Blink(NamedTuple):
    """Eyes that closed and opened again."""

    seq: int  # number of the frame in which they had closed
    ago_s: float  # seconds from that frame to this one
    length_s: float


@dataclass(frozen=True, repr=False)
class Blinks:
    """A person's blinks."""

    answer: Payload

    def __repr__(self) -> str:
        return shown(self, count=self.count, closed_s=self.closed_s, last=self.last)

    @property
    def count(self) -> int:
        """Since the face was first seen."""
        return int(self.answer["count"])

    @property
    def closed_s(self) -> float | None:
        """For how long the eyes are closed; 0 while they are open, None while turned away."""
        return _number(self.answer["closed_s"])

    @property
    def last(self) -> Blink | None:
        """The newest."""
        last = self.answer["last"]
        return None if last is None else Blink(last["seq"], last["ago_s"], last["length_s"])


@dataclass(frozen=True, repr=False)
class Signals:
    """What a face does, each from 0 to 1; None where it is turned away."""

    answer: Payload

    def __repr__(self) -> str:
        names = ("mouth_open", "smile", "brow_raise")
        told = {name: self.answer[name] for name in names}
        return shown(self, left_eye=self.left_eye, right_eye=self.right_eye, **told)

    @property
    def left_eye(self) -> Eye:
        """The eye on the image's left."""
        return Eye(self.answer["left_eye"])

    @property
    def right_eye(self) -> Eye:
        """The eye on the image's right."""
        return Eye(self.answer["right_eye"])

    @property
    def mouth_open(self) -> float | None:
        """0 closed; 1: as high as it is wide."""
        return _number(self.answer["mouth_open"])

    @property
    def smile(self) -> float | None:
        """0 at rest, 1 a broad smile."""
        return _number(self.answer["smile"])

    @property
    def brow_raise(self) -> float | None:
        """0 at rest, 1 lifted high."""
        return _number(self.answer["brow_raise"])

    @property
    def blinks(self) -> Blinks:
        """Since the face was first seen; only of tracked faces."""
        if "blinks" not in self.answer:
            raise NotAsked("the answer has no blinks: use track()")
        return Blinks(self.answer["blinks"])

    @property
    def notes(self) -> tuple[str, ...]:
        """Lines to write beside the face: openness in percent, blinks."""
        seen = (self.left_eye.open, self.right_eye.open, self.mouth_open)
        left, right, mouth = ("?" if value is None else f"{100 * value:.0f}" for value in seen)
        told = f"eyes {left} {right}", f"mouth {mouth}"
        return (*told, f"blinks {self.blinks.count}") if "blinks" in self.answer else told


def _number(value: Any) -> float | None:
    return None if value is None else float(value)
