"""Short ways to the endpoints that are called hundreds of times a second.

FastAPI documents these endpoints and could serve them, but its way to them (a dozen layers, the
dependencies resolved anew) costs as much as they do. Here the same functions are called with a
query that the same model has validated, and with the same errors.
"""

from collections.abc import Awaitable, Callable
from functools import lru_cache
from typing import Any, TypeVar, get_origin, get_type_hints
from urllib.parse import parse_qsl

from fastapi import APIRouter
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic import BaseModel, ValidationError
from starlette.requests import Request
from starlette.responses import Response

Q = TypeVar("Q", bound=BaseModel)
ShortWay = Callable[[Request], Awaitable[Response]]


def short_ways(router: APIRouter) -> dict[str, ShortWay]:
    """By path, a short way to each endpoint: POST, a function of a request and a query model."""
    routes = [route for route in router.routes if isinstance(route, APIRoute)]
    return {route.path: _direct(route) for route in routes}


def _direct(route: APIRoute) -> ShortWay:
    endpoint: Callable[[Request, Any], Awaitable[Response]] = route.endpoint
    model: type[BaseModel] = get_type_hints(endpoint)["query"]

    async def direct(request: Request) -> Response:
        request.scope["route"] = route  # as FastAPI's router leaves it: what is counted
        return await endpoint(request, validated(model, request.scope["query_string"]))

    return direct


def validated(model: type[Q], query_string: bytes) -> Q:
    """The query as ``model``; RequestValidationError as FastAPI raises it."""
    if b"boxes" in query_string:
        return _read(model, query_string)
    known: Q = _read_once(model, query_string)  # callers repeat themselves
    return known


def _read(model: type[Q], query_string: bytes) -> Q:
    pairs = parse_qsl(query_string.decode("latin-1"), keep_blank_values=True)
    fields: dict[str, Any] = dict(pairs)
    for name in fields.keys() & _lists(model):
        fields[name] = [value for key, value in pairs if key == name]
    try:
        return model.model_validate(fields)
    except ValidationError as error:
        located = [{**one, "loc": ("query", *one["loc"])} for one in error.errors()]
        raise RequestValidationError(located) from None


@lru_cache(8)
def _lists(model: type[BaseModel]) -> set[str]:
    """The parameters that may be repeated."""
    return {n for n, field in model.model_fields.items() if get_origin(field.annotation) is list}


_read_once = lru_cache(64)(_read)
