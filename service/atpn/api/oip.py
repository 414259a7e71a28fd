"""The Open Inference Protocol (KServe v2 over HTTP) under /v2: the face network on crops.

Crops are what the protocol calls the input ``image``: (N, 112, 112, 3) uint8 RGB, as
`geometry.crop` makes them. Tensors travel as JSON numbers or, with the binary tensor extension,
as raw little-endian bytes behind the JSON. Errors carry the protocol's ``error`` member in our
problem documents.
"""

import asyncio
import re
from typing import Any

import numpy as np
from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from atpn import __version__
from atpn.api.deadlines import timeout_of, unless_gone, wanted_core
from atpn.api.documentation import DRAINING, INFER_BODY, INFER_RESPONSES, NO_MODEL
from atpn.api.uploads import read_body
from atpn.core import Core
from atpn.engine.inference import Prediction
from atpn.engine.oip_tensors import (
    BINARY_TENSORS,
    CROP_SHAPE,
    HEADER_LENGTH,
    OUTPUT_SHAPES,
    Call,
    parse,
    write_answer,
)
from atpn.errors import InvalidRequest, NoSuchModel

Payload = dict[str, Any]

router = APIRouter(prefix="/v2", tags=["Open Inference Protocol"])


@router.get("", summary="Server metadata")
@router.get("/", include_in_schema=False)
async def server_metadata() -> Payload:
    """Name, version and the extensions that are spoken."""
    return {"name": "atpn", "version": __version__, "extensions": [BINARY_TENSORS]}


@router.get("/health/live", summary="Is the server alive?")
async def live() -> Payload:
    """Always true while the event loop turns."""
    return {"live": True}


@router.get("/health/ready", responses=DRAINING, summary="Is the server ready?")
async def ready(request: Request) -> Response:
    """503 while draining."""
    wanted = request.app.state.core.wanted
    return JSONResponse({"ready": wanted}, 200 if wanted else 503)


@router.get("/models/{name}", responses=NO_MODEL, summary="Model metadata")
async def model_metadata(request: Request, name: str) -> Payload:
    """Inputs and outputs; -1 is the batch axis."""
    return metadata_of(served(request, name))


@router.get(
    "/models/{name}/versions/{version}", responses=NO_MODEL, summary="Model metadata of a version"
)
async def version_metadata(request: Request, name: str, version: str) -> Payload:
    """Inputs and outputs; -1 is the batch axis."""
    return metadata_of(served(request, name, version))


def metadata_of(core: Core) -> Payload:
    """What the protocol tells of a model."""
    return {
        "name": core.model.name,
        "versions": [core.model.version],
        "platform": "onnxruntime_onnx",
        "inputs": [{"name": "image", "datatype": "UINT8", "shape": [-1, *CROP_SHAPE]}],
        "outputs": [
            {"name": output, "datatype": "FP32", "shape": [-1, *shape]}
            for output, shape in OUTPUT_SHAPES.items()
        ],
    }


@router.get("/models/{name}/ready", responses=NO_MODEL | DRAINING, summary="Is the model ready?")
async def model_ready(request: Request, name: str) -> Response:
    """Models are warm before the server listens; 503 while draining."""
    return readiness_of(served(request, name))


@router.get(
    "/models/{name}/versions/{version}/ready",
    responses=NO_MODEL | DRAINING,
    summary="Is the version ready?",
)
async def version_ready(request: Request, name: str, version: str) -> Response:
    """Models are warm before the server listens; 503 while draining."""
    return readiness_of(served(request, name, version))


def readiness_of(core: Core) -> Response:
    """Whether a model is; 503 where it is not."""
    return JSONResponse(
        {"name": core.model.name, "ready": core.wanted}, 200 if core.wanted else 503
    )


@router.post(
    "/models/{name}/infer",
    responses=INFER_RESPONSES,
    openapi_extra=INFER_BODY,
    summary="Run the network on crops",
)
async def infer(request: Request, name: str) -> Response:
    """Landmarks, pose and confidence of each crop; crops share batches with all other work."""
    return await inferred(request, name)


@router.post(
    "/models/{name}/versions/{version}/infer",
    responses=INFER_RESPONSES,
    openapi_extra=INFER_BODY,
    summary="Run a version on crops",
)
async def infer_version(request: Request, name: str, version: str) -> Response:
    """Landmarks, pose and confidence of each crop; crops share batches with all other work."""
    return await inferred(request, name, version)


async def inferred(request: Request, name: str, version: str | None = None) -> Response:
    """The outputs for the crops in the body, of that version or of whichever is served."""
    core = served(request, name, version)
    wanted_core(request)
    with core.open_request():
        body = await read_body(request, core.settings.max_body_bytes)
        core = served(request, name, version)  # what is served now
        call = await parsed(body, request.headers.get(HEADER_LENGTH))
        if len(call.crops) > core.settings.max_queue_faces:
            raise InvalidRequest(f"at most {core.settings.max_queue_faces} crops in one request")
        if len(call.crops) > 1:  # the gate took one
            core.limiter.take(request.state.client, len(call.crops) - 1, paid=1)
        timeout_s = timeout_of(request, core.settings.request_timeout_s)
        work = core.pipeline.infer(list(call.crops), timeout_s)
        seen = await unless_gone(request, work)
        served(request, name, version)  # still: a batch takes the network that is there
    return respond(core, call, seen)


async def parsed(body: bytes, header_length: str | None) -> Call:
    """See `parse`; in a thread but for little JSON: crops that are numbers take a while."""
    if header_length is not None and re.fullmatch("[0-9]{1,5}", header_length):
        return parse(body, header_length)
    return await asyncio.to_thread(parse, body, header_length)


def served(request: Request, name: str, version: str | None = None) -> Core:
    """The core, if it serves that model; NoSuchModel otherwise."""
    core: Core = request.app.state.core
    if name != core.model.name:
        raise NoSuchModel(f"unknown model {name!r}; served is {core.model.name!r}")
    if version is not None and version != core.model.version:
        raise NoSuchModel(f"version {version!r} is not served, only {core.model.version!r}")
    return core


def respond(core: Core, call: Call, seen: list[Prediction]) -> Response:
    """The answer: JSON, with the binary outputs behind it."""
    model = {"model_name": core.model.name, "model_version": core.model.version}
    tensors = {
        "landmarks": np.stack([one.landmarks for one in seen]),
        "pose": np.stack([one.pose for one in seen]),
        "confidence": np.array([one.confidence for one in seen], np.float32),
    }
    body, json_bytes = write_answer(model, call, tensors)
    if json_bytes is None:
        return Response(body, media_type="application/json")
    headers = {HEADER_LENGTH.title(): str(json_bytes)}
    return Response(body, headers=headers, media_type="application/octet-stream")
