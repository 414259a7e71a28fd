"""What may be asked about photographs and of streams: checked alike over HTTP, over a WebSocket and
in process.
"""

import math
from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from atpn.api.answers import View
from atpn.errors import InvalidBox, InvalidRequest, first_of
from atpn.faces.photographs import BoxKind, Quality
from atpn.geometry import Box

Q = TypeVar("Q", bound=BaseModel)


def split(value: Any) -> Any:
    """``a,b`` as a list, alone or repeated."""
    words = [value] if isinstance(value, str) else value
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        return value
    return [word for text in words for word in text.split(",")]


class FindQuery(BaseModel):
    """Which faces are wanted, and what is told of each beside what the endpoint is for."""

    model_config = ConfigDict(extra="forbid")

    max_faces: int | None = Field(
        None, ge=1, description="most faces, best first; given boxes: one face each"
    )
    min_confidence: float | None = Field(
        None, ge=0, le=1, description="leave out faces below; given boxes: keep all"
    )
    quality: Quality = Field(
        "normal",
        description="best: four looks at each face, two of them mirrored, at four times the cost",
    )
    include: Annotated[list[Literal["pose", "signals"]], BeforeValidator(split)] = Field(
        default=[],
        description="add the head pose (/pose has it anyway), the signals, or both: repeated, or "
        "with a comma between",
    )


class BoxesQuery(FindQuery):
    """Also boxes, for an image that is the raw body."""

    boxes: str | None = Field(
        None,
        description="JSON list of [x0, y0, x1, y1], with the image as the raw body; "
        "skips detection",
        examples=["[[205, 93, 341, 263]]"],
    )
    boxes_are: BoxKind = Field(
        "detector",
        description="what given boxes are: a detector's (forehead to chin), the bounding rectangle "
        "of landmarks, or the very region that the network is to see",
    )


class PointsQuery(FindQuery):
    """Also what is told of each face."""

    points: Literal["98", "68", "5"] = Field("98", description="landmarks of each face")

    @property
    def view(self) -> View:
        """As answers take it."""
        return View(
            int(self.points), pose="pose" in self.include, signals="signals" in self.include
        )


class AlignQuery(PointsQuery, BoxesQuery):
    """The query of /align."""


class Config(BaseModel):
    """The ``config`` message: what a client may change while it streams."""

    model_config = ConfigDict(extra="forbid")

    type: str
    max_faces: int | None = Field(None, ge=1)
    min_confidence: float | None = Field(None, ge=0, le=1)
    points: int | None = None
    include: list[str] | None = None
    smoothing: bool | None = None
    fps: float | None = Field(None, ge=0.1, le=1000)


def asked(model: type[Q], fields: Mapping[str, Any]) -> Q:
    """The fields as ``model``; InvalidRequest with the first that is wrong."""
    try:
        return model.model_validate(fields)
    except ValidationError as error:
        path, text = first_of(error.errors())
        raise InvalidRequest(f"{'.'.join(path)}: {text}") from None


def stream_config(fields: Mapping[str, Any]) -> Config:
    """A ``config`` message; InvalidRequest."""
    config = asked(Config, fields)
    if config.points not in {None, 98, 68, 5}:
        raise InvalidRequest("points: 98, 68 or 5 is expected")
    unknown = set(config.include or []) - {"pose", "signals"}
    if unknown:
        named = sorted(unknown)[0]
        raise InvalidRequest(f"include: {named!r} is unknown; known are 'pose' and 'signals'")
    return config


def parse_boxes(value: object, max_boxes: int) -> list[Box]:
    """[[x0, y0, x1, y1], ...] to boxes; the error names the box at fault."""
    if not isinstance(value, list):
        raise InvalidBox("boxes: a list of [x0, y0, x1, y1] is expected")
    if len(value) > max_boxes:
        raise InvalidBox(f"boxes: {len(value)} are more than the limit of {max_boxes}")
    return [_parse_box(item, f"boxes[{i}]") for i, item in enumerate(value)]


def _parse_box(value: object, name: str) -> Box:
    if not isinstance(value, list) or len(value) != 4:
        raise InvalidBox(f"{name}: four numbers x0, y0, x1, y1 are expected")
    if any(isinstance(v, bool) or not isinstance(v, (int, float)) for v in value):
        raise InvalidBox(f"{name}: x0, y0, x1, y1 must be numbers")
    if not all(abs(v) < 1e9 and math.isfinite(v) for v in value):
        raise InvalidBox(f"{name}: x0, y0, x1, y1 must be finite and below 1e9")
    box = Box(*(float(v) for v in value))
    if box.width < 1 or box.height < 1:
        raise InvalidBox(f"{name}: x1 must be at least x0 + 1 and y1 at least y0 + 1")
    return box
