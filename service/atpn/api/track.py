"""WS /track: moves encoded frames in and answers out; what a frame means is `stream`'s.

One frame is in flight and one waits; a newer frame replaces the waiting one, and the next answer
says how many were dropped. Everything that a client sends wrong is answered with an ``error``
message; the stream lives on.
"""

import asyncio
import json
import logging
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any

import msgpack
import orjson
from fastapi import APIRouter, WebSocket, WebSocketDisconnect

from atpn.api import problems
from atpn.api.answers import Payload, View, add_smoothed, frame_payload
from atpn.api.auth import check_key, check_origin, client_of
from atpn.api.mailbox import Mail, Mailbox
from atpn.api.queries import stream_config
from atpn.core import Core
from atpn.errors import AtpnError, InvalidRequest, TooLarge
from atpn.faces.smoothing import Smoother
from atpn.faces.stream import Stream, Timing, rules_of

log = logging.getLogger("atpn.track")

router = APIRouter()

#: Subprotocol to encoder; the messages are the same. Without one, JSON.
SUBPROTOCOLS: dict[str, Callable[[Payload], str | bytes]] = {
    "atpn.v1.json": lambda payload: orjson.dumps(payload).decode(),
    "atpn.v1.msgpack": msgpack.packb,
}
MAX_TEXT = 4096  # characters of a control message
RESTART = 1012  # close codes of RFC 6455 and its registry
GOING_AWAY = 1001


@router.websocket("/track")
async def track(socket: WebSocket) -> None:
    """Serve one stream; see the module for the protocol."""
    core: Core = socket.app.state.core
    offered = socket.scope.get("subprotocols", [])
    chosen = next((name for name in offered if name in SUBPROTOCOLS), None)
    await socket.accept(chosen)
    connection = Connection(socket, core, SUBPROTOCOLS[chosen or "atpn.v1.json"])
    try:
        check_origin(core.settings.cors_origins, socket.headers)
        key = check_key(core.settings.api_key_hashes, socket.headers, offered)
        core.limiter.take(client_of(socket, key))
        # A client that goes away is no error: its session stays in the store.
        with core.open_stream(), suppress(WebSocketDisconnect):
            await connection.serve()
    except AtpnError as error:
        await connection.refuse(error)


class Connection:
    """One open WebSocket: a receiver that fills the mailbox and a loop that empties it."""

    def __init__(
        self, socket: WebSocket, core: Core, encode: Callable[[Payload], str | bytes]
    ) -> None:
        self._socket = socket
        self._core = core
        self._encode = encode
        self._smoother = Smoother()
        self._view = View()
        self._mailbox = Mailbox()
        self._arrived = asyncio.Event()
        self._turn = asyncio.Lock()  # of a frame in work, or of the goodbye
        rules = rules_of(core.settings)
        token = socket.query_params.get("token")
        self._stream = Stream(core.pipeline, core.store, core.tokens, token, rules)

    async def refuse(self, error: AtpnError) -> None:
        """Tell why, and close."""
        await self._send(problems.message(self._core.metrics, error))
        await self._socket.close(error.close_code, error.code)

    async def serve(self) -> None:
        """Greet, then answer frames until the client goes, idles out, or the process drains."""
        await self._stream.open()
        await self._send(self._hello())
        tasks = [
            asyncio.create_task(self._receive(), name="receive"),
            asyncio.create_task(self._answer(), name="answer"),
            asyncio.create_task(self._drain(), name="drain"),
            asyncio.create_task(self._grow_old(), name="grow old"),
        ]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self._stream.close()

    def _hello(self) -> Payload:
        settings, stream = self._core.settings, self._stream
        return {
            "type": "session",
            "session_id": stream.session_id,
            "token": stream.token,
            "state": stream.began,
            "seq": stream.seq,
            "model": {"name": self._core.model.name, "version": self._core.model.version},
            "limits": {
                "max_frame_bytes": settings.max_frame_bytes,
                "max_pixels": settings.max_pixels,
                "max_faces": settings.track_max_faces,
                "session_ttl_s": settings.session_ttl_s,
                "stream_idle_s": settings.stream_idle_s,
            },
        }

    async def _receive(self) -> None:
        idle_s, clock = self._core.settings.stream_idle_s, asyncio.get_running_loop().time
        ends = clock() + idle_s
        while True:
            try:
                async with asyncio.timeout_at(ends):
                    message = await self._socket.receive()
            except TimeoutError:
                await self._goodbye("idle", GOING_AWAY)
                return
            if message["type"] == "websocket.disconnect":
                raise WebSocketDisconnect(message.get("code", 1005))
            if message.get("bytes") is not None:  # a stream lives on frames
                ends = clock() + idle_s
            await self._handle(message)

    async def _handle(self, message: Any) -> None:
        data, text = message.get("bytes"), message.get("text")
        try:
            if data is not None:
                self._accept_frame(data)
            else:
                self._control(text or "")
        except AtpnError as error:
            await self._send_error(error)

    def _accept_frame(self, data: bytes) -> None:
        limit = self._core.settings.max_frame_bytes
        if len(data) > limit:
            raise TooLarge(f"a frame of {len(data)} bytes is more than the limit of {limit}")
        if self._mailbox.put(data):
            self._core.metrics.dropped_frames.inc()
        self._arrived.set()

    def _control(self, text: str) -> None:
        if len(text) > MAX_TEXT:
            raise TooLarge(f"a text message of more than {MAX_TEXT} characters")
        try:
            fields = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise InvalidRequest(f"text messages are JSON objects: {error}") from None
        kind = fields.get("type") if isinstance(fields, dict) else None
        if kind == "reset":
            self._mailbox.reset_next = True
        elif kind == "config":
            self._configure(fields)
        else:
            raise InvalidRequest("type: 'config' or 'reset' is expected")

    def _configure(self, fields: Payload) -> None:
        config = stream_config(fields)
        most = self._core.settings.track_max_faces
        rules, view = self._stream.rules, self._view
        if config.max_faces is not None:
            rules = replace(rules, max_faces=min(config.max_faces, most))
        if config.min_confidence is not None:
            rules = replace(rules, threshold=config.min_confidence)
        if config.points is not None:
            view = replace(view, points=config.points)
        if config.include is not None:
            view = replace(view, pose="pose" in config.include)
        if config.smoothing is not None:
            view = replace(view, smoothing=config.smoothing)
        self._stream.rules, self._view = rules, view
        if config.include is not None:
            self._stream.signals = "signals" in config.include
            self._stream.pose = "pose" in config.include
        if config.fps is not None:
            self._stream.timing = Timing(config.fps)

    async def _answer(self) -> None:
        while True:
            await self._arrived.wait()
            async with self._turn:
                self._arrived.clear()
                await self._answer_one(self._mailbox.take())

    async def _answer_one(self, mail: Mail) -> None:
        if mail.reset:
            self._stream.reset()
        view = self._view  # what is wanted of this frame, whatever is configured meanwhile
        try:
            result = await self._stream.frame(mail.frame, mail.skipped)
        except AtpnError as error:
            await self._send_error(error, self._stream.seq, mail.skipped)
        except Exception:
            log.exception("frame failed", extra={"session_id": self._stream.session_id})
            failure = AtpnError("the frame could not be processed")
            await self._send_error(failure, self._stream.seq, mail.skipped)
        else:
            self._core.metrics.frames.labels(result.state).inc()
            self._core.metrics.faces.labels("/track").inc(len(result.faces))
            payload = frame_payload(result, mail.skipped, view)
            if view.smoothing:
                add_smoothed(payload, result, self._smoother, view)
            await self._send(payload)
            self._core.metrics.frame_seconds.observe(time.monotonic() - mail.arrived_s)

    async def _drain(self) -> None:
        await self._core.draining.wait()
        await self._goodbye("shutting_down", RESTART)

    async def _grow_old(self) -> None:
        await asyncio.sleep(self._core.settings.stream_max_age_s)
        await self._goodbye("reconnect", RESTART)

    async def _goodbye(self, reason: str, code: int) -> None:
        """Close between two frames, when any replica can go on from the last."""
        async with self._turn:
            await self._stream.close()
            await self._send({"type": "closing", "reason": reason, "token": self._stream.token})
            await self._socket.close(code, reason)

    async def _send_error(self, error: AtpnError, seq: int | None = None, skipped: int = 0) -> None:
        if seq is not None:
            self._core.metrics.frames.labels("error").inc()
        await self._send(problems.message(self._core.metrics, error, seq, skipped))

    async def _send(self, payload: Payload) -> None:
        try:
            data = self._encode(payload)
            if isinstance(data, str):
                await self._socket.send_text(data)
            else:
                await self._socket.send_bytes(data)
        except (RuntimeError, OSError) as error:  # closed while we answered
            raise WebSocketDisconnect(1006) from error
