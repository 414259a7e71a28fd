"""What every HTTP request passes: its key is checked, it gets a number, it is counted and timed."""

import logging
import random
import time
from collections.abc import Mapping, Sequence

from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.routing import BaseRoute, Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from atpn.api import page, problems
from atpn.api.auth import check_key, client_of
from atpn.api.short_ways import ShortWay
from atpn.core import Core
from atpn.errors import AtpnError
from atpn.metrics import Metrics

log = logging.getLogger("atpn.http")

HTTP_ERRORS = 500  # statuses from here on are ours to explain: a line in the log
OPEN_PATHS = page.PATHS | {
    *("/healthz", "/readyz", "/metrics", "/openapi.json", "/asyncapi.json"),
}


class Gate:
    """ASGI middleware: what HTTP requests pass on their way to ``app``, or on a short way there.

    WebSockets pass: a stream counts its own frames and checks its own key.
    """

    def __init__(
        self, app: ASGIApp, short_ways: Mapping[str, ShortWay], routes: Sequence[BaseRoute]
    ) -> None:
        """``routes`` are those of ``app``: a refusal is counted by the one it was for."""
        self._app = app
        self._short_ways = short_ways
        self._routes = routes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = Request(scope, receive, send)
        request_id = request_id_of(request)
        request.state.request_id = request_id
        started, status = time.monotonic(), 0
        numbered = (b"x-request-id", request_id.encode())

        async def send_numbered(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], numbered]
            await send(message)

        try:
            await self._answer(request, send_numbered)
        except Exception:
            log.exception("request failed", extra={"request_id": request_id})
            if not status:
                error = AtpnError("the request could not be processed")
                await problems.response(request, error)(scope, receive, send_numbered)
        count(request, status, time.monotonic() - started)

    async def _answer(self, request: Request, send: Send) -> None:
        scope = request.scope
        path, posted = scope["path"], scope["method"] == "POST"
        try:
            if path not in OPEN_PATHS:
                self._let_in(request, posted)
            if path.endswith("\n"):  # the routes' patterns pass over it
                raise HTTPException(404)
            way = self._short_ways.get(path) if posted else None
            if way is None:
                await self._app(scope, request.receive, send)
                return
            response = await way(request)
        except AtpnError as error:
            response = problems.response(request, error)
        except RequestValidationError as error:
            response = problems.invalid(request, error)
        except HTTPException as error:
            response = problems.unrouted(request, error)
        await response(scope, request.receive, send)

    def _let_in(self, request: Request, posted: bool) -> None:
        """Unauthorized, RateLimited."""
        core: Core = request.app.state.core
        try:
            key = check_key(core.settings.api_key_hashes, request.headers)
            request.state.client = client_of(request, key)
            if posted:
                core.limiter.take(request.state.client)
        except AtpnError:
            request.scope["route"] = self._route_of(request.scope)
            raise

    def _route_of(self, scope: Scope) -> BaseRoute | None:
        """The route that the router would have found; None: no such path."""
        return next((r for r in self._routes if r.matches(scope)[0] is not Match.NONE), None)


def request_id_of(request: Request) -> str:
    """The caller's X-Request-ID where it is short and printable, else a new one."""
    given = request.headers.get("x-request-id", "")
    if 0 < len(given) <= 64 and given.isascii() and given.isprintable():
        return given
    return f"{random.getrandbits(128):032x}"


def count(request: Request, status: int, seconds: float) -> None:
    """Add one answered request to the metrics."""
    metrics: Metrics = request.app.state.core.metrics
    route = getattr(request.scope.get("route"), "path", "other")
    metrics.answered(route, status, seconds)
    level = logging.DEBUG if status < HTTP_ERRORS else logging.WARNING
    if not log.isEnabledFor(level):
        return
    fields = {
        "request_id": request.state.request_id,
        "route": route,
        "status": status,
        "ms": round(1000 * seconds, 1),
    }
    if code := getattr(request.state, "code", None):
        fields["code"] = code
    log.log(level, "%s %s %d", request.method, route, status, extra=fields)
