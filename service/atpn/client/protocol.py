"""The client's side of /track without sockets: what to send, what an answer means, what when
the connection breaks.

Frames go in by `put`; `outgoing` says what may be sent now; `received` takes the service's
messages; `lost` says how long to wait before the next connection, whose address is `url`;
`results` hands out what has been decided. By default one frame is in flight and none is lost:
what was not answered is sent again. In real time the newest frame waits for one of two places;
what was in flight is given up for it, and where none waits, its newest is sent again.
"""

import json
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from atpn.client.errors import ClientError, ConnectionFailed, ServiceError
from atpn.client.parts import Payload
from atpn.client.pictures import Picture
from atpn.client.requests import problem_of, reconnect_s
from atpn.client.results import Frame

PATIENCE_S = 30.0  # without an answer
PATIENCE_REALTIME_S = 300.0  # outlives the start of a machine: a camera has nobody else
IN_FLIGHT = 2  # in real time: one in work and one that waits, as the service has it
TOO_BIG = 1009  # close code: the frame was larger than any message may be
LATER = ("too_many_streams", "shutting_down", "overloaded", "rate_limited")  # refused for now


@dataclass(frozen=True)
class Follow:
    """What a stream asks to be told; None leaves the service's own setting."""

    points: int = 98
    pose: bool = True
    max_faces: int | None = None
    min_confidence: float | None = None
    smoothing: bool = False
    signals: bool = False
    fps: float | None = None

    @property
    def config(self) -> str:
        """The ``config`` message."""
        include = [name for name in ("pose", "signals") if getattr(self, name)]
        fields: Payload = {"points": self.points, "include": include, "fps": self.fps}
        fields |= {"max_faces": self.max_faces, "min_confidence": self.min_confidence}
        fields |= {"smoothing": self.smoothing or None}
        given = {name: value for name, value in fields.items() if value is not None}
        return json.dumps({"type": "config"} | given)


@dataclass(frozen=True)
class Sent:
    """One frame on its way: its place among the caller's, its bytes, and what was given."""

    index: int
    data: bytes
    picture: Picture


@dataclass(frozen=True)
class Loss:
    """How a connection ended, or why there was none."""

    detail: str
    close_code: int | None = None
    status: int | None = None  # HTTP, where the handshake was refused
    unreachable: bool = False  # nothing listens there


class StreamProtocol:
    """One stream of frames over as many connections as it takes.

    It comes back until there was no answer to a frame for ``patience_s`` of the ``clock``'s
    seconds (None: `PATIENCE_S`, or in real time `PATIENCE_REALTIME_S`); ``backoff`` gives those
    before each connection, with 0 for the first after one that had been good.
    """

    def __init__(
        self,
        follow: Follow,
        clock: Callable[[], float],
        *,
        realtime: bool = False,
        patience_s: float | None = None,
        backoff: Callable[[int], float] = reconnect_s,
    ) -> None:
        self.realtime = realtime
        self.token: str | None = None
        self.session_id = ""
        self._follow = follow
        usual_s = PATIENCE_REALTIME_S if realtime else PATIENCE_S
        self._patience_s = usual_s if patience_s is None else patience_s
        self._backoff = backoff
        self._clock = clock
        self._failures = 0  # connections since the last answer
        self._lost_s: float | None = None  # when the first of them ended
        self._greeted = False  # on this connection
        self._configured = False
        self._refusal: ServiceError | None = None
        self._limit: int | None = None  # bytes of a frame
        self._waiting: Sent | None = None
        self._flying: deque[Sent] = deque()
        self._decided: list[Frame] = []
        self._count = 0  # frames that were put
        self._answered = -1  # index of the last frame that has a result

    @property
    def idle(self) -> bool:
        """Nothing waits for the service."""
        return self._waiting is None and not self._flying

    def url(self, base: str) -> str:
        """Where to connect: /track of the service at ``base`` (http or https), with the token."""
        address = "ws" + base.rstrip("/").removeprefix("http") + "/track"
        return address if self.token is None else f"{address}?token={quote(self.token, safe='')}"

    def put(self, data: bytes, picture: Picture) -> None:
        """The caller's next frame; only in real time may another still wait, which it replaces."""
        if self.idle:
            self._lost_s = None  # since then there was nothing to answer
        self._waiting = Sent(self._count, data, picture)
        self._count += 1

    def connected(self) -> None:
        """A new connection is open: nothing has been said on it."""
        self._greeted = self._configured = False
        self._refusal = None

    def outgoing(self) -> list[str | bytes]:
        """What to send now, in order; it then counts as sent."""
        if not self._greeted:
            return []
        messages: list[str | bytes] = []
        if not self._configured:
            self._configured = True
            messages.append(self._follow.config)
        sent = self._waiting
        if sent is None:
            return messages
        if self._limit is not None and len(sent.data) > self._limit:
            if not self._flying:  # results come in the order of their frames
                self._waiting = None
                self._refuse(sent, f"{len(sent.data)} bytes are more than {self._limit}")
        elif len(self._flying) < (IN_FLIGHT if self.realtime else 1):
            self._waiting = None
            self._flying.append(sent)
            messages.append(sent.data)
        return messages

    def received(self, message: str | bytes) -> None:
        """A message of the service; ServiceError where it refuses the stream itself."""
        told = decoded(message)
        kind = told.get("type")
        if kind == "session":
            self._greet(told)
        elif kind == "frame" or (kind == "error" and "seq" in told):
            self._answer(told)
        elif kind == "error":
            self._refused(problem_of(told))
        # "closing" is followed by the end of the connection, other kinds are of a newer service

    def results(self) -> list[Frame]:
        """The results since the last call, in the order of their frames."""
        decided, self._decided = self._decided, []
        return decided

    def lost(self, loss: Loss) -> float:
        """The connection is gone; returns the seconds until the next try.

        Raises ServiceError or ConnectionFailed where another try is of no use.
        """
        was_good, self._greeted = self._greeted, False
        newest = self._flying.pop() if self._flying else None
        self._flying.clear()  # older ones count as dropped, as the newest does where another waits
        if newest is not None and self._waiting is None:
            if loss.close_code == TOO_BIG:
                self._refuse(newest, loss.detail)
            else:
                self._waiting = newest
        now_s = self._clock()
        self._lost_s = now_s if self._lost_s is None else self._lost_s
        failure = self._final(loss, now_s - self._lost_s)
        if failure is not None:
            raise failure
        attempt = max(self._failures, 0 if was_good else 1)
        self._failures += 1
        return self._backoff(attempt)

    def _greet(self, told: Payload) -> None:
        self._greeted = True
        self.token, self.session_id = told["token"], told["session_id"]
        self._limit = told.get("limits", {}).get("max_frame_bytes")

    def _answer(self, told: Payload) -> None:
        """An answer belongs to the frame behind those that it says were dropped."""
        behind = int(told.get("dropped", 0))
        if behind >= len(self._flying):
            raise ServiceError("the service answered a frame that was not sent")
        for _ in range(behind):
            self._flying.popleft()
        self._failures, self._lost_s = 0, None
        error = problem_of(told) if told["type"] == "error" else None
        self._decide(self._flying.popleft(), told, error)

    def _refuse(self, sent: Sent, detail: str) -> None:
        error = ServiceError(f"frame too large: {detail}", code="too_many_bytes", status=413)
        self._decide(sent, {}, error)

    def _decide(self, sent: Sent, told: Payload, error: ServiceError | None) -> None:
        dropped, self._answered = sent.index - self._answered - 1, sent.index
        frame = Frame(told, error, sent.picture, sent.index, dropped, self.session_id)
        self._decided.append(frame)

    def _refused(self, error: ServiceError) -> None:
        """Told before the end of the connection, or about ``config``."""
        if self._greeted or error.code not in LATER:
            raise error
        self._refusal = error

    def _final(self, loss: Loss, away_s: float) -> ClientError | None:
        """The error to end with, if another try is of no use."""
        if loss.status is not None and loss.status < 500 and loss.status != 429:
            return ServiceError(f"{loss.detail}: is this the right address?", status=loss.status)
        if loss.unreachable and self.token is None:
            return ConnectionFailed(loss.detail)
        if away_s >= self._patience_s:
            return self._refusal or ConnectionFailed(
                f"no answer for {self._patience_s:g} s over {self._failures + 1} connections; "
                f"the last: {loss.detail}"
            )
        return None


def decoded(message: str | bytes) -> Payload:
    """A message of the service: JSON in text, msgpack in bytes."""
    told: Any = None
    try:
        if isinstance(message, str):
            told = json.loads(message)
        else:
            import msgpack  # noqa: PLC0415 - asked for only where it is installed

            told = msgpack.unpackb(message)
    except ValueError as error:
        raise ServiceError(f"a message that cannot be read: {error}") from error
    if not isinstance(told, dict):
        raise ServiceError("a message that is no object: is this the right address?")
    return told
