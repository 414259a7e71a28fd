"""How an error is answered: the problem document (RFC 9457) over HTTP, a message on a WebSocket.

Both have the error's stable code, and both are counted here.
"""

import math
from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic_core import to_json
from starlette.exceptions import HTTPException

from atpn.errors import AtpnError, InvalidRequest, first_of
from atpn.metrics import Metrics

Payload = dict[str, Any]

MEDIA_TYPE = "application/problem+json"


def document(error: AtpnError) -> Payload:
    """The members that do not depend on a request."""
    return {
        "type": "about:blank",
        "title": error.title,
        "status": error.status,
        "detail": error.detail,
        "code": error.code,
    }


def counted(metrics: Metrics, error: AtpnError) -> Payload:
    """The document of an error that is answered now."""
    metrics.errors.labels(error.code).inc()
    return document(error)


def message(
    metrics: Metrics, error: AtpnError, seq: int | None = None, skipped: int = 0
) -> Payload:
    """The ``error`` message of a stream, counted; with ``seq`` it is the answer to that frame."""
    metrics.errors.labels(error.code).inc()
    payload: Payload = {"type": "error", "code": error.code, "detail": error.detail}
    if seq is not None:
        payload |= {"seq": seq, "dropped": skipped}
    return payload


def response(
    request: Request, error: AtpnError, headers: Mapping[str, str] | None = None
) -> Response:
    """The answer to an HTTP request, counted."""
    body = counted(request.app.state.core.metrics, error)
    request.state.code = error.code  # for the log
    body["request_id"] = getattr(request.state, "request_id", None)
    if request.scope["path"].startswith("/v2"):
        body["error"] = error.detail  # where clients of the Open Inference Protocol look
    headers = dict(headers or {})
    if error.retry_after_s is not None:
        headers["Retry-After"] = str(math.ceil(error.retry_after_s))
    if error.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    if error.status == 408:
        headers["Connection"] = "close"
    return Response(to_json(body), error.status, headers, media_type=MEDIA_TYPE)


def invalid(request: Request, error: RequestValidationError) -> Response:
    """The answer to a parameter that is wrong."""
    (_, *path), text = first_of(error.errors())  # all of ours are in the query
    return response(request, InvalidRequest(f"{'.'.join(path)}: {text}"))


def unrouted(request: Request, error: HTTPException) -> Response:
    """Not found, method not allowed and the like, in our form."""
    wrapped = AtpnError(str(error.detail))
    wrapped.status, wrapped.title = error.status_code, str(error.detail)
    wrapped.code = {404: "not_found", 405: "method_not_allowed"}.get(
        error.status_code, f"http_{error.status_code}"
    )
    return response(request, wrapped, error.headers)


def install(app: FastAPI) -> None:
    """Answer every error of the application as a problem, the framework's own included."""
    app.add_exception_handler(AtpnError, _on_error)  # type: ignore[arg-type]
    app.add_exception_handler(HTTPException, _on_http_exception)  # type: ignore[arg-type]
    app.add_exception_handler(RequestValidationError, _on_invalid)  # type: ignore[arg-type]


async def _on_error(request: Request, error: AtpnError) -> Response:
    return response(request, error)


async def _on_invalid(request: Request, error: RequestValidationError) -> Response:
    return invalid(request, error)


async def _on_http_exception(request: Request, error: HTTPException) -> Response:
    return unrouted(request, error)
