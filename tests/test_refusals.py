"""A stream that is refused before it is greeted is told why, and counted where alerts look."""

import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest
from websockets.asyncio.client import connect

from atpn.app import create_app
from tests.conftest import SettingsFactory, until
from tests.loopback import served
from tests.test_goodbye import Replica, told


@asynccontextmanager
async def replica(
    settings: SettingsFactory, streams: int, **changes: Any
) -> AsyncIterator[Replica]:
    """A service with so many streams open."""
    made = Replica()
    app = create_app(settings(**changes), made.opener)
    with served(app) as url:
        made.url = url.replace("http", "ws") + "/track"
        async with AsyncExitStack() as stack:
            for _ in range(streams):
                socket = await stack.enter_async_context(connect(made.url))
                assert (await told(socket))["type"] == "session"
            yield made


@pytest.mark.parametrize(
    ("code", "close_code", "streams", "changes"),
    [
        ("unauthorized", 1008, 0, {"api_key_hashes": ["0" * 64]}),
        ("forbidden_origin", 1008, 0, {}),
        ("rate_limited", 1013, 1, {"rate_limit_per_s": 0.001, "rate_limit_burst": 1}),
        ("too_many_streams", 1013, 2, {"max_streams": 2}),
        ("shutting_down", 1012, 0, {}),
    ],
)
async def test_a_refused_stream_is_told_why_and_counted_by_that_code(
    code: str, close_code: int, streams: int, changes: dict[str, Any], settings: SettingsFactory
) -> None:
    async with replica(settings, streams, **changes) as service:
        assert service.core is not None
        if code == "shutting_down":
            service.drain()
            await until(service.core.draining.is_set)
        page = {"Origin": "https://evil.example"} if code == "forbidden_origin" else {}
        for _ in range(3):
            async with connect(service.url, additional_headers=page) as socket:
                answer = json.loads(await socket.recv())
                await socket.wait_closed()
            assert (answer["type"], answer["code"], socket.close_code) == (
                "error",
                code,
                close_code,
            )
        registry = service.core.metrics.registry
        assert registry.get_sample_value("atpn_errors_total", {"code": code}) == 3
        assert service.core.streams == streams
