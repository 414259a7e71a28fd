"""GET /healthz, /readyz, /metrics and /asyncapi.json: for probes, Prometheus and programmers."""

from importlib import resources

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from atpn.core import Core
from atpn.metrics import CONTENT_TYPE

router = APIRouter(tags=["operations"])


@router.get("/healthz", summary="Is the process alive?")
async def healthz() -> dict[str, str]:
    """Always 200 while the event loop turns; for liveness probes."""
    return {"status": "alive"}


@router.get("/readyz", responses={503: {"description": "Draining"}}, summary="Is traffic wanted?")
async def readyz(request: Request) -> JSONResponse:
    """200 when warm, 503 when draining; ``store`` says degraded where Redis does not answer.

    A degraded store does not make the replica unready: streams go on from its own memory.
    """
    core: Core = request.app.state.core
    body = {
        "status": "ready" if core.wanted else "draining",
        "model": f"{core.model.name}/{core.model.version}",
        "provider": core.provider,
        "store": await core.store_state(),
        "streams": core.streams,
    }
    return JSONResponse(body, 200 if core.wanted else 503)


@router.get("/metrics", summary="Prometheus metrics", response_class=Response)
async def metrics(request: Request) -> Response:
    """The text exposition format of Prometheus."""
    core: Core = request.app.state.core
    return Response(core.metrics.render(), media_type=CONTENT_TYPE)


@router.get("/asyncapi.json", summary="The WebSocket protocol", response_class=Response)
async def asyncapi() -> Response:
    """The messages of /track as an AsyncAPI document."""
    document = resources.files("atpn.api").joinpath("asyncapi.json").read_bytes()
    return Response(document, media_type="application/json")
