"""The composition root: what the settings say is built once, in order, and closed in reverse."""

import asyncio
import logging
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial

from atpn.core import Core
from atpn.engine.inference import Network, available_cores
from atpn.faces.detection import Detector
from atpn.faces.pipeline import Pipeline
from atpn.limits import RateLimiter
from atpn.loading import open_detector, open_network
from atpn.metrics import Metrics
from atpn.redis_store import RedisStore
from atpn.reloading import Reloader
from atpn.sessions import MemoryStore, Store, Tokens
from atpn.settings import Settings

log = logging.getLogger("atpn")


@asynccontextmanager
async def open_core(settings: Settings) -> AsyncIterator[Core]:
    """Load the models and run the service on them."""
    network = await asyncio.to_thread(open_network, settings)
    async with run_core(settings, network, open_detector(settings)) as core:
        yield core


@asynccontextmanager
async def run_core(settings: Settings, network: Network, detector: Detector) -> AsyncIterator[Core]:
    """Start the threads around loaded models and connect the store; close them all."""
    metrics = Metrics()
    metrics.model.labels(network.model.name, network.model.version, network.provider).set(1)
    for name in ("max_batch_size", "max_queue_faces", "max_requests", "max_streams"):
        metrics.limits.labels(name).set(getattr(settings, name))
    threads = settings.threads or max(1, available_cores() // settings.workers)
    log.info("model %s/%s on %s", network.model.name, network.model.version, network.provider)
    async with AsyncExitStack() as stack:
        store = open_store(settings)
        stack.push_async_callback(store.close)
        pipeline = Pipeline(network, detector, settings, metrics, threads)
        stack.callback(lambda: pipeline.network.close())  # noqa: PLW0108 - of the version in use then
        await stack.enter_async_context(pipeline)
        reloader = Reloader(pipeline, partial(open_network, settings))
        await stack.enter_async_context(reloader)
        drawers = ThreadPoolExecutor(threads, "atpn-draw")
        stack.callback(drawers.shutdown, wait=False, cancel_futures=True)
        yield Core(
            settings=settings,
            metrics=metrics,
            pipeline=pipeline,
            store=store,
            tokens=Tokens([key.get_secret_value() for key in settings.token_keys]),
            limiter=RateLimiter(settings.rate_limit_per_s, settings.rate_limit_burst),
            reloader=reloader,
            drawers=drawers,
        )


def open_store(settings: Settings) -> Store:
    """Redis where it is set, this process's memory otherwise."""
    if settings.redis_url is None:
        return MemoryStore(settings.session_ttl_s, settings.max_sessions)
    return RedisStore(settings.redis_url, settings.session_ttl_s, settings.redis_timeout_s)
