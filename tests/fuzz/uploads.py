"""Request bodies: raw, forms and JSON give bytes and boxes within the limits, or a refusal.

An input is a line with the content type, one with the boxes of the query, and the body.
"""

import asyncio
import base64
import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace

from starlette.requests import Request
from starlette.types import Message

from atpn.api.uploads import Upload, read_batch, read_upload
from atpn.errors import CallersFault
from tests.fuzz.target import Check, Target

MAX_BYTES, MAX_BOXES, MAX_IMAGES = 2048, 4, 3
PIECE = 100  # bytes of a body that come at once
BOUNDARY = "b"


def request_of(kind: bytes, body: bytes) -> Request:
    """A request as the server hands it on; its body comes in pieces."""
    pieces = [body[i : i + PIECE] for i in range(0, len(body), PIECE)]

    async def receive() -> Message:
        piece = pieces.pop(0) if pieces else b""
        return {"type": "http.request", "body": piece, "more_body": bool(pieces)}

    core = SimpleNamespace(settings=SimpleNamespace(request_timeout_s=5))
    app = SimpleNamespace(state=SimpleNamespace(core=core))
    scope = {"type": "http", "method": "POST", "headers": [(b"content-type", kind)], "app": app}
    return Request(scope, receive)


def split(data: bytes) -> tuple[bytes, str | None, bytes]:
    """Content type, boxes of the query and body of an input."""
    kind, _, rest = data.partition(b"\n")
    boxes, _, body = rest.partition(b"\n")
    return kind, boxes.decode("latin-1") or None, body


async def read(data: bytes) -> None:
    """Both ways to read a body."""
    kind, boxes, body = split(data)
    try:
        upload = await read_upload(request_of(kind, body), MAX_BYTES, MAX_BOXES, boxes)
    except CallersFault:
        pass
    else:
        judge([upload])
    try:
        uploads = await read_batch(request_of(kind, body), MAX_BYTES, MAX_IMAGES)
    except CallersFault:
        return
    assert 0 < len(uploads) <= MAX_IMAGES
    judge(uploads)


def judge(uploads: list[Upload]) -> None:
    """Limits hold, and boxes are boxes."""
    assert sum(len(upload.data) for upload in uploads) <= MAX_BYTES
    for upload in uploads:
        boxes = upload.boxes or []
        assert len(boxes) <= MAX_BOXES
        for box in boxes:
            assert box.width >= 1
            assert box.height >= 1
            assert all(math.isfinite(v) for v in (box.x0, box.y0, box.x1, box.y1))


@contextmanager
def reader() -> Iterator[Check]:
    """A check on an event loop of its own."""
    with asyncio.Runner() as runner:
        yield lambda data: runner.run(read(data))


def form(*fields: tuple[str, bytes]) -> bytes:
    """An input with a form of these fields, each its disposition's parameters and its content."""
    parts = [
        b"--%b\r\nContent-Disposition: form-data; %b\r\n\r\n%b\r\n"
        % (BOUNDARY.encode(), parameters.encode(), content)
        for parameters, content in fields
    ]
    kind = f"multipart/form-data; boundary={BOUNDARY}\n\n".encode()
    return kind + b"".join(parts) + f"--{BOUNDARY}--\r\n".encode()


def seeds() -> list[bytes]:
    """Each kind of body, whole and wrong."""
    image, boxes = ('name="image"; filename="a"', b"IMAGE"), ('name="boxes"', b"[[1,2,3,4]]")
    text = base64.b64encode(b"IMAGE").decode()
    json_head = b"application/json\n\n"
    return [
        b"image/jpeg\n\nIMAGE",
        b"image/png; x=y\n[[1,2,30,40.5]]\nIMAGE",
        b"text/plain\n\nwords",
        b"\n\n",
        form(image),
        form(image, boxes),
        form(image, image, image),
        form(('name="image"', b"no file"), ('name="other"', b"")),
        form(("name*=utf-8''image; filename*=utf-8''%C3%A9", b"x")),
        form(image)[:-6],
        b"multipart/form-data\n\n--\r\n",
        b'multipart/form-data; boundary="a b"; charset=utf-8\n\n--a b\r\n\r\n--a b--',
        form(image).replace(b"=b\n", b"=b; charset=a\0b\n"),
        form(image).replace(b"=b\n", b"=b; charset=idna\n"),
        json_head + json.dumps({"image": text, "boxes": [[0, 0, 9, 9]]}).encode(),
        json_head + b'{"image": "?", "boxes": [[NaN, 1e999, -0, null]]}',
        json_head + b'{"image": "", "boxes": {}, "\\ud800": 1}',
        json_head + b"[" * 2000,
        b"application/json; charset=utf-16\n\n" + '{"image": ""}'.encode("utf-16"),
    ]


UPLOADS = Target("uploads", reader, seeds)
