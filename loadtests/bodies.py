"""The race's photograph and how it is put into a request."""

import json
import struct
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import cv2
import numpy as np

PHOTO = Path(__file__).resolve().parents[1] / "service/atpn/api/web/example.jpg"
#: Of its face in the picture below, as atpn's detector gives it (score 0.94).
BOX = (205.03, 93.01, 341.17, 262.76)
BOUNDARY = "atpn-race"
JSON = "application/json"


@dataclass(frozen=True)
class Request:
    """A POST."""

    path: str
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)

    def on_the_wire(self) -> bytes:
        """As it goes into the socket."""
        headers = {"Host": "127.0.0.1", **self.headers, "Content-Length": str(len(self.body))}
        head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        return f"POST {self.path} HTTP/1.1\r\n{head}\r\n".encode() + self.body


@cache
def picture() -> bytes:
    """A JPEG of 640x480 pixels and 75 KB, one face of about 150 pixels; always the same."""
    photo = cv2.imdecode(np.fromfile(PHOTO, np.uint8), cv2.IMREAD_COLOR)
    if photo is None:
        raise RuntimeError(f"{PHOTO} could not be decoded")
    photo = cv2.resize(photo, (768, 768), interpolation=cv2.INTER_CUBIC)
    ok, data = cv2.imencode(".jpg", photo[:480, 64:704], [cv2.IMWRITE_JPEG_QUALITY, 94])
    if not ok:
        raise RuntimeError("the picture could not be encoded")
    return data.tobytes()


def raw(path: str) -> Request:
    """The picture as the body."""
    return Request(path, picture(), {"Content-Type": "image/jpeg"})


def packed(path: str) -> Request:
    """The box as four floats and the picture behind it: `peers.face.PACKED_BOX`."""
    body = struct.pack("<4f", *BOX) + picture()
    return Request(path, body, {"Content-Type": "application/octet-stream"})


def tensors(path: str) -> Request:
    """Picture and box as binary tensors of the Open Inference Protocol."""
    image = struct.pack("<I", len(picture())) + picture()
    inputs = [
        {"name": "image", "datatype": "BYTES", "shape": [1, 1], **_binary(len(image))},
        {"name": "box", "datatype": "FP32", "shape": [1, 4], **_binary(16)},
    ]
    wanted = [{"name": "json", "parameters": {"binary_data": True}}]
    head = json.dumps({"inputs": inputs, "outputs": wanted}).encode()
    body = head + image + struct.pack("<4f", *BOX)
    return Request(path, body, {"Inference-Header-Content-Length": str(len(head))})


def _binary(size: int) -> dict[str, dict[str, int]]:
    return {"parameters": {"binary_data_size": size}}
