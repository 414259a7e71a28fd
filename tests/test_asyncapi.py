"""The document of the WebSocket protocol says what the service really sends and takes."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from websockets.asyncio.client import ClientConnection, connect

from atpn.api import queries
from tests import clips
from tests.conftest import FakeServiceFactory
from tests.server import Server, running


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with running(stream_idle_s="4") as started:
        yield started


async def document(fake_service: FakeServiceFactory) -> dict[str, Any]:
    answer = await (await fake_service()).client.get("/asyncapi.json")
    assert answer.headers["content-type"] == "application/json"
    parsed: dict[str, Any] = answer.json()
    return parsed


def check(protocol: dict[str, Any], message: dict[str, Any]) -> None:
    """ValidationError unless the message is what the document says of its type."""
    names = [
        ref["$ref"].rpartition("/")[2] for ref in protocol["operations"]["answers"]["messages"]
    ]
    assert message["type"] in names
    schema = {
        "$ref": f"#/components/schemas/{message['type']}",
        "components": protocol["components"],
    }
    Draft202012Validator(schema).validate(message)


async def received(socket: ClientConnection) -> dict[str, Any]:
    message: dict[str, Any] = json.loads(await socket.recv())
    return message


async def test_every_message_of_a_stream_is_as_documented(
    server: Server, fake_service: FakeServiceFactory
) -> None:
    protocol = await document(fake_service)
    seen = []
    async with connect(server.track_url) as socket:
        seen.append(await received(socket))
        for sent in (clips.panning(1)[0], clips.empty(), b"no image", "no JSON"):
            await socket.send(sent)
            seen.append(await received(socket))
        config = {
            "type": "config",
            "smoothing": True,
            "points": 5,
            "include": ["signals"],
            "fps": 9,
        }
        await socket.send(json.dumps(config))
        await socket.send(clips.panning(1)[0])
        seen.append(await received(socket))
        seen.append(await received(socket))  # idle: closing
    for message in seen:
        check(protocol, message)
    kinds = [message["type"] for message in seen]
    assert kinds == ["session", "frame", "frame", "error", "error", "frame", "closing"]
    assert seen[-2]["faces"][0].keys() >= {"smoothed", "signals"}


async def test_the_documented_control_messages_are_those_that_are_taken(
    fake_service: FakeServiceFactory,
) -> None:
    protocol = await document(fake_service)
    documented = protocol["components"]["schemas"]["config"]["properties"]
    assert documented.keys() == queries.Config.model_fields.keys()


async def test_the_documents_references_all_lead_somewhere(
    fake_service: FakeServiceFactory,
) -> None:
    protocol = await document(fake_service)

    def references(value: object) -> Iterator[str]:
        if isinstance(value, dict):
            if isinstance(value.get("$ref"), str):
                yield value["$ref"]
            for item in value.values():
                yield from references(item)
        elif isinstance(value, list):
            for item in value:
                yield from references(item)

    found = set(references(protocol))
    assert len(found) > 10
    for reference in found:
        place: Any = protocol
        for part in reference.removeprefix("#/").split("/"):
            place = place[part]
