"""POST /align, /pose and /align/batch: photographs in, their faces out."""

import asyncio
import logging
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from atpn.api import problems
from atpn.api.answers import Payload, View, photo_payload
from atpn.api.deadlines import timeout_of, unless_gone, wanted_core
from atpn.api.documentation import BATCH_BODY, BATCH_RESPONSES, PHOTO_BODY, PHOTO_RESPONSES
from atpn.api.negotiation import JSON, MSGPACK, packed, wished_type
from atpn.api.queries import AlignQuery, BoxesQuery, PointsQuery
from atpn.api.uploads import Upload, read_batch, read_upload
from atpn.core import Core
from atpn.engine.lanes import Priority
from atpn.errors import AtpnError, DeadlineExceeded, InvalidRequest
from atpn.faces.drawing import rendered
from atpn.faces.photographs import Photograph, Seen, look_at
from atpn.traces import note

log = logging.getLogger("atpn.http")

LONGEST_JPEG = 65_500  # pixels of a side that libjpeg writes

router = APIRouter(tags=["faces"])


@router.post(
    "/align", responses=PHOTO_RESPONSES, openapi_extra=PHOTO_BODY, summary="Face landmarks"
)
async def align(request: Request, query: Annotated[AlignQuery, Query()]) -> Response:
    """Find the faces of an image, or take the given boxes, and answer their landmarks."""
    return await answer(request, query.view, query)


@router.post("/pose", responses=PHOTO_RESPONSES, openapi_extra=PHOTO_BODY, summary="Head pose")
async def pose(request: Request, query: Annotated[BoxesQuery, Query()]) -> Response:
    """Find the faces of an image, or take the given boxes, and answer their head pose."""
    view = View(points=None, pose=True, signals="signals" in query.include)
    return await answer(request, view, query)


@router.post(
    "/align/batch", responses=BATCH_RESPONSES, openapi_extra=BATCH_BODY, summary="Several images"
)
async def align_batch(request: Request, query: Annotated[PointsQuery, Query()]) -> Response:
    """Like /align for each image of a form, in order; a bad image is an error in its place.

    Live frames and single images go first where the model is busy.
    """
    core = wanted_core(request)
    settings = core.settings
    with core.open_request():
        uploads = await read_batch(request, settings.max_batch_bytes, settings.max_batch_images)
        if len(uploads) > 1:  # the gate took one
            core.limiter.take(request.state.client, len(uploads) - 1, paid=1)
        timeout_s = timeout_of(request, settings.request_timeout_s)
        work = look_at_all(core, uploads, query, timeout_s, request.state.request_id)
        results = await unless_gone(request, work)
    return packed({"results": results}, wished_type(request.headers.get("accept", ""), False))


async def answer(request: Request, view: View, query: BoxesQuery) -> Response:
    """The answer for the image in ``request``, in the form that it accepts."""
    core = wanted_core(request)
    settings = core.settings
    timeout_s = timeout_of(request, settings.request_timeout_s)
    kind = wished_type(request.headers.get("accept", ""), True)
    drawn = kind not in {JSON, MSGPACK}
    core.pipeline.check_room(timeout_s, Priority.PHOTO)  # before the body is read
    with core.open_request():
        upload = await read_upload(
            request, settings.max_body_bytes, settings.max_boxes, query.boxes
        )
        timeout_s = timeout_of(request, settings.request_timeout_s)  # that reading has left
        photo = Photograph(
            upload.data,
            upload.boxes,
            query.boxes_are,
            query.max_faces,
            query.min_confidence,
            whole=drawn,
            quality=query.quality,
            pose=view.needs_pose or drawn,
        )
        route = request.scope["path"]
        work = look_at(core.pipeline, photo, timeout_s, Priority.PHOTO, route)
        seen = await unless_gone(request, work)
        payload = photo_payload(core.model, view, seen)
        headers = timing_headers(payload["ms"])
        note(payload["ms"], len(seen.faces))
        if not drawn:
            return packed(payload, kind, headers)
        drawing = drawn_as(kind, seen, core, timeout_of(request, settings.request_timeout_s))
        return Response(await unless_gone(request, drawing), headers=headers, media_type=kind)


async def drawn_as(kind: str, seen: Seen, core: Core, timeout_s: float) -> bytes:
    """The photograph with its faces drawn, encoded; DeadlineExceeded, InvalidRequest."""
    if kind == "image/jpeg" and max(seen.image.width, seen.image.height) > LONGEST_JPEG:
        raise InvalidRequest(f"a JPEG has at most {LONGEST_JPEG} pixels a side: accept image/png")

    def work() -> bytes:
        return rendered(seen.image.pixels, seen.faces, kind)  # decodes what nobody looked at

    try:
        async with asyncio.timeout(timeout_s):
            return await asyncio.get_running_loop().run_in_executor(core.drawers, work)
    except TimeoutError:
        raise DeadlineExceeded("the picture was not drawn in time") from None


def timing_headers(ms: dict[str, float]) -> dict[str, str]:
    """Server-Timing for browsers, x-queue-time and x-inference-time (milliseconds) for proxies."""
    return {
        "Server-Timing": ", ".join(f"{name};dur={value}" for name, value in ms.items()),
        "X-Queue-Time": str(ms["queue"]),
        "X-Inference-Time": str(ms["inference"]),
    }


async def look_at_all(
    core: Core, uploads: list[Upload], query: PointsQuery, timeout_s: float, request_id: str
) -> list[Payload]:
    """One answer or ``{"error": problem}`` per upload, in order; a few are in work at once."""
    places = asyncio.Semaphore(core.pipeline.threads)
    clock = asyncio.get_running_loop().time
    ends = clock() + timeout_s

    async def one(upload: Upload) -> Payload:
        async with places:
            left_s = max(0.0, ends - clock())
            photo = Photograph(
                upload.data,
                max_faces=query.max_faces,
                min_confidence=query.min_confidence,
                quality=query.quality,
                pose=query.view.needs_pose,
            )
            try:
                seen = await look_at(core.pipeline, photo, left_s, Priority.BULK, "/align/batch")
            except AtpnError as error:
                return {"error": problems.counted(core.metrics, error)}
            except Exception:
                log.exception("an image failed", extra={"request_id": request_id})
                failure = AtpnError("the image could not be processed")
                return {"error": problems.counted(core.metrics, failure)}
            return photo_payload(core.model, query.view, seen)

    return list(await asyncio.gather(*(one(upload) for upload in uploads)))
