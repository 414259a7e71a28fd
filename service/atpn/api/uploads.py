"""An HTTP request to image bytes and boxes: raw body, multipart form or JSON; limits first."""

import asyncio
import base64
import binascii
import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from atpn.api.deadlines import timeout_of
from atpn.api.queries import parse_boxes
from atpn.errors import (
    ClientGone,
    InvalidRequest,
    RequestTimeout,
    TooLarge,
    UnsupportedMediaType,
)
from atpn.faces.headers import FORMATS
from atpn.geometry import Box

RAW_TYPES = frozenset(
    [*FORMATS.values(), "application/octet-stream", "image/jpg", "image/x-ms-bmp"]
)


@dataclass(frozen=True)
class Upload:
    """An encoded image and the boxes given with it (None: look for faces)."""

    data: bytes
    boxes: list[Box] | None


async def read_upload(
    request: Request, max_bytes: int, max_boxes: int, boxes: str | None = None
) -> Upload:
    """Read the body within its limit and take it apart by its content type.

    ``boxes`` are those of the query, for a raw body: a form and JSON have a place of their own.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind in RAW_TYPES:
        given = None if boxes is None else parse_boxes(_json(boxes, "boxes", max_boxes), max_boxes)
        return Upload(await read_body(request, max_bytes), given)
    if boxes is not None:
        raise InvalidRequest("boxes: in the query they are for a raw image; put them in the body")
    if kind == "multipart/form-data":
        return await _from_form(request, await read_body(request, max_bytes), max_boxes)
    if kind == "application/json":
        return _from_json(await read_body(request, max_bytes), max_boxes)
    raise UnsupportedMediaType(
        f"content type {kind or 'is missing'}; send {', '.join(sorted(FORMATS.values()))}, "
        "application/octet-stream, multipart/form-data or application/json"
    )


async def read_batch(request: Request, max_bytes: int, max_images: int) -> list[Upload]:
    """The images of a form that repeats the file field ``image``, in their order."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "multipart/form-data":
        raise UnsupportedMediaType(
            f"content type {kind or 'is missing'}; send multipart/form-data with a file field "
            "'image' for each image"
        )
    async with _form(request, await read_body(request, max_bytes), max_images) as form:
        unknown = sorted(set(form) - {"image"})
        if unknown:
            raise InvalidRequest(f"multipart body: unknown field {unknown[0]!r}; known is 'image'")
        images = [_file(image) for image in form.getlist("image")]
        if not images:
            raise InvalidRequest("multipart body: the field 'image' is missing")
        return [Upload(await image.read(), None) for image in images]


async def read_body(request: Request, max_bytes: int) -> bytes:
    """The body; TooLarge by its declared length, or as soon as more has arrived; RequestTimeout
    at the request's deadline.
    """
    declared = request.headers.get("content-length", "0")
    if declared.isdecimal() and int(declared) > max_bytes:
        raise TooLarge(f"{declared} bytes are more than the limit of {max_bytes}")
    left_s = timeout_of(request, request.app.state.core.settings.request_timeout_s)
    try:
        async with asyncio.timeout(left_s):
            return await _all_of(request, max_bytes)
    except TimeoutError:
        raise RequestTimeout("the body had not come when the deadline passed") from None


async def _all_of(request: Request, max_bytes: int) -> bytes:
    parts: list[bytes] = []
    size = 0
    while True:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise ClientGone("the client went away while it sent the body")
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > max_bytes:
            raise TooLarge(f"more bytes than the limit of {max_bytes}")
        if not message.get("more_body", False):
            return b"".join(parts)


class _InMemoryParser(MultiPartParser):
    """Images are never written to disk, not even to a temporary file."""

    spool_max_size = 1 << 40
    ended = False

    def on_end(self) -> None:
        """The closing boundary was there."""
        self.ended = True

    def close(self) -> None:
        """Free what was read, whether or not it became a field."""
        for file in self._files_to_close_on_error:
            file.close()


@asynccontextmanager
async def _form(request: Request, body: bytes, max_files: int) -> AsyncIterator[FormData]:
    """The parsed form, whole; its files are freed with the block."""

    async def chunks() -> AsyncGenerator[bytes, None]:
        yield body

    parser = _InMemoryParser(
        request.headers, chunks(), max_files=max_files, max_fields=8, max_part_size=len(body) + 1
    )
    try:
        form = await parser.parse()
        if not parser.ended:
            raise InvalidRequest("multipart body: ends before its closing boundary")
        yield form
    except (MultiPartException, KeyError, ValueError) as error:  # also of a charset's decoder
        raise InvalidRequest(f"multipart body: {error}") from None
    finally:
        parser.close()


def _file(value: UploadFile | str) -> UploadFile:
    if isinstance(value, str):
        raise InvalidRequest("image: send it as a file, with a file name, not as a plain field")
    return value


async def _from_form(request: Request, body: bytes, max_boxes: int) -> Upload:
    async with _form(request, body, max_files=1) as form:
        image, boxes = _fields_of(form)
        data = await image.read()
    if boxes is None:
        return Upload(data, None)
    return Upload(data, parse_boxes(_json(boxes, "boxes", max_boxes), max_boxes))


def _fields_of(form: FormData) -> tuple[UploadFile, str | None]:
    """Image and boxes of a form that has no other fields."""
    unknown = sorted(set(form) - {"image", "boxes"})
    if unknown:
        raise InvalidRequest(
            f"multipart body: unknown field {unknown[0]!r}; known are 'image' and 'boxes'"
        )
    for name in form:
        if len(form.getlist(name)) > 1:
            raise InvalidRequest(f"multipart body: more than one field {name!r}")
    if "image" not in form:
        raise InvalidRequest("multipart body: the field 'image' is missing")
    boxes = form.get("boxes")
    if isinstance(boxes, UploadFile):
        raise InvalidRequest("boxes: send a JSON list as a plain field, not a file")
    return _file(form["image"]), boxes


def _from_json(body: bytes, max_boxes: int) -> Upload:
    fields = _json(body, "body", max_boxes)
    if not isinstance(fields, dict) or not isinstance(fields.get("image"), str):
        raise InvalidRequest("body: a JSON object with a base64 string 'image' is expected")
    unknown = sorted(set(fields) - {"image", "boxes"})
    if unknown:
        raise InvalidRequest(f"body: unknown field {unknown[0]!r}; known are 'image' and 'boxes'")
    if fields["image"].startswith("data:"):
        raise InvalidRequest("image: not base64 but a data: URI; send what follows its comma")
    try:
        data = base64.b64decode(fields["image"], validate=True)
    except (binascii.Error, ValueError) as error:
        raise InvalidRequest(f"image: not base64 ({error})") from None
    boxes = fields.get("boxes")
    return Upload(data, None if boxes is None else parse_boxes(boxes, max_boxes))


def _json(body: bytes | str, name: str, max_boxes: int) -> Any:
    """InvalidRequest also for what is far from so many boxes: millions of empty lists would hold
    everything up for seconds.
    """
    most = 16 * max_boxes + 50_000
    marks = (",", "[") if isinstance(body, str) else (b",", b"[")
    if any(body.count(mark) > most for mark in marks):  # type: ignore[arg-type]
        raise InvalidRequest(f"{name}: far more than the limit of {max_boxes} boxes")
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        raise InvalidRequest(f"{name}: not JSON ({error})") from None
