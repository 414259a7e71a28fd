"""The application: which routes there are, and what stands around them."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

from fastapi import FastAPI
from PIL import Image as Pillow
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send
from typing_extensions import override

from atpn import __version__, traces
from atpn.api import align, oip, ops, page, problems, track
from atpn.api.documentation import KEYED
from atpn.api.gate import Gate
from atpn.api.short_ways import short_ways
from atpn.assembly import open_core
from atpn.core import Core
from atpn.settings import Settings

Opener = Callable[[Settings], AbstractAsyncContextManager[Core]]

# The pixel limit is ours and is checked on the header; Pillow never decodes here. Who uses
# `FaceAligner` keeps Pillow's.
Pillow.MAX_IMAGE_PIXELS = None

CORS_HEADERS = ["X-API-Key", "X-Request-ID", "X-Request-Timeout"]


class Service(FastAPI):
    """FastAPI, with middleware around it rather than within: short ways need none of its layers."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._entry: ASGIApp = super().__call__

    @override
    def add_middleware(
        self, middleware_class: Callable[..., ASGIApp], *args: Any, **options: Any
    ) -> None:
        self._entry = middleware_class(self._entry, *args, **options)

    @override
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope["app"] = self
        await self._entry(scope, receive, send)


def create_app(settings: Settings, opener: Opener = open_core) -> FastAPI:
    """The service for these settings; ``opener`` loads the models when its lifespan begins."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with opener(settings) as core:
            app.state.core = core
            yield

    app = Service(
        title="ATPN",
        version=__version__,
        description="Face landmarks, head pose and face tracking.",
        lifespan=lifespan,
        docs_url=None,  # its page takes Swagger UI from another host; ours is in page.py
        redoc_url=None,
    )
    routers = [module.router for module in (page, align, track, oip, ops)]
    for router in routers:
        keyed = settings.api_key_hashes and router in (align.router, oip.router)
        app.include_router(router, **(KEYED if keyed else {}))
    routes = [route for router in routers for route in router.routes]
    app.add_middleware(Gate, short_ways=short_ways(align.router), routes=routes)
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
    problems.install(app)
    return app
