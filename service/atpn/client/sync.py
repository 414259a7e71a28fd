"""The blocking client."""

import itertools
import ssl
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, suppress
from types import TracebackType
from typing import Self

import httpx
from websockets.sync.client import ClientConnection, connect

from atpn.client.connection import ENDS, bound, loss_of, options
from atpn.client.errors import ClientError, ServiceError
from atpn.client.newest import check_pace
from atpn.client.parts import Payload
from atpn.client.pictures import Picture, encoded, several
from atpn.client.protocol import Follow, StreamProtocol
from atpn.client.requests import (
    Boxes,
    Endpoint,
    Wanted,
    body_of,
    failure_of,
    groups,
    many_images,
    one_image,
    refused_alone,
    result_of,
    results_of,
    wait_before_retry_s,
)
from atpn.client.results import Frame, Result


class Client:
    """Calls a running service; may be shared by threads, `track` streams by one each.

    ``with Client("https://faces.example", key="...") as client:`` closes its connections at the
    end. What is refused or fails on the way raises ClientError; before anything is sent a path that
    cannot be read raises OSError, what is no image ValueError or TypeError.

    ``timeout_s`` bounds each wait for the service. A call is tried again up to ``retries`` times
    where it was refused with 503 or 429, the connection broke or a proxy's did (502). ``lossless``
    sends pixel arrays as PNG instead of JPEG. ``ssl_context`` replaces the default trust in
    certificates.
    """

    def __init__(
        self,
        url: str = "http://127.0.0.1:8000",
        *,
        key: str | None = None,
        timeout_s: float = 15.0,
        retries: int = 3,
        lossless: bool = False,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        self.endpoint = Endpoint(url, key, timeout_s, retries, lossless, ssl_context)
        self._http = httpx.Client(**self.endpoint.http)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def align(
        self,
        image: Picture,
        *,
        boxes: Boxes | None = None,
        boxes_are: str | None = None,
        points: int = 98,
        pose: bool = False,
        signals: bool = False,
        max_faces: int | None = None,
        min_confidence: float | None = None,
        quality: str = "normal",
    ) -> Result:
        """The faces of an image with 98, 68 or 5 ``points``, and with ``pose`` their direction.

        With ``signals`` also how open eyes and mouth are, smile, brows and pupils. With ``quality``
        ``best`` each face is looked at four times, at four times the cost, not once or twice.

        ``boxes``, (x0, y0, x1, y1) in pixels, say where the faces are; there is then one answer
        a box, in their order. Otherwise a detector looks for faces, best first. ``boxes_are`` says
        what they are: ``detector`` (forehead to chin, the default), ``landmarks`` (the bounding
        rectangle of landmarks) or ``roi`` (the very region that the network is to see).
        """
        query = Wanted(points, pose, max_faces, min_confidence, boxes_are, signals, quality).query
        return self._one("/align", query, image, boxes)

    def pose(
        self,
        image: Picture,
        *,
        boxes: Boxes | None = None,
        boxes_are: str | None = None,
        signals: bool = False,
        max_faces: int | None = None,
        min_confidence: float | None = None,
        quality: str = "normal",
    ) -> Result:
        """The direction of each head, without landmarks; see `align`."""
        query = Wanted(98, False, max_faces, min_confidence, boxes_are, signals, quality).pose_query
        return self._one("/pose", query, image, boxes)

    def batch(
        self,
        images: Sequence[Picture],
        *,
        points: int = 98,
        pose: bool = False,
        signals: bool = False,
        max_faces: int | None = None,
        min_confidence: float | None = None,
        quality: str = "normal",
    ) -> list[Result]:
        """One result an image, in their order; a refused one has its ``error``.

        Up to 32 images and 40 MiB go into one request.
        """
        images = list(several(images))
        if not images:
            return []
        query = Wanted(points, pose, max_faces, min_confidence, None, signals, quality).query
        data = [encoded(image, self.endpoint.lossless) for image in images]
        results = []
        for part in groups(data):
            try:
                answer = self._answer(many_images(query, data[part]))
            except ServiceError as error:
                results.append(refused_alone(error, images[part]))
            else:
                results += results_of(answer, images[part])
        return results

    def track(
        self,
        frames: Iterable[Picture],
        *,
        points: int = 98,
        pose: bool = True,
        signals: bool = False,
        max_faces: int | None = None,
        min_confidence: float | None = None,
        smoothing: bool = False,
        fps: float | None = None,
        realtime: bool = False,
        patience_s: float | None = None,
    ) -> Iterator[Frame]:
        """Follow faces through ``frames``; yields their results in order.

        Every frame is answered: the next one is taken when the last has its result, and after
        a broken connection the stream goes on where it was, on any replica. With ``realtime``
        frames are taken as fast as they come (by a thread of its own) and the newest wins;
        results say how many were ``dropped``. A refused frame is a result with ``error``.

        A service that is away is connected to again and again; ConnectionFailed is raised after
        ``patience_s`` without an answer: 30 seconds, and 300 with ``realtime``, unless given
        (`math.inf`: never). One that was not there from the start is not waited for.

        ``signals`` also counts blinks, and learns the person. Their times are those at which
        frames come; ``fps`` says that these are a recording's, so many a second.
        """
        several(frames)
        check_pace(realtime, fps)
        stream = StreamProtocol(
            Follow(points, pose, max_faces, min_confidence, smoothing, signals, fps),
            time.monotonic,
            realtime=realtime,
            patience_s=patience_s,
        )
        with Line(self.endpoint, stream) as line:
            yield from line.newest(frames) if realtime else line.every(frames)

    def _one(self, path: str, query: dict[str, str], image: Picture, boxes: Boxes | None) -> Result:
        data = encoded(image, self.endpoint.lossless)
        return result_of(self._answer(one_image(path, query, data, boxes)), image)

    def _answer(self, call: Payload) -> Payload:
        for attempt in itertools.count():
            try:
                return self._once(call)
            except ClientError as error:
                wait_s = wait_before_retry_s(error, attempt, self.endpoint.retries)
                if wait_s is None:
                    raise
            time.sleep(wait_s)
        raise AssertionError("the count has no end")

    def _once(self, call: Payload) -> Payload:
        try:
            return body_of(self._http.request(**call))
        except httpx.HTTPError as error:
            raise failure_of(error, self.endpoint.timeout_s) from error


class Line:
    """Moves the messages of one `StreamProtocol` over one connection after another."""

    def __init__(self, endpoint: Endpoint, stream: StreamProtocol) -> None:
        self._endpoint = endpoint
        self._stream = stream
        self._open = ExitStack()
        self._socket: ClientConnection | None = None
        self._changed = threading.Condition()  # guards the stream, which a feeder fills
        self._failure: BaseException | None = None  # of the caller's frames
        self._ended = False  # no further frames come

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ended = True
        self._open.close()

    def every(self, frames: Iterable[Picture]) -> Iterator[Frame]:
        """One frame after the other, none lost."""
        for picture in frames:
            self._stream.put(encoded(picture, self._endpoint.lossless), picture)
            while not self._stream.idle:
                yield from self._step()

    def newest(self, frames: Iterable[Picture]) -> Iterator[Frame]:
        """Frames as fast as they come, of which the newest waits."""
        threading.Thread(target=self._feed, args=(frames,), name="atpn-frames", daemon=True).start()
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._ended or not self._stream.idle)
                if self._failure is not None:
                    raise self._failure
                if self._stream.idle:
                    return
            yield from self._step()

    def _feed(self, frames: Iterable[Picture]) -> None:
        """The feeder's thread; it ends with the frames, or at the first frame after the stream."""
        try:
            for picture in frames:
                data = encoded(picture, self._endpoint.lossless)
                with self._changed:
                    if self._ended:
                        return
                    self._stream.put(data, picture)
                    self._changed.notify()
                with suppress(*ENDS):  # the other thread sees the end too
                    self._flush()
        except BaseException as error:  # raised where the results are read
            self._failure = error
        finally:
            with self._changed:
                self._ended = True
                self._changed.notify()

    def _step(self) -> list[Frame]:
        """Send what may be sent and take one message; results may come of either."""
        opening = self._socket is None
        try:
            socket = self._connected()
            opening = False
            self._flush()
            with self._changed:
                results = self._stream.results()
            if results:
                return results
            message = socket.recv(self._endpoint.timeout_s)
        except ENDS as error:
            loss = loss_of(error, self._endpoint.timeout_s, opening)
            self._hang_up()
            with self._changed:
                wait_s = self._stream.lost(loss)
                results = self._stream.results()
            if not results:
                time.sleep(wait_s)
            return results
        with self._changed:
            self._stream.received(message)
            return self._stream.results()

    def _connected(self) -> ClientConnection:
        if self._socket is None:
            url = self._stream.url(self._endpoint.url)
            opened = self._open.enter_context(connect(url, **options(self._endpoint)))
            bound(opened.socket, self._endpoint.timeout_s)
            with self._changed:
                self._stream.connected()
                self._socket = opened
        return self._socket

    def _hang_up(self) -> None:
        with self._changed:
            self._socket = None
        with suppress(*ENDS):
            self._open.close()

    def _flush(self) -> None:
        with self._changed:
            if self._socket is None:
                return
            for message in self._stream.outgoing():
                self._socket.send(message)
