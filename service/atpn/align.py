"""POST /align and POST /pose: a photograph in, its faces out."""

import asyncio
import math
import time
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeVar

from fastapi import APIRouter, Query, Request, Response
from pydantic_core import to_json

from atpn.aligner import Aligned, Find, Prepared
from atpn.core import Core
from atpn.drawing import rendered
from atpn.errors import ClientGone, DeadlineExceeded, InvalidRequest, ShuttingDown
from atpn.geometry import Box, Image, roi_from_detection
from atpn.schemas import Answer, Payload, Problem, face_payload, milliseconds
from atpn.uploads import Upload, check_inside, read_upload

T = TypeVar("T")

router = APIRouter()

_PROBLEM: dict[str, Any] = {"model": Problem, "content": {"application/problem+json": {}}}
_RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {
        "model": Answer,
        "description": "The faces; by Accept, as JSON or drawn on the picture",
        "content": {"image/jpeg": {}, "image/png": {}},
    },
    413: {**_PROBLEM, "description": "More bytes or pixels than the limit"},
    415: {**_PROBLEM, "description": "Content type or image format that is not read"},
    422: {**_PROBLEM, "description": "Damaged image, bad box or parameter"},
    503: {**_PROBLEM, "description": "Queue full (see Retry-After) or shutting down"},
    504: {**_PROBLEM, "description": "Deadline passed"},
}
_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            **{
                f"image/{kind}": {"schema": {"type": "string", "format": "binary"}}
                for kind in ("jpeg", "png", "webp", "bmp")
            },
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["image"],
                    "properties": {
                        "image": {"type": "string", "format": "binary"},
                        "boxes": {
                            "type": "string",
                            "description": "JSON list of [x0, y0, x1, y1]; skips detection",
                        },
                    },
                }
            },
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["image"],
                    "additionalProperties": False,
                    "properties": {
                        "image": {"type": "string", "format": "byte"},
                        "boxes": {
                            "type": "array",
                            "items": {
                                "type": "array",
                                "items": {"type": "number"},
                                "minItems": 4,
                                "maxItems": 4,
                            },
                        },
                    },
                }
            },
        },
    }
}

MaxFaces = Annotated[int | None, Query(ge=1, description="most faces, best first")]
MinConfidence = Annotated[
    float | None, Query(ge=0, le=1, description="leave out faces below; given boxes: keep all")
]
Points = Annotated[Literal["98", "68", "5"], Query(description="landmarks of each face")]
Include = Annotated[Literal["pose"] | None, Query(description="add the head pose")]


@dataclass(frozen=True)
class Wanted:
    """What a request asks to be told about each face."""

    points: int | None
    pose: bool
    max_faces: int | None
    min_confidence: float | None


@router.post("/align", responses=_RESPONSES, openapi_extra=_BODY, summary="Face landmarks")
async def align(
    request: Request,
    max_faces: MaxFaces = None,
    min_confidence: MinConfidence = None,
    points: Points = "98",
    include: Include = None,
) -> Response:
    """Find the faces of an image, or take the given boxes, and answer their landmarks."""
    wanted = Wanted(int(points), include == "pose", max_faces, min_confidence)
    return await answer(request, wanted)


@router.post("/pose", responses=_RESPONSES, openapi_extra=_BODY, summary="Head pose")
async def pose(
    request: Request, max_faces: MaxFaces = None, min_confidence: MinConfidence = None
) -> Response:
    """Find the faces of an image, or take the given boxes, and answer their head pose."""
    wanted = Wanted(None, True, max_faces, min_confidence)
    return await answer(request, wanted)


async def answer(request: Request, wanted: Wanted) -> Response:
    """The JSON answer for the image in ``request``."""
    core: Core = request.app.state.core
    settings = core.settings
    if core.draining.is_set():
        raise ShuttingDown("this replica is shutting down; retry on another", retry_after_s=1)
    timeout_s = timeout_of(request, settings.request_timeout_s)
    with core.open_request():
        upload = await read_upload(request, settings.max_body_bytes, settings.max_boxes)
        most = min(wanted.max_faces or settings.max_faces, settings.max_faces)
        work = look(core, upload, finder(core, upload, most), timeout_s)
        prepared, aligned = await unless_gone(request, work)
    least = wanted.min_confidence
    if least is None:
        least = settings.min_confidence if upload.boxes is None else 0.0
    faces = [f for f in aligned.faces if f.confidence >= least]
    route = request.scope["path"]
    core.metrics.faces.labels(route).inc(len(faces))
    if upload.boxes is None:
        core.metrics.detections.labels(route).inc()
    kind = picture_type(request.headers.get("accept", ""))
    if kind is not None:
        data = await asyncio.to_thread(rendered, prepared.image, faces, kind)
        return Response(data, media_type=kind)
    height, width = prepared.image.shape[:2]
    payload: Payload = {
        "faces": [face_payload(f, wanted.points, wanted.pose) for f in faces],
        "image": {"width": width, "height": height},
        "model": {"name": core.model.name, "version": core.model.version},
        "ms": milliseconds(
            prepared.decode_s, prepared.find_s if upload.boxes is None else 0.0, aligned
        ),
    }
    return Response(to_json(payload), media_type="application/json")


def picture_type(accept: str) -> str | None:
    """``image/jpeg`` or ``image/png`` if Accept names it before any other type it could have."""
    for part in accept.split(","):
        kind = part.partition(";")[0].strip().lower()
        if kind in {"image/jpeg", "image/png"}:
            return kind
        if kind in {"application/json", "application/*", "*/*"}:
            return None
    return None


async def look(
    core: Core, upload: Upload, find: Find, timeout_s: float
) -> tuple[Prepared, Aligned]:
    """Decode, find and align; everything that a client who hangs up no longer wants."""
    deadline = time.monotonic() + timeout_s
    try:
        async with asyncio.timeout(timeout_s):
            prepared = await core.aligner.prepare(upload.data, find)
            left_s = deadline - time.monotonic()
            return prepared, await core.aligner.align(prepared, left_s)
    except TimeoutError:
        raise DeadlineExceeded(f"not finished within {timeout_s:g} s") from None


def finder(core: Core, upload: Upload, most: int) -> Find:
    """Where the ROIs come from: the given boxes, or the detector."""
    boxes = upload.boxes
    if boxes is None:
        return lambda image: core.aligner.detect(image)[:most]

    def given(image: Image) -> list[Box]:
        height, width = image.shape[:2]
        check_inside(boxes, width, height)
        return [roi_from_detection(box) for box in boxes]

    return given


def timeout_of(request: Request, most: float) -> float:
    """Seconds until the answer is useless: X-Request-Timeout, at most the setting."""
    text = request.headers.get("x-request-timeout")
    if text is None:
        return most
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not seconds > 0:  # NaN too
        raise InvalidRequest(f"X-Request-Timeout: a positive number of seconds, not {text!r}")
    return min(seconds, most)


async def unless_gone(request: Request, work: Coroutine[None, None, T]) -> T:
    """The result of ``work``; ClientGone, and ``work`` cancelled, if the client hangs up.

    The body must have been read: from then on the only message that can come is the end.
    """
    task = asyncio.create_task(work)
    watch = asyncio.create_task(_hang_up(request))
    try:
        await asyncio.wait([task, watch], return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ClientGone("the client closed the connection")
        return task.result()
    finally:
        for owned in (task, watch):
            owned.cancel()


async def _hang_up(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
