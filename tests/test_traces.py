"""OpenTelemetry spans: one a request, with where its time went."""

import json
from contextlib import AsyncExitStack

import pytest
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from websockets.asyncio.client import connect

from atpn import traces
from atpn.app import create_app
from atpn.errors import ConfigurationError
from tests.conftest import SettingsFactory, opened
from tests.loopback import served


async def test_a_request_is_a_span_with_its_times_and_the_callers_trace(
    settings: SettingsFactory, astronaut_jpeg: bytes
) -> None:
    exporter = InMemorySpanExporter()
    app = create_app(settings())
    traces.install(app, SimpleSpanProcessor(exporter))
    async with AsyncExitStack() as stack:
        client = await opened(stack, app)
        caller = "0af7651916cd43dd8448eb211c80319c"
        headers = {
            "content-type": "image/jpeg",
            "traceparent": f"00-{caller}-b7ad6b7169203331-01",
        }
        assert (await client.post("/align", content=astronaut_jpeg, headers=headers)).is_success
        assert (await client.get("/healthz")).is_success
    (span,) = exporter.get_finished_spans()
    attributes = dict(span.attributes or {})
    assert "/align" in span.name
    assert f"{span.context.trace_id:032x}" == caller
    assert attributes["atpn.faces"] == 1
    times = {name for name in attributes if name.startswith("atpn.ms.")}
    assert times == {f"atpn.ms.{part}" for part in ("decode", "detect", "queue", "inference")}


async def test_the_token_of_a_stream_is_in_no_span(settings: SettingsFactory) -> None:
    exporter = InMemorySpanExporter()
    app = create_app(settings())
    traces.install(app, SimpleSpanProcessor(exporter))
    with served(app) as url:
        async with connect(f"{url.replace('http', 'ws')}/track?token=secret") as socket:
            assert json.loads(await socket.recv())["type"] == "session"
    spans = exporter.get_finished_spans()
    assert spans
    assert "/track" in spans[0].to_json()
    assert "secret" not in "".join(span.to_json() for span in spans)


def test_without_the_extra_the_start_says_what_to_install(
    settings: SettingsFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(traces, "INSTALLED", False)
    with pytest.raises(ConfigurationError, match=r"pip install '\.\[traces\]'"):
        create_app(settings(traces=True))
