"""The short ways to the hot endpoints lead where FastAPI's own way leads."""

import httpx
import pytest
from fastapi import FastAPI

from atpn.api import align, problems
from tests.conftest import Service

QUERIES = [
    "",
    "?max_faces=1&min_confidence=0.2&points=5&include=pose",
    "?boxes=[[178,63,268,176]]",
    "?boxes=[[178,63,268,176]]&boxes_are=landmarks",
    "?boxes_are=hat",
    "?points=7",
    "?points=",
    "?max_faces=0",
    "?max_faces=one&points=7",
    "?min_confidence=nan",
    "?min_confidence=2",
    "?include=smile",
    "?include=",
    "?include=pose,signals",
    "?include=signals&include=pose&points=5",
    "?include=signals,hat&include=pose",
    "?quality=best&include=pose",
    "?quality=better",
    "?unknown=1",
    "?points=98&points=5",
]


def told(answer: httpx.Response) -> tuple[int, object]:
    """Status and body, without what differs from request to request."""
    body = answer.json()
    return answer.status_code, {k: v for k, v in body.items() if k not in {"ms", "request_id"}}


@pytest.mark.parametrize("path", ["/align", "/pose"])
@pytest.mark.parametrize("query", QUERIES)
async def test_both_ways_answer_alike(
    path: str, query: str, service: Service, astronaut_jpeg: bytes
) -> None:
    long_way = FastAPI()
    long_way.include_router(align.router)
    long_way.state.core = service.core
    problems.install(long_way)
    transport = httpx.ASGITransport(long_way)
    async with httpx.AsyncClient(transport=transport, base_url="http://atpn") as client:
        expected = await client.post(
            path + query, content=astronaut_jpeg, headers={"content-type": "image/jpeg"}
        )
    assert told(await service.post(path + query, astronaut_jpeg)) == told(expected)
