"""The whole service around a fake model, asked without sockets: requests and streams as ASGI."""

import asyncio
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import msgpack
from fastapi import FastAPI
from starlette.types import Message

from atpn.app import create_app
from atpn.assembly import run_core
from atpn.geometry import Box
from atpn.settings import Settings
from tests.conftest import FakeDetector, FakeNetwork

ANSWER_S = 10  # the longest wait for an answer


@dataclass(frozen=True)
class Answer:
    """Of an HTTP request."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True)
class Service:
    """A started application and the loop that it runs on."""

    app: FastAPI
    network: FakeNetwork
    runner: asyncio.Runner

    def post(
        self, path: str, query: bytes, headers: Sequence[tuple[bytes, bytes]], body: bytes
    ) -> Answer:
        """The answer to a POST, whatever stands in it."""
        self.network.batches.clear()
        scope = _scope("http", path, query, headers) | {"method": "POST"}
        return self.runner.run(_posted(self.app, scope, body))

    def stream(
        self, protocol: str, messages: Sequence[str | bytes], last: int
    ) -> list[dict[str, Any]]:
        """Everything that /track says for ``messages``, until frame ``last`` is answered."""
        self.network.batches.clear()
        scope = _scope("websocket", "/track", b"", []) | {"subprotocols": [protocol]}
        return self.runner.run(_streamed(self.app, scope, messages, last))


def _scope(
    kind: str, path: str, query: bytes, headers: Sequence[tuple[bytes, bytes]]
) -> dict[str, Any]:
    return {
        "type": kind,
        "path": path,
        "query_string": query,
        "headers": list(headers),
        "client": ("127.0.0.1", 1),
        "app": None,
    }


async def _posted(app: FastAPI, scope: dict[str, Any], body: bytes) -> Answer:
    incoming = iter([{"type": "http.request", "body": body, "more_body": False}])
    sent: list[Message] = []

    async def receive() -> Message:
        message = next(incoming, None)
        if message is None:
            await asyncio.sleep(ANSWER_S)  # the client waits for its answer
        return message or {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        sent.append(message)

    async with asyncio.timeout(ANSWER_S):
        await app(scope, receive, send)
    start = sent[0]
    headers = {name.decode("latin-1").lower(): v.decode("latin-1") for name, v in start["headers"]}
    return Answer(start["status"], headers, b"".join(m.get("body", b"") for m in sent[1:]))


async def _streamed(
    app: FastAPI, scope: dict[str, Any], messages: Sequence[str | bytes], last: int
) -> list[dict[str, Any]]:
    incoming: asyncio.Queue[Message] = asyncio.Queue()
    incoming.put_nowait({"type": "websocket.connect"})
    for message in messages:
        kind = "text" if isinstance(message, str) else "bytes"
        incoming.put_nowait({"type": "websocket.receive", kind: message})
    sent: list[dict[str, Any]] = []
    answered = asyncio.Event()

    async def send(message: Message) -> None:
        sent.append(told(message))
        if message["type"] == "websocket.close" or sent[-1].get("seq") == last:
            answered.set()

    stream = asyncio.create_task(app(scope, incoming.get, send))
    waiting = asyncio.create_task(answered.wait())
    try:
        await asyncio.wait([stream, waiting], timeout=ANSWER_S, return_when=asyncio.FIRST_COMPLETED)
        incoming.put_nowait({"type": "websocket.disconnect", "code": 1000})
        await asyncio.wait_for(stream, ANSWER_S)
    finally:
        waiting.cancel()
        stream.cancel()
    return sent


def told(message: Message) -> dict[str, Any]:
    """What a message of ours says; its type alone where it carries nothing."""
    if message["type"] != "websocket.send":
        return {"type": message["type"]}
    text = message.get("text")
    found: dict[str, Any] = msgpack.unpackb(message["bytes"]) if text is None else json.loads(text)
    return found


@contextmanager
def service(**settings: Any) -> Iterator[Service]:
    """The service with a fake model that sees one face, closed with the block."""
    network, detector = FakeNetwork(), FakeDetector(Box(8, 8, 40, 40))
    app = create_app(Settings(**settings), lambda chosen: run_core(chosen, network, detector))
    with asyncio.Runner() as runner:
        lifespan = app.router.lifespan_context(app)
        runner.run(lifespan.__aenter__())
        try:
            yield Service(app, network, runner)
        finally:
            runner.run(lifespan.__aexit__(None, None, None))
