"""POST /align, /pose and /align/batch: photographs in, their faces out."""

import asyncio
from dataclasses import replace
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request, Response

from atpn.api.negotiation import (
    JSON,
    MSGPACK,
    packed,
    timeout_of,
    unless_gone,
    wanted_core,
    wished_type,
)
from atpn.api.schemas import (
    ANSWER_EXAMPLE,
    PROBLEM_EXAMPLE,
    Answer,
    BatchAnswer,
    Payload,
    Problem,
    problem_payload,
)
from atpn.api.uploads import Upload, read_batch, read_upload
from atpn.core import Core
from atpn.engine.batching import Priority
from atpn.errors import AtpnError
from atpn.faces.drawing import rendered
from atpn.faces.photographs import Seen, Wanted, answer_payload, look
from atpn.traces import note

router = APIRouter(tags=["faces"])

_PROBLEM: dict[str, Any] = {
    "model": Problem,
    "content": {"application/problem+json": {"example": PROBLEM_EXAMPLE}},
}
_RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {
        "model": Answer,
        "description": "The faces; by Accept, as JSON or drawn on the picture",
        "content": {
            JSON: {"example": ANSWER_EXAMPLE},
            MSGPACK: {},
            "image/jpeg": {},
            "image/png": {},
        },
    },
    413: {**_PROBLEM, "description": "More bytes or pixels than the limit"},
    415: {**_PROBLEM, "description": "Content type or image format that is not read"},
    422: {**_PROBLEM, "description": "Damaged image, bad box or parameter"},
    429: {**_PROBLEM, "description": "Over the rate limit (see Retry-After)"},
    503: {**_PROBLEM, "description": "Queue full (see Retry-After) or shutting down"},
    504: {**_PROBLEM, "description": "Deadline passed"},
}
_BATCH_RESPONSES = {
    **_RESPONSES,
    200: {
        "model": BatchAnswer,
        "description": "One result per image, in order",
        "content": {
            JSON: {"example": {"results": [ANSWER_EXAMPLE, {"error": PROBLEM_EXAMPLE}]}},
            MSGPACK: {},
        },
    },
}
_BATCH_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["image"],
                    "properties": {
                        "image": {
                            "type": "array",
                            "minItems": 1,
                            "items": {"type": "string", "format": "binary"},
                        }
                    },
                }
            }
        },
    }
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


@router.post(
    "/align/batch", responses=_BATCH_RESPONSES, openapi_extra=_BATCH_BODY, summary="Several images"
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
    wanted = Wanted(int(points), include == "pose", max_faces, min_confidence)
    timeout_s = timeout_of(request, settings.request_timeout_s)
    with core.open_request():
        uploads = await read_batch(request, settings.max_batch_bytes, settings.max_batch_images)
        if len(uploads) > 1:  # one is paid for
            core.limiter.take(request.state.client, len(uploads) - 1)
        results = await unless_gone(request, look_at_all(core, uploads, wanted, timeout_s))
    return packed({"results": results}, wished_type(request.headers.get("accept", ""), False))


async def answer(request: Request, wanted: Wanted) -> Response:
    """The answer for the image in ``request``, in the form that it accepts."""
    core = wanted_core(request)
    settings = core.settings
    timeout_s = timeout_of(request, settings.request_timeout_s)
    kind = wished_type(request.headers.get("accept", ""), True)
    wanted = replace(wanted, drawn=kind not in {JSON, MSGPACK})
    with core.open_request():
        upload = await read_upload(request, settings.max_body_bytes, settings.max_boxes)
        route = request.scope["path"]
        work = look(core, upload, wanted, timeout_s, Priority.PHOTO, route)
        seen = await unless_gone(request, work)
    note(seen.ms, len(seen.faces))
    if not wanted.drawn:
        return packed(answer_payload(core, wanted, seen), kind, timing_headers(seen))
    data = await asyncio.to_thread(rendered, seen.picture.pixels, seen.faces, kind)
    return Response(data, headers=timing_headers(seen), media_type=kind)


def timing_headers(seen: Seen) -> dict[str, str]:
    """Server-Timing for browsers, x-queue-time and x-inference-time (milliseconds) for proxies."""
    ms = seen.ms
    return {
        "Server-Timing": ", ".join(f"{name};dur={value}" for name, value in ms.items()),
        "X-Queue-Time": str(ms["queue"]),
        "X-Inference-Time": str(ms["inference"]),
    }


async def look_at_all(
    core: Core, uploads: list[Upload], wanted: Wanted, timeout_s: float
) -> list[Payload]:
    """One answer or ``{"error": problem}`` per upload, in order; a few are in work at once."""
    places = asyncio.Semaphore(core.image_threads)
    ends = asyncio.get_running_loop().time() + timeout_s

    async def one(upload: Upload) -> Payload:
        async with places:
            left_s = max(0.0, ends - asyncio.get_running_loop().time())
            try:
                seen = await look(core, upload, wanted, left_s, Priority.BULK, "/align/batch")
            except AtpnError as error:
                core.metrics.errors.labels(error.code).inc()
                return {"error": problem_payload(error)}
            return answer_payload(core, wanted, seen)

    return list(await asyncio.gather(*(one(upload) for upload in uploads)))
