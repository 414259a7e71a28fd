"""What every HTTP request passes: its key is checked, it gets a number, it is counted and timed."""

import logging
import time
import uuid

from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from atpn.api import page, problems
from atpn.api.auth import check_key, client_of
from atpn.core import Core
from atpn.errors import AtpnError, RateLimited, Unauthorized
from atpn.metrics import Metrics

log = logging.getLogger("atpn.http")

HTTP_ERRORS = 500  # statuses from here on are ours to explain: a line in the log
OPEN_PATHS = page.PATHS | {
    *("/healthz", "/readyz", "/metrics", "/openapi.json", "/asyncapi.json"),
}


class Gate:
    """ASGI middleware. WebSockets pass: a stream counts its own frames, checks its own key."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = Request(scope, receive, send)
        request_id = request_id_of(request)
        request.state.request_id = request_id
        started, status = time.monotonic(), 0

        async def send_numbered(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                header = (b"x-request-id", request_id.encode())
                message["headers"] = [*message["headers"], header]
            await send(message)

        try:
            await self._answer(request, send_numbered)
        except Exception:
            log.exception("request %s failed", request_id)
            if not status:
                error = AtpnError("the request could not be processed")
                await problems.response(request, error)(scope, receive, send_numbered)
        count(request, status, time.monotonic() - started)

    async def _answer(self, request: Request, send: Send) -> None:
        core: Core = request.app.state.core
        try:
            if request.scope["path"] not in OPEN_PATHS:
                key = check_key(core.settings.api_key_hashes, request.headers)
                request.state.client = client_of(request, key)
                if request.method == "POST":
                    core.limiter.take(request.state.client)
        except (Unauthorized, RateLimited) as error:
            await problems.response(request, error)(request.scope, request.receive, send)
        else:
            await self._app(request.scope, request.receive, send)


def request_id_of(request: Request) -> str:
    """The caller's X-Request-ID where it is short and printable, else a new one."""
    given = request.headers.get("x-request-id", "")
    if 0 < len(given) <= 64 and given.isascii() and given.isprintable():
        return given
    return uuid.uuid4().hex


def count(request: Request, status: int, seconds: float) -> None:
    """Add one answered request to the metrics."""
    metrics: Metrics = request.app.state.core.metrics
    route = getattr(request.scope.get("route"), "path", "other")
    metrics.requests.labels(route, str(status)).inc()
    metrics.request_seconds.labels(route).observe(seconds)
    fields = {
        "request_id": request.state.request_id,
        "route": route,
        "status": status,
        "ms": round(1000 * seconds, 1),
    }
    level = logging.DEBUG if status < HTTP_ERRORS else logging.WARNING
    log.log(level, "%s %s %d", request.method, route, status, extra=fields)
