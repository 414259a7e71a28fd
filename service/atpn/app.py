"""The application: routes, the one error handler, and what is counted about each request."""

import logging
import math
import time
import uuid
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic_core import to_json
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from atpn import __version__, traces
from atpn.api import align, oip, ops, page, track
from atpn.api.auth import check_key, client_of
from atpn.api.schemas import problem_payload
from atpn.core import Core, open_core
from atpn.errors import AtpnError, InvalidRequest, RateLimited, Unauthorized
from atpn.metrics import Metrics
from atpn.settings import Settings

log = logging.getLogger("atpn.http")

HTTP_ERRORS = 500  # statuses from here on are ours to explain: a line in the log
CORS_HEADERS = ["X-API-Key", "X-Request-ID", "X-Request-Timeout"]
OPEN_PATHS = page.PATHS | {
    *("/healthz", "/readyz", "/metrics", "/openapi.json", "/asyncapi.json"),
}


Opener = Callable[[Settings], AbstractAsyncContextManager[Core]]


def create_app(settings: Settings, opener: Opener = open_core) -> FastAPI:
    """The service for these settings; ``opener`` loads the models when its lifespan begins."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with opener(settings) as core:
            app.state.core = core
            yield

    app = FastAPI(
        title="ATPN",
        version=__version__,
        description="Face landmarks, head pose and face tracking.",
        lifespan=lifespan,
        docs_url=None,  # its page takes Swagger UI from another host; ours is in page.py
        redoc_url=None,
    )
    for module in (page, align, track, oip, ops):
        app.include_router(module.router)
    app.add_middleware(Observed)
    if settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.cors_origins,
            allow_methods=["GET", "POST"],
            allow_headers=["Authorization", "Content-Type", *CORS_HEADERS],
            expose_headers=["Retry-After", "Server-Timing", *CORS_HEADERS],
        )
    if settings.traces:
        traces.install(app)
    app.add_exception_handler(AtpnError, on_error)
    app.add_exception_handler(HTTPException, on_error)
    app.add_exception_handler(RequestValidationError, on_error)
    return app


class Observed:
    """ASGI middleware: check the key, number the request, count and time its answer.

    WebSockets pass through: a stream counts its own frames and checks its own key.
    """

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
                await problem(request, error)(scope, receive, send_numbered)
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
            await problem(request, error)(request.scope, request.receive, send)
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


async def on_error(request: Request, error: Exception) -> Response:
    """Every error as a problem document, the framework's own included."""
    if isinstance(error, AtpnError):
        return problem(request, error)
    if isinstance(error, RequestValidationError):
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        return problem(request, InvalidRequest(f"{name}: {first['msg']}"))
    if isinstance(error, HTTPException):
        return problem(request, framework_error(error), error.status_code, error.headers)
    raise error


def framework_error(error: HTTPException) -> AtpnError:
    """Not found, method not allowed and the like, in our form."""
    wrapped = AtpnError(str(error.detail))
    wrapped.code = {404: "not_found", 405: "method_not_allowed"}.get(
        error.status_code, f"http_{error.status_code}"
    )
    wrapped.title = str(error.detail)
    return wrapped


def problem(
    request: Request,
    error: AtpnError,
    status: int | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """The problem document (RFC 9457) of an error."""
    core: Core = request.app.state.core
    core.metrics.errors.labels(error.code).inc()
    status = status or error.status
    body = problem_payload(error) | {
        "status": status,
        "request_id": getattr(request.state, "request_id", None),
    }
    if request.scope["path"].startswith("/v2"):
        body["error"] = error.detail  # where clients of the Open Inference Protocol look
    headers = dict(headers or {})
    if error.retry_after_s is not None:
        headers["Retry-After"] = str(math.ceil(error.retry_after_s))
    if status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return Response(to_json(body), status, headers, media_type="application/problem+json")
