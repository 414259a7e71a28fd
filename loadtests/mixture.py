"""The soak's load: photographs, batches, streams that come and go, and requests that are wrong.

It is moderate: what grows under it grows for other reasons than a full queue.
"""

import asyncio
from collections.abc import Coroutine, Iterator
from dataclasses import dataclass, field
from typing import Any

from loadtests.bodies import BOUNDARY, Request, picture, raw
from loadtests.open_loop import Crowd
from loadtests.streams import Stream, visit

PHOTOS_PER_S, BATCHES_PER_S, BAD_PER_S = 6.0, 0.5, 0.5  # the last of each kind of bad request
BATCH = 4  # images
STREAMS, VISITS, PAUSE_S = 3, 3, 0.1  # at once; one after the other in a round; between frames
DEADLINE_S = 20.0  # far beyond what a moderate load takes
MIB = 2**20


@dataclass
class Seen:
    """What came of one round."""

    photos_ms: list[float] = field(default_factory=list)
    frames_ms: list[float] = field(default_factory=list)
    answers: int = 0  # as they should be, refusals of what is wrong among them
    errors: list[str] = field(default_factory=list)  # a word on each that should not be


def batch() -> Request:
    """A form with a few pictures."""
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\n'
    part = head.encode() + picture() + b"\r\n"
    body = BATCH * part + f"--{BOUNDARY}--\r\n".encode()
    kind = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
    return Request("/align/batch", body, kind)


def bad_requests() -> dict[str, Request]:
    """Requests that are to be refused, each for another reason."""
    jpeg, json_kind = {"Content-Type": "image/jpeg"}, {"Content-Type": "application/json"}
    return {
        "a picture that is cut": Request("/align", picture()[:20_000], jpeg),
        "no picture": Request("/align", b"words" * 1000, jpeg),
        "a box outside": raw("/align?boxes=[[-9,-9,-5,-5]]"),
        "broken JSON": Request("/align", b'{"image": "', json_kind),
        "a form without an end": Request("/align/batch", batch().body[:-9], batch().headers),
        "an unknown type": Request("/align", b"<svg/>", {"Content-Type": "image/svg+xml"}),
        "an unknown path": Request("/nowhere", b"", jpeg),
    }


async def one_round(port: int, seconds: float) -> Seen:
    """All of the load for so long."""
    seen = Seen()
    async with asyncio.TaskGroup() as group:
        for load in loads(port, seconds, seen):
            group.create_task(load)
    return seen


def loads(port: int, seconds: float, seen: Seen) -> Iterator[Coroutine[Any, Any, None]]:
    """The parts of the load, each of which tells ``seen`` when it ends."""
    yield good(Crowd(port, raw("/align?include=pose").on_the_wire(), DEADLINE_S), seconds, seen)
    yield batches(Crowd(port, batch().on_the_wire(), DEADLINE_S), seconds, seen)
    for name, request in bad_requests().items():
        yield bad(name, Crowd(port, request.on_the_wire(), DEADLINE_S), seconds, seen)
    stay_s = max(0.1, seconds / VISITS - 0.5)
    for _ in range(STREAMS):
        yield visitor(port, stay_s, picture(), seen)
    yield visitor(port, stay_s, b"no picture", seen)


async def good(crowd: Crowd, seconds: float, seen: Seen) -> None:
    """Photographs at their times."""
    await crowd.come(PHOTOS_PER_S, seconds)
    seen.photos_ms += crowd.in_time_ms
    tell("/align", crowd, seen)


async def batches(crowd: Crowd, seconds: float, seen: Seen) -> None:
    """Batches at their times."""
    await crowd.come(BATCHES_PER_S, seconds)
    tell("/align/batch", crowd, seen)


def tell(path: str, crowd: Crowd, seen: Seen) -> None:
    """What came of requests that are right."""
    seen.answers += len(crowd.in_time_ms)
    seen.errors += [f"{path}: {status}" for status in crowd.refusals.elements()]
    seen.errors += crowd.late * [f"{path}: no answer"]
    hang_up(crowd)


async def bad(name: str, crowd: Crowd, seconds: float, seen: Seen) -> None:
    """Requests that are wrong, at their times: each is to be refused as the caller's fault."""
    await crowd.come(BAD_PER_S, seconds)
    refused = [s for s in crowd.refusals.elements() if 400 <= s < 500]
    seen.answers += len(refused)
    seen.errors += [f"{name}: {s}" for s in crowd.refusals.elements() if s not in refused]
    seen.errors += len(crowd.in_time_ms) * [f"{name}: 200"] + crowd.late * [f"{name}: no answer"]
    hang_up(crowd)


def hang_up(crowd: Crowd) -> None:
    """Close the connections that are left."""
    for connection in crowd.free:
        connection.transport.close()


async def visitor(port: int, stay_s: float, frame: bytes, seen: Seen) -> None:
    """Streams one after the other; of frames that are no picture each has to fail."""
    for _ in range(VISITS):
        try:
            stream = await visit(port, frame, stay_s, PAUSE_S)
        except (OSError, TimeoutError) as error:
            seen.errors.append(f"/track: {error!r}")
            continue
        judge(stream, frame == picture(), seen)


def judge(stream: Stream, good_frames: bool, seen: Seen) -> None:
    """What came of a stream."""
    answers = len(stream.times_ms)
    wrong = stream.failed if good_frames else answers - stream.failed
    seen.answers += answers - wrong
    seen.errors += wrong * ["/track: a frame"]
    if good_frames:
        seen.frames_ms += stream.times_ms
