"""What can be asked of an image, so that the order of questions is told apart from their answering.

Steps are a generator that yields `Look` and `Detect` and is sent the answers; it ends with its
result. The service drives it over threads and batches, training and tests with two functions.
"""

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar

from atpn.faces.face import Face
from atpn.geometry import Box

T = TypeVar("T")


@dataclass(frozen=True)
class Look:
    """Run the network on these ROIs (image pixels); the answer is a list of one `Face` each."""

    rois: list[Box]


@dataclass(frozen=True)
class Detect:
    """Search the image; the answer is the list of ROIs of what was found, best first.

    ``small`` faces are looked for as thoroughly where a large one is seen. With ``unsure`` the
    answer is what may be faces, in an image where none was found.
    """

    small: bool = False
    unsure: bool = False


Steps: TypeAlias = Generator[Look | Detect, Any, T]


def look(rois: list[Box]) -> Steps[list[Face]]:
    """Ask for the faces in these ROIs; without any, nothing is asked."""
    if not rois:
        return []
    faces: list[Face] = yield Look(rois)
    return faces


def detect(small: bool = False, unsure: bool = False) -> Steps[list[Box]]:
    """Ask for the ROIs of the faces that a detector finds; see `Detect`."""
    rois: list[Box] = yield Detect(small, unsure)
    return rois


def drive(
    steps: Steps[T], see: Callable[[list[Box]], list[Face]], search: Callable[[Detect], list[Box]]
) -> T:
    """The steps' result, with ``see`` answering each `Look` and ``search`` each `Detect`."""
    answer: list[Face] | list[Box] | None = None
    while True:
        try:
            asked = steps.send(answer)
        except StopIteration as end:
            result: T = end.value
            return result
        answer = see(asked.rois) if isinstance(asked, Look) else search(asked)
