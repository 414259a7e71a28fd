"""The Open Inference Protocol (KServe v2 over HTTP) under /v2: the face network on crops.

Crops are what the protocol calls the input ``image``: (N, 112, 112, 3) uint8 RGB, as
`geometry.crop` makes them. Tensors travel as JSON numbers or, with the binary tensor extension,
as raw little-endian bytes behind the JSON. Errors carry the protocol's ``error`` member in our
problem documents.
"""

import json
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from numpy.typing import NDArray
from pydantic_core import to_json

from atpn import __version__
from atpn.api.negotiation import timeout_of, unless_gone, wanted_core
from atpn.api.schemas import Problem
from atpn.api.uploads import read_body
from atpn.core import Core
from atpn.engine.batching import Done
from atpn.errors import InvalidRequest, NoSuchModel
from atpn.faces.pipeline import Prediction
from atpn.geometry import CROP_SIZE, Image

HEADER_LENGTH = "inference-header-content-length"
CROP_SHAPE = (CROP_SIZE, CROP_SIZE, 3)
OUTPUTS = {"landmarks": [98, 2], "pose": [3], "confidence": []}

_PROBLEM: dict[str, Any] = {"model": Problem, "content": {"application/problem+json": {}}}
_NO_MODEL: dict[int | str, dict[str, Any]] = {
    404: {**_PROBLEM, "description": "A model or version that is not served"}
}
_INFER_RESPONSES: dict[int | str, dict[str, Any]] = {
    **_NO_MODEL,
    200: {
        "description": "The outputs, as JSON or with binary tensors behind it",
        "content": {"application/json": {}, "application/octet-stream": {}},
    },
    413: {**_PROBLEM, "description": "More bytes than the limit"},
    422: {**_PROBLEM, "description": "Not an inference request for this model"},
    429: {**_PROBLEM, "description": "Over the rate limit (see Retry-After)"},
    503: {**_PROBLEM, "description": "Queue full (see Retry-After) or shutting down"},
    504: {**_PROBLEM, "description": "Deadline passed"},
}
_INFER_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["inputs"],
                    "properties": {
                        "id": {"type": "string"},
                        "inputs": {
                            "type": "array",
                            "minItems": 1,
                            "maxItems": 1,
                            "items": {
                                "type": "object",
                                "required": ["name", "datatype", "shape", "data"],
                                "properties": {
                                    "name": {"const": "image"},
                                    "datatype": {"const": "UINT8"},
                                    "shape": {
                                        "type": "array",
                                        "items": {"type": "integer", "minimum": 1},
                                        "minItems": 4,
                                        "maxItems": 4,
                                    },
                                    "data": {
                                        "type": "array",
                                        "items": {"type": "integer", "minimum": 0, "maximum": 255},
                                    },
                                },
                            },
                        },
                        "outputs": {
                            "type": "array",
                            "items": {
                                "type": "object",
                                "required": ["name"],
                                "properties": {"name": {"enum": list(OUTPUTS)}},
                            },
                        },
                    },
                }
            },
            "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
        },
    }
}

router = APIRouter(prefix="/v2", tags=["Open Inference Protocol"])

Payload = dict[str, Any]


@dataclass(frozen=True)
class Call:
    """One parsed inference request."""

    crops: Image  # (N, 112, 112, 3)
    outputs: list[str]
    binary: set[str]  # outputs that are wanted as raw bytes
    request_id: str | None


@router.get("", summary="Server metadata")
@router.get("/", include_in_schema=False)
async def server_metadata() -> Payload:
    """Name, version and the extensions that are spoken."""
    return {"name": "atpn", "version": __version__, "extensions": ["binary_tensor_data"]}


@router.get("/health/live", summary="Is the server alive?")
async def live() -> Payload:
    """Always true while the event loop turns."""
    return {"live": True}


@router.get(
    "/health/ready",
    responses={503: {"description": "Draining"}},
    summary="Is the server ready?",
)
async def ready(request: Request) -> Response:
    """503 while draining."""
    wanted = request.app.state.core.wanted
    return JSONResponse({"ready": wanted}, 200 if wanted else 503)


@router.get("/models/{name}", responses=_NO_MODEL, summary="Model metadata")
@router.get(
    "/models/{name}/versions/{version}", responses=_NO_MODEL, summary="Model metadata of a version"
)
async def model_metadata(request: Request, name: str, version: str | None = None) -> Payload:
    """Inputs and outputs; -1 is the batch axis."""
    core = served(request, name, version)
    return {
        "name": core.model.name,
        "versions": [core.model.version],
        "platform": "onnxruntime_onnx",
        "inputs": [{"name": "image", "datatype": "UINT8", "shape": [-1, *CROP_SHAPE]}],
        "outputs": [
            {"name": output, "datatype": "FP32", "shape": [-1, *shape]}
            for output, shape in OUTPUTS.items()
        ],
    }


@router.get("/models/{name}/ready", responses=_NO_MODEL, summary="Is the model ready?")
@router.get(
    "/models/{name}/versions/{version}/ready", responses=_NO_MODEL, summary="Is the version ready?"
)
async def model_ready(request: Request, name: str, version: str | None = None) -> Payload:
    """Models are warm before the server listens."""
    core = served(request, name, version)
    return {"name": core.model.name, "ready": core.wanted}


@router.post(
    "/models/{name}/infer",
    responses=_INFER_RESPONSES,
    openapi_extra=_INFER_BODY,
    summary="Run the network on crops",
)
@router.post(
    "/models/{name}/versions/{version}/infer",
    responses=_INFER_RESPONSES,
    openapi_extra=_INFER_BODY,
    summary="Run a version on crops",
)
async def infer(request: Request, name: str, version: str | None = None) -> Response:
    """Landmarks, pose and confidence of each crop; crops share batches with all other work."""
    core = served(request, name, version)
    wanted_core(request)
    timeout_s = timeout_of(request, core.settings.request_timeout_s)
    with core.open_request():
        body = await read_body(request, core.settings.max_body_bytes)
        call = parse(body, request.headers.get(HEADER_LENGTH))
        if len(call.crops) > core.settings.max_queue_faces:
            raise InvalidRequest(f"at most {core.settings.max_queue_faces} crops in one request")
        work = core.batcher.submit(list(call.crops), timeout_s)
        done = await unless_gone(request, work)
    return respond(core, call, done)


def served(request: Request, name: str, version: str | None) -> Core:
    """The core, if it serves that model; NoSuchModel otherwise."""
    core: Core = request.app.state.core
    if name != core.model.name:
        raise NoSuchModel(f"unknown model {name!r}; served is {core.model.name!r}")
    if version is not None and version != core.model.version:
        raise NoSuchModel(f"version {version!r} is not served, only {core.model.version!r}")
    return core


def parse(body: bytes, header_length: str | None) -> Call:
    """An inference request, its tensor as JSON numbers or as bytes behind the JSON."""
    length = len(body)
    if header_length is not None:
        if not header_length.isdigit() or int(header_length) > length:
            raise InvalidRequest(f"{HEADER_LENGTH}: {header_length!r} is no length within the body")
        length = int(header_length)
    try:
        fields = json.loads(body[:length])
    except (ValueError, RecursionError) as error:
        raise InvalidRequest(f"body: not JSON ({error})") from None
    inputs = fields.get("inputs") if isinstance(fields, dict) else None
    if not isinstance(inputs, list) or len(inputs) != 1 or not isinstance(inputs[0], dict):
        raise InvalidRequest("inputs: exactly one tensor, 'image', is expected")
    outputs, binary = wanted(fields)
    request_id = fields.get("id")
    return Call(
        crops=tensor(inputs[0], body[length:]),
        outputs=outputs,
        binary=binary,
        request_id=request_id if isinstance(request_id, str) else None,
    )


def tensor(spec: Payload, tail: bytes) -> Image:
    """The crops of the input ``spec``."""
    shape = spec.get("shape")
    if spec.get("name") != "image" or spec.get("datatype") != "UINT8":
        raise InvalidRequest("inputs[0]: name 'image' and datatype 'UINT8' are expected")
    if (
        not isinstance(shape, list)
        or len(shape) != 4
        or not all(type(n) is int for n in shape)
        or tuple(shape[1:]) != CROP_SHAPE
        or shape[0] < 1
    ):
        raise InvalidRequest(f"inputs[0].shape: [N, {', '.join(map(str, CROP_SHAPE))}] is expected")
    size = parameters(spec).get("binary_data_size")
    count = math.prod(shape)
    if size is None:
        return _from_numbers(spec.get("data"), count).reshape(shape)
    if size != count or len(tail) != count:
        raise InvalidRequest(f"inputs[0]: {count} bytes are expected, {len(tail)} came")
    return np.frombuffer(tail, np.uint8).reshape(shape)


def _from_numbers(data: object, count: int) -> NDArray[np.uint8]:
    try:
        values = np.asarray(data, np.float64).ravel()
    except (ValueError, TypeError, OverflowError):
        raise InvalidRequest("inputs[0].data: numbers are expected") from None
    if values.size != count:
        raise InvalidRequest(f"inputs[0].data: {count} numbers are expected, {values.size} came")
    if not np.all((values >= 0) & (values <= 255) & (values == np.floor(values))):
        raise InvalidRequest("inputs[0].data: whole numbers from 0 to 255 are expected")
    return values.astype(np.uint8)


def wanted(fields: Payload) -> tuple[list[str], set[str]]:
    """Names of the outputs in order, and which of them as bytes."""
    asked = fields.get("outputs") or [{"name": name} for name in OUTPUTS]
    if not isinstance(asked, list) or not all(isinstance(item, dict) for item in asked):
        raise InvalidRequest("outputs: a list of objects is expected")
    names = [item.get("name") for item in asked]
    unknown = [name for name in names if name not in OUTPUTS]
    if unknown:
        raise InvalidRequest(f"outputs: {unknown[0]!r} is unknown; known are {', '.join(OUTPUTS)}")
    default = parameters(fields).get("binary_data_output", False)
    binary = {i["name"] for i in asked if parameters(i).get("binary_data", default) is True}
    return [str(name) for name in names], binary


def parameters(item: Payload) -> Payload:
    """The ``parameters`` of a part of the request."""
    found = item.get("parameters", {})
    if not isinstance(found, dict):
        raise InvalidRequest("parameters: an object is expected")
    return found


def respond(core: Core, call: Call, done: list[Done[Prediction]]) -> Response:
    """The answer: JSON, with the binary outputs behind it."""
    arrays: dict[str, NDArray[np.float32]] = {
        "landmarks": np.stack([d.value.landmarks for d in done]),
        "pose": np.stack([d.value.pose for d in done]),
        "confidence": np.array([d.value.confidence for d in done], np.float32),
    }
    outputs, tail = [], b""
    for name in call.outputs:
        array = np.ascontiguousarray(arrays[name], "<f4")
        output: Payload = {"name": name, "datatype": "FP32", "shape": list(array.shape)}
        if name in call.binary:
            output["parameters"] = {"binary_data_size": array.nbytes}
            tail += array.tobytes()
        else:
            output["data"] = array.ravel().tolist()
        outputs.append(output)
    payload: Payload = {"model_name": core.model.name, "model_version": core.model.version}
    if call.request_id is not None:
        payload["id"] = call.request_id
    head = to_json({**payload, "outputs": outputs})
    if not tail:
        return Response(head, media_type="application/json")
    headers = {"Inference-Header-Content-Length": str(len(head))}
    return Response(head + tail, headers=headers, media_type="application/octet-stream")
