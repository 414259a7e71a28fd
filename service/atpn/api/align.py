"""POST /align, /pose and /align/batch: photographs in, their faces out."""

import asyncio
from dataclasses import dataclass
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request, Response

from atpn.api import problems
from atpn.api.answers import Payload, View, milliseconds, photo_payload
from atpn.api.deadlines import timeout_of, unless_gone, wanted_core
from atpn.api.documentation import BATCH_BODY, BATCH_RESPONSES, PHOTO_BODY, PHOTO_RESPONSES
from atpn.api.negotiation import JSON, MSGPACK, packed, wished_type
from atpn.api.uploads import Upload, read_batch, read_upload
from atpn.core import Core
from atpn.engine.lanes import Priority
from atpn.errors import AtpnError
from atpn.faces.drawing import rendered
from atpn.faces.photographs import Photograph, look_at
from atpn.traces import note

router = APIRouter(tags=["faces"])

MaxFaces = Annotated[int | None, Query(ge=1, description="most faces, best first")]
MinConfidence = Annotated[
    float | None, Query(ge=0, le=1, description="leave out faces below; given boxes: keep all")
]
Points = Annotated[Literal["98", "68", "5"], Query(description="landmarks of each face")]
Include = Annotated[Literal["pose"] | None, Query(description="add the head pose")]


@dataclass(frozen=True)
class Limits:
    """How many faces of an image are wanted, and how sure."""

    max_faces: int | None
    min_confidence: float | None


@router.post(
    "/align", responses=PHOTO_RESPONSES, openapi_extra=PHOTO_BODY, summary="Face landmarks"
)
async def align(
    request: Request,
    max_faces: MaxFaces = None,
    min_confidence: MinConfidence = None,
    points: Points = "98",
    include: Include = None,
) -> Response:
    """Find the faces of an image, or take the given boxes, and answer their landmarks."""
    view = View(int(points), pose=include == "pose")
    return await answer(request, view, Limits(max_faces, min_confidence))


@router.post("/pose", responses=PHOTO_RESPONSES, openapi_extra=PHOTO_BODY, summary="Head pose")
async def pose(
    request: Request, max_faces: MaxFaces = None, min_confidence: MinConfidence = None
) -> Response:
    """Find the faces of an image, or take the given boxes, and answer their head pose."""
    view = View(points=None, pose=True)
    return await answer(request, view, Limits(max_faces, min_confidence))


@router.post(
    "/align/batch", responses=BATCH_RESPONSES, openapi_extra=BATCH_BODY, summary="Several images"
)
async def align_batch(
    request: Request,
    max_faces: MaxFaces = None,
    min_confidence: MinConfidence = None,
    points: Points = "98",
    include: Include = None,
) -> Response:
    """Like /align for each image of a form, in order; a bad image is an error in its place.

    Live frames and single images go first where the model is busy.
    """
    core = wanted_core(request)
    settings = core.settings
    view = View(int(points), pose=include == "pose")
    limits = Limits(max_faces, min_confidence)
    timeout_s = timeout_of(request, settings.request_timeout_s)
    with core.open_request():
        uploads = await read_batch(request, settings.max_batch_bytes, settings.max_batch_images)
        if len(uploads) > 1:  # one is paid for
            core.limiter.take(request.state.client, len(uploads) - 1)
        work = look_at_all(core, uploads, view, limits, timeout_s)
        results = await unless_gone(request, work)
    return packed({"results": results}, wished_type(request.headers.get("accept", ""), False))


async def answer(request: Request, view: View, limits: Limits) -> Response:
    """The answer for the image in ``request``, in the form that it accepts."""
    core = wanted_core(request)
    settings = core.settings
    timeout_s = timeout_of(request, settings.request_timeout_s)
    kind = wished_type(request.headers.get("accept", ""), True)
    drawn = kind not in {JSON, MSGPACK}
    with core.open_request():
        upload = await read_upload(request, settings.max_body_bytes, settings.max_boxes)
        photo = photograph(upload, limits, drawn)
        route = request.scope["path"]
        work = look_at(core.pipeline, photo, timeout_s, Priority.PHOTO, route)
        seen = await unless_gone(request, work)
    ms = milliseconds(seen.timings)
    note(ms, len(seen.faces))
    if not drawn:
        return packed(photo_payload(core.model, view, seen), kind, timing_headers(ms))
    data = await asyncio.to_thread(rendered, seen.image.pixels, seen.faces, kind)
    return Response(data, headers=timing_headers(ms), media_type=kind)


def photograph(upload: Upload, limits: Limits, whole: bool = False) -> Photograph:
    """What is to be looked at."""
    return Photograph(
        upload.data, upload.boxes, limits.max_faces, limits.min_confidence, whole=whole
    )


def timing_headers(ms: dict[str, float]) -> dict[str, str]:
    """Server-Timing for browsers, x-queue-time and x-inference-time (milliseconds) for proxies."""
    return {
        "Server-Timing": ", ".join(f"{name};dur={value}" for name, value in ms.items()),
        "X-Queue-Time": str(ms["queue"]),
        "X-Inference-Time": str(ms["inference"]),
    }


async def look_at_all(
    core: Core, uploads: list[Upload], view: View, limits: Limits, timeout_s: float
) -> list[Payload]:
    """One answer or ``{"error": problem}`` per upload, in order; a few are in work at once."""
    places = asyncio.Semaphore(core.pipeline.threads)
    clock = asyncio.get_running_loop().time
    ends = clock() + timeout_s

    async def one(upload: Upload) -> Payload:
        async with places:
            left_s = max(0.0, ends - clock())
            photo = photograph(upload, limits)
            try:
                seen = await look_at(core.pipeline, photo, left_s, Priority.BULK, "/align/batch")
            except AtpnError as error:
                return {"error": problems.counted(core.metrics, error)}
            return photo_payload(core.model, view, seen)

    return list(await asyncio.gather(*(one(upload) for upload in uploads)))
