"""Bodies of the Open Inference Protocol, at the server's end and at the client's.

An input is a line with the header's length, which may be empty, and the body.
"""

import json
from contextlib import nullcontext

import numpy as np

from atpn.engine.oip_tensors import (
    CROP_SHAPE,
    OUTPUT_SHAPES,
    parse,
    read_tensors,
    request_in_bytes,
    write_answer,
)
from atpn.errors import CallersFault
from tests.fuzz.target import Target

COUNT = 2  # answers that the client expects
UNREADABLE = (ValueError, KeyError, TypeError, AttributeError)  # as `read_tensors` documents


def check(data: bytes) -> None:
    """A request gives crops and an answer that can be written, or a refusal."""
    head, _, body = data.partition(b"\n")
    length = head.decode("latin-1") or None
    answered(body, length)
    try:
        tensors = read_tensors(body, length, COUNT)
    except UNREADABLE:
        return
    assert {name: t.shape for name, t in tensors.items()} == {
        name: (COUNT, *shape) for name, shape in OUTPUT_SHAPES.items()
    }


def answered(body: bytes, length: str | None) -> None:
    """The server's end: what was asked for stands in the answer."""
    try:
        call = parse(body, length)
    except CallersFault:
        return
    count = len(call.crops)
    assert call.crops.shape == (count, *CROP_SHAPE)
    assert call.crops.dtype == np.uint8
    assert len(set(call.outputs) & set(OUTPUT_SHAPES)) == len(call.outputs)
    zeros = {name: np.zeros((count, *shape), np.float32) for name, shape in OUTPUT_SHAPES.items()}
    answer, size = write_answer({"model_name": "m"}, call, zeros)
    told = json.loads(answer[:size])
    assert [output["name"] for output in told["outputs"]] == call.outputs


def request(**changes: object) -> bytes:
    """An input whose one tensor is small; its shape is therefore wrong, and little else."""
    tensor = {"name": "image", "datatype": "UINT8", "shape": [1, *CROP_SHAPE], "data": [0, 255]}
    return b"\n" + json.dumps({"inputs": [tensor], **changes}).encode()


def answer() -> bytes:
    """An input that the client's end understands."""
    outputs = [
        {"name": name, "data": np.zeros((COUNT, *shape)).ravel().tolist()}
        for name, shape in OUTPUT_SHAPES.items()
    ]
    return b"\n" + json.dumps({"outputs": outputs}).encode()


def seeds() -> list[bytes]:
    """Requests with and without the binary extension, and answers."""
    crops = np.zeros((1, *CROP_SHAPE), np.uint8)
    body, headers = request_in_bytes(crops)
    length = next(value for name, value in headers.items() if value.isdigit())
    outputs = [{"name": "pose", "parameters": {"binary_data": True}}, {"name": "confidence"}]
    binary = b'{"outputs":[{"name":"pose","parameters":{"binary_data_size":24}}]}'
    return [
        f"{length}\n".encode() + body[: int(length) + 30],
        request(id="7", outputs=outputs, parameters={"binary_data_output": True}),
        request(outputs=[{"name": "landmarks"}], parameters=[]),
        request(id=7, outputs="all"),
        request(outputs=[{"name": []}]),
        b"0\n",
        b"\n[]",
        b'\n{"inputs":[{"name":"image","datatype":"UINT8","shape":[1,112,112,3]}]}',
        answer(),
        f"{len(binary)}\n".encode() + binary + bytes(24),
    ]


TENSORS = Target("tensors", lambda: nullcontext(check), seeds)
