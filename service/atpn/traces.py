"""OpenTelemetry traces of requests and streams, where the extra ``traces`` is installed.

Where they are sent to is said by OpenTelemetry's own variables (OTEL_EXPORTER_OTLP_ENDPOINT and
so on). Neither images nor queries are in them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastapi import FastAPI

from atpn.errors import ConfigurationError
from atpn.extras import how_to_install

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import SpanProcessor
    from opentelemetry.trace import Span

try:
    from opentelemetry import trace
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.instrumentation.asgi import OpenTelemetryMiddleware
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor
except ImportError:
    INSTALLED = False
else:
    INSTALLED = True


def install(app: FastAPI, processor: SpanProcessor | None = None) -> None:
    """Give each request and each stream a span; by default they go out over OTLP in batches.

    ConfigurationError where the extra is not installed.
    """
    if not INSTALLED:
        raise ConfigurationError(f"ATPN_TRACES: {how_to_install('traces')}")
    provider = TracerProvider(resource=Resource.create({"service.name": "atpn"}))
    provider.add_span_processor(processor or BatchSpanProcessor(OTLPSpanExporter()))
    app.add_middleware(
        OpenTelemetryMiddleware,
        tracer_provider=provider,
        server_request_hook=_without_query,
        exclude_spans=["receive", "send"],
        excluded_urls="healthz,readyz,metrics",
    )


def _without_query(span: Span, _: dict[str, Any]) -> None:
    """A query may hold the token that a stream is resumed by, which is a secret."""
    for name in ("http.url", "url.full", "http.target"):
        whole = getattr(span, "attributes", {}).get(name)
        if isinstance(whole, str):
            span.set_attribute(name, whole.partition("?")[0])
    span.set_attribute("url.query", "")


def note(times_ms: dict[str, float], faces: int) -> None:
    """Add to the request's span where its time went and how many faces it has."""
    if not INSTALLED:
        return
    span = trace.get_current_span()
    if span.is_recording():
        span.set_attributes({f"atpn.ms.{name}": value for name, value in times_ms.items()})
        span.set_attribute("atpn.faces", faces)
