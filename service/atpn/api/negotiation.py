"""In which form an answer is given: what Accept wishes, as far as it can be had."""

from collections.abc import Mapping
from typing import Any

import msgpack
import orjson
from fastapi import Response

Payload = dict[str, Any]

JSON, MSGPACK = "application/json", "application/msgpack"
_PICTURES = ("image/jpeg", "image/png")
_BY_NAME = {
    JSON: JSON,
    "application/*": JSON,
    "*/*": JSON,
    MSGPACK: MSGPACK,
    "application/x-msgpack": MSGPACK,
    "application/vnd.msgpack": MSGPACK,
} | {kind: kind for kind in _PICTURES}


def wished_type(accept: str, pictures: bool) -> str:
    """The first media type of Accept that can be answered; JSON where none can."""
    for part in accept.split(","):
        kind = _BY_NAME.get(part.partition(";")[0].strip().lower())
        if kind is not None and (pictures or kind not in _PICTURES):
            return kind
    return JSON


def packed(payload: Payload, kind: str, headers: Mapping[str, str] | None = None) -> Response:
    """``payload`` as JSON or msgpack."""
    data = msgpack.packb(payload) if kind == MSGPACK else orjson.dumps(payload)
    return Response(data, headers=dict(headers or {}), media_type=kind)
