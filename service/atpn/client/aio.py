"""The asynchronous client: `sync` with await in it."""

import asyncio
import itertools
import ssl
import threading
import time
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator, Sequence
from contextlib import AsyncExitStack, suppress
from queue import SimpleQueue
from types import TracebackType
from typing import Self

import httpx
from websockets.asyncio.client import ClientConnection, connect

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

Frames = AsyncIterable[Picture] | Iterable[Picture]
Asked = asyncio.Future[list[Picture]]  # for the next frame; none is the end


class AsyncClient:
    """`Client` for asyncio: the same methods and arguments; ``track`` is an async iterator."""

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
        self._http = httpx.AsyncClient(**self.endpoint.http)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def align(
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
        """See `Client.align`."""
        query = Wanted(points, pose, max_faces, min_confidence, boxes_are, signals, quality).query
        return await self._one("/align", query, image, boxes)

    async def pose(
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
        """See `Client.pose`."""
        query = Wanted(98, False, max_faces, min_confidence, boxes_are, signals, quality).pose_query
        return await self._one("/pose", query, image, boxes)

    async def batch(
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
        """See `Client.batch`."""
        images = list(several(images))
        if not images:
            return []
        query = Wanted(points, pose, max_faces, min_confidence, None, signals, quality).query
        data = [await self._encoded(image) for image in images]
        results = []
        for part in groups(data):
            try:
                answer = await self._answer(many_images(query, data[part]))
            except ServiceError as error:
                results.append(refused_alone(error, images[part]))
            else:
                results += results_of(answer, images[part])
        return results

    async def track(
        self,
        frames: Frames,
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
    ) -> AsyncIterator[Frame]:
        """See `Client.track`; frames of a plain iterable are taken in a thread."""
        several(frames)
        check_pace(realtime, fps)
        stream = StreamProtocol(
            Follow(points, pose, max_faces, min_confidence, smoothing, signals, fps),
            time.monotonic,
            realtime=realtime,
            patience_s=patience_s,
        )
        async with Line(self.endpoint, stream) as line:
            results = line.newest(frames) if realtime else line.every(frames)
            async for frame in results:
                yield frame

    async def _one(
        self, path: str, query: dict[str, str], image: Picture, boxes: Boxes | None
    ) -> Result:
        data = await self._encoded(image)
        return result_of(await self._answer(one_image(path, query, data, boxes)), image)

    async def _encoded(self, image: Picture) -> bytes:
        return await asyncio.to_thread(encoded, image, self.endpoint.lossless)

    async def _answer(self, call: Payload) -> Payload:
        for attempt in itertools.count():
            try:
                return await self._once(call)
            except ClientError as error:
                wait_s = wait_before_retry_s(error, attempt, self.endpoint.retries)
                if wait_s is None:
                    raise
            await asyncio.sleep(wait_s)
        raise AssertionError("the count has no end")

    async def _once(self, call: Payload) -> Payload:
        try:
            return body_of(await self._http.request(**call))
        except httpx.HTTPError as error:
            raise failure_of(error, self.endpoint.timeout_s) from error


class Line:
    """Moves the messages of one `StreamProtocol` over one connection after another."""

    def __init__(self, endpoint: Endpoint, stream: StreamProtocol) -> None:
        self._endpoint = endpoint
        self._stream = stream
        self._open = AsyncExitStack()
        self._socket: ClientConnection | None = None
        self._changed = asyncio.Event()
        self._sending = asyncio.Lock()  # messages leave in the order in which they were chosen
        self._feeder: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._feeder is not None:
            self._feeder.cancel()
            await asyncio.gather(self._feeder, return_exceptions=True)
        await self._hang_up()

    async def every(self, frames: Frames) -> AsyncIterator[Frame]:
        """One frame after the other, none lost."""
        async for data, picture in self._encoded(frames):
            self._stream.put(data, picture)
            while not self._stream.idle:
                for frame in await self._step():
                    yield frame

    async def newest(self, frames: Frames) -> AsyncIterator[Frame]:
        """Frames as fast as they come, of which the newest waits."""
        self._feeder = asyncio.create_task(self._feed(frames), name="atpn-frames")
        while True:
            while self._stream.idle and not self._feeder.done():
                self._changed.clear()
                await self._changed.wait()
            if self._stream.idle:
                self._feeder.result()
                return
            for frame in await self._step():
                yield frame

    async def _feed(self, frames: Frames) -> None:
        try:
            async for data, picture in self._encoded(frames):
                self._stream.put(data, picture)
                self._changed.set()
                with suppress(*ENDS):  # the reader of results sees the end too
                    await self._flush()
        finally:
            asyncio.get_running_loop().call_soon(self._changed.set)  # when this task is done

    async def _encoded(self, frames: Frames) -> AsyncIterator[tuple[bytes, Picture]]:
        async for picture in as_async(frames):
            yield await asyncio.to_thread(encoded, picture, self._endpoint.lossless), picture

    async def _step(self) -> list[Frame]:
        """Send what may be sent and take one message; results may come of either."""
        opening = self._socket is None
        try:
            socket = await self._connected()
            opening = False
            await self._flush()
            results = self._stream.results()
            if results:
                return results
            async with asyncio.timeout(self._endpoint.timeout_s):
                message = await socket.recv()
        except ENDS as error:
            loss = loss_of(error, self._endpoint.timeout_s, opening)
            await self._hang_up()
            wait_s = self._stream.lost(loss)
            results = self._stream.results()
            if not results:
                await asyncio.sleep(wait_s)
            return results
        self._stream.received(message)
        return self._stream.results()

    async def _connected(self) -> ClientConnection:
        if self._socket is None:
            url = self._stream.url(self._endpoint.url)
            opened = await self._open.enter_async_context(connect(url, **options(self._endpoint)))
            bound(opened.transport.get_extra_info("socket"), self._endpoint.timeout_s)
            self._stream.connected()
            self._socket = opened
        return self._socket

    async def _hang_up(self) -> None:
        self._socket = None
        with suppress(*ENDS):
            await self._open.aclose()

    async def _flush(self) -> None:
        async with self._sending:
            socket = self._socket  # while it is sent to, another may take its place
            if socket is None:
                return
            for message in self._stream.outgoing():
                await socket.send(message)


async def as_async(frames: Frames) -> AsyncIterator[Picture]:
    """The frames; those of a plain iterable are taken in a thread, for a camera may block."""
    if isinstance(frames, AsyncIterable):
        async for picture in frames:
            yield picture
        return
    loop = asyncio.get_running_loop()
    asked: SimpleQueue[Asked | None] = SimpleQueue()
    # Of its own: the loop's few threads, and the end of the process, would all wait for cameras.
    thread = threading.Thread(
        target=take, args=(iter(frames), asked, loop), name="atpn-frames", daemon=True
    )
    thread.start()
    try:
        while True:
            waiting: Asked = loop.create_future()
            asked.put(waiting)
            if not (taken := await waiting):
                return
            yield taken[0]
    finally:
        asked.put(None)


def take(
    source: Iterator[Picture], asked: SimpleQueue[Asked | None], loop: asyncio.AbstractEventLoop
) -> None:
    """What the thread of `as_async` does: whenever it is asked, it takes the next frame."""
    while (waiting := asked.get()) is not None:
        taken: list[Picture] | BaseException
        try:
            taken = list(itertools.islice(source, 1))
        except BaseException as error:  # raised where the frames are awaited
            taken = error
        try:
            loop.call_soon_threadsafe(tell, waiting, taken)
        except RuntimeError:  # the loop was closed meanwhile
            return


def tell(waiting: Asked, taken: list[Picture] | BaseException) -> None:
    """Answer who waits for a frame, unless that was given up."""
    if waiting.done():
        return
    if isinstance(taken, BaseException):
        waiting.set_exception(taken)
    else:
        waiting.set_result(taken)
