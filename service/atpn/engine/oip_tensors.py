"""The tensors of the Open Inference Protocol (KServe v2): requests and answers as both ends write
and read them.

Tensors travel as JSON numbers or, with the binary tensor extension, as raw little-endian bytes
behind the JSON.
"""

import json
import math
import re
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from atpn.errors import InvalidRequest
from atpn.geometry import CROP_SIZE, Image

BINARY_TENSORS = "binary_tensor_data"  # the extension's name in a server's metadata
HEADER_LENGTH = "inference-header-content-length"
CROP_SHAPE = (CROP_SIZE, CROP_SIZE, 3)
OUTPUT_SHAPES: dict[str, tuple[int, ...]] = {"landmarks": (98, 2), "pose": (3,), "confidence": ()}

Payload = dict[str, Any]
Body = tuple[bytes, dict[str, str]]  # of a request, and its headers
Tensors = dict[str, NDArray[np.float32]]

# --- The server's end --------------------------------------------------------------------

#: Crops of a request as JSON numbers: reading more would hold up everybody else.
MOST_AS_NUMBERS = 32
#: Commas and brackets of that many, flat or nested, and of all else that a request has.
MOST_COMMAS = MOST_AS_NUMBERS * math.prod(CROP_SHAPE) + 1000
MOST_BRACKETS = MOST_AS_NUMBERS * (CROP_SIZE * CROP_SIZE + CROP_SIZE + 1) + 1000


@dataclass(frozen=True)
class Call:
    """One parsed inference request."""

    crops: Image  # (N, 112, 112, 3)
    outputs: list[str]
    binary: set[str]  # outputs that are wanted as raw bytes
    request_id: str | None


def parse(body: bytes, header_length: str | None) -> Call:
    """An inference request, its tensor as JSON numbers or as bytes behind the JSON."""
    length = len(body) if header_length is None else _length(header_length, len(body))
    told = body[:length]
    if told.count(b",") > MOST_COMMAS or told.count(b"[") > MOST_BRACKETS:
        raise InvalidRequest(
            f"body: more numbers than {MOST_AS_NUMBERS} crops have; send more as bytes"
        )
    try:
        fields = json.loads(told)
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


def _length(text: str, most: int) -> int:
    """The JSON's part of a body; Python reads more as a number than the digits that are meant."""
    if not re.fullmatch(r"[0-9]{1,18}", text) or int(text) > most:
        raise InvalidRequest(f"{HEADER_LENGTH}: {text[:20]!r} is no length within the body")
    return int(text)


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
        if shape[0] > MOST_AS_NUMBERS:
            raise InvalidRequest(
                f"inputs[0]: at most {MOST_AS_NUMBERS} crops as JSON numbers; send more as bytes"
            )
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
    asked = fields.get("outputs") or [{"name": name} for name in OUTPUT_SHAPES]
    if not isinstance(asked, list) or not all(isinstance(item, dict) for item in asked):
        raise InvalidRequest("outputs: a list of objects is expected")
    names = [item.get("name") for item in asked]
    known = list(OUTPUT_SHAPES)
    unknown = [name for name in names if name not in known]
    if unknown:
        raise InvalidRequest(f"outputs: {unknown[0]!r} is unknown; known are {', '.join(known)}")
    if len(set(names)) < len(names):
        raise InvalidRequest("outputs: each can be asked for once")
    default = parameters(fields).get("binary_data_output", False)
    binary = {i["name"] for i in asked if parameters(i).get("binary_data", default) is True}
    return names, binary


def parameters(item: Payload) -> Payload:
    """The ``parameters`` of a part of the request."""
    found = item.get("parameters", {})
    if not isinstance(found, dict):
        raise InvalidRequest("parameters: an object is expected")
    return found


def write_answer(model: Payload, call: Call, tensors: Tensors) -> tuple[bytes, int | None]:
    """The answer's body; where binary outputs stand behind its JSON, the JSON's length.

    ``model`` is its name and version as the protocol names them.
    """
    outputs, tail = [], b""
    for name in call.outputs:
        array = np.ascontiguousarray(tensors[name], "<f4")
        output: Payload = {"name": name, "datatype": "FP32", "shape": list(array.shape)}
        if name in call.binary:
            output["parameters"] = {"binary_data_size": array.nbytes}
            tail += array.tobytes()
        else:
            output["data"] = array.ravel().tolist()
        outputs.append(output)
    known = {} if call.request_id is None else {"id": call.request_id}
    head = json.dumps({**model, **known, "outputs": outputs}, separators=(",", ":")).encode()
    return head + tail, len(head) if tail else None


# --- The client's end --------------------------------------------------------------------


def request_in_bytes(crops: Image) -> Body:
    """An inference request with the binary tensor extension: JSON, then the crops' bytes."""
    head = json.dumps(
        {
            "inputs": [_input(crops) | {"parameters": {"binary_data_size": crops.nbytes}}],
            "outputs": [
                {"name": name, "parameters": {"binary_data": True}} for name in OUTPUT_SHAPES
            ],
        }
    ).encode()
    headers = {"content-type": "application/octet-stream", HEADER_LENGTH: str(len(head))}
    return head + np.ascontiguousarray(crops).tobytes(), headers


def request_in_numbers(crops: Image) -> Body:
    """The same request as every server of the protocol reads it: about four times the bytes."""
    payload = {
        "inputs": [_input(crops) | {"data": crops.ravel().tolist()}],
        "outputs": [{"name": name} for name in OUTPUT_SHAPES],
    }
    return json.dumps(payload).encode(), {"content-type": "application/json"}


def _input(crops: Image) -> dict[str, object]:
    return {"name": "image", "datatype": "UINT8", "shape": list(crops.shape)}


def read_tensors(body: bytes, header_length: str | None, count: int) -> Tensors:
    """The outputs of an inference answer: JSON numbers, or raw bytes behind the JSON.

    ValueError, KeyError, TypeError or AttributeError where it is not what the protocol says.
    """
    length = len(body) if header_length is None else int(header_length)
    offset, tensors = length, {}
    for output in json.loads(body[:length])["outputs"]:
        size = (output.get("parameters") or {}).get("binary_data_size")
        if size is None:
            values = np.asarray(output["data"], np.float32).ravel()
        else:
            values = np.frombuffer(body[offset : offset + size], "<f4").astype(np.float32)
            offset += size
        if output["name"] in OUTPUT_SHAPES:
            tensors[output["name"]] = values.reshape(count, *OUTPUT_SHAPES[output["name"]])
    missing = OUTPUT_SHAPES.keys() - tensors.keys()
    if missing:
        raise KeyError(f"no output {min(missing)!r}")
    return tensors
