"""Messages of /track: everything wrong is answered with an error, and the stream lives on.

An input is messages between zero bytes; the first byte of each says whether it is text (T) or a
frame. The first byte of all is the subprotocol: J for JSON.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager

from tests.conftest import one_colour
from tests.fuzz.service import Service, service
from tests.fuzz.target import Check, Target

MOST_FACES, MAX_FRAME_BYTES, MOST_MESSAGES = 2, 1024, 8
GOOD = one_colour(128, 128, 128)
KINDS = {"session", "frame", "error"}


@contextmanager
def streaming() -> Iterator[Check]:
    """A check that opens a stream for each input."""
    settings = {"track_max_faces": MOST_FACES, "max_frame_bytes": MAX_FRAME_BYTES}
    with service(**settings) as running:
        yield lambda data: converse(running, data)


def converse(running: Service, data: bytes) -> None:
    """Send the messages and a good frame, which is answered."""
    protocol = "atpn.v1.json" if data[:1] == b"J" else "atpn.v1.msgpack"
    parts = data[1:].split(b"\0")[:MOST_MESSAGES]
    sent = [part[1:].decode(errors="replace") if part[:1] == b"T" else part for part in parts]
    frames = [m for m in sent if isinstance(m, bytes) and len(m) <= MAX_FRAME_BYTES]
    last = len(frames) + 1
    told = running.stream(protocol, [*sent, GOOD], last)
    assert told[0]["type"] == "websocket.accept"
    assert {one["type"] for one in told[1:]} <= KINDS, told[-1]
    [answer] = [one for one in told if one.get("seq") == last and one["type"] == "frame"]
    assert len(answer["faces"]) <= MOST_FACES
    texts = [m for m in sent if isinstance(m, str) and not declared(m)]
    refused = [one for one in told if one["type"] == "error" and "seq" not in one]
    assert len(refused) >= len(texts), "a message that means nothing was not answered"


def declared(text: str) -> bool:
    """Whether a message may be one that the protocol has."""
    try:
        fields = json.loads(text)
    except (ValueError, RecursionError):
        return False
    return isinstance(fields, dict) and fields.get("type") in ["config", "reset"]


def seeds() -> list[bytes]:
    """Each message, right and wrong, and frames between them."""
    config = {
        "type": "config",
        "max_faces": 1,
        "min_confidence": 0.5,
        "points": 5,
        "include": ["pose", "signals"],
        "smoothing": True,
        "fps": 25,
    }
    texts = [
        json.dumps(config),
        '{"type": "reset"}',
        '{"type": "config", "points": 7, "include": ["all"]}',
        '{"type": "config", "\\ud800": 1, "max_faces": 0}',
        '{"type": "config", "include": ["\\ud800"], "min_confidence": NaN}',
        '{"type": ["reset"]}',
        '{"type": "config", "max_faces": 1e999}',
        '{"type": "config", "fps": 1e-320}',
        "[" * 2000,
        "no JSON",
        "",
    ]
    each = [b"JT" + text.encode() for text in texts]
    return [
        *each,
        b"M" + b"\0".join(b"T" + text.encode() for text in texts[:4]),
        b"JF\0FF\0T" + texts[1].encode() + b"\0F" + bytes([255, 216, 255]),
        b"J" + b"F" * (MAX_FRAME_BYTES + 1),
    ]


MESSAGES = Target("messages", streaming, seeds)
