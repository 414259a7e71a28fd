"""What one process holds while it runs, built once at start and closed in reverse at the end."""

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field

from atpn.aligner import Aligner, Prediction, predict
from atpn.batching import Batcher
from atpn.detection import Detector
from atpn.errors import Overloaded, StoreUnavailable
from atpn.geometry import Image
from atpn.inference import FaceNetwork, ModelFile, available_cores, find_model, shipped_models
from atpn.limits import RateLimiter
from atpn.metrics import Metrics
from atpn.sessions import MemoryStore, RedisStore, Store
from atpn.settings import Settings

log = logging.getLogger("atpn")


@dataclass
class Core:
    """The collaborators that the endpoints are given."""

    settings: Settings
    model: ModelFile
    provider: str
    aligner: Aligner
    batcher: Batcher[Image, Prediction]
    store: Store
    metrics: Metrics
    image_threads: int
    limiter: RateLimiter
    draining: asyncio.Event = field(default_factory=asyncio.Event)
    no_streams: asyncio.Event = field(default_factory=asyncio.Event)
    streams: int = 0
    requests: int = 0

    def __post_init__(self) -> None:
        self.no_streams.set()

    @contextmanager
    def open_request(self) -> Iterator[None]:
        """Count a request while its image is in memory; Overloaded beyond the limit."""
        if self.requests >= self.settings.max_requests:
            raise Overloaded(f"{self.requests} requests are in work already", retry_after_s=1)
        self.requests += 1
        try:
            yield
        finally:
            self.requests -= 1

    @contextmanager
    def open_stream(self) -> Iterator[None]:
        """Count a stream while it is open."""
        self._count_streams(1)
        try:
            yield
        finally:
            self._count_streams(-1)

    def _count_streams(self, change: int) -> None:
        self.streams += change
        self.metrics.streams.set(self.streams)
        if self.streams:
            self.no_streams.clear()
        else:
            self.no_streams.set()

    async def store_state(self) -> str:
        """``memory``, ``ok``, or ``degraded`` where Redis does not answer."""
        if isinstance(self.store, MemoryStore):
            return "memory"
        try:
            await self.store.ping()
        except StoreUnavailable:
            return "degraded"
        return "ok"


def open_store(settings: Settings) -> Store:
    """Redis where it is set, this process's memory otherwise."""
    if settings.redis_url is None:
        return MemoryStore(settings.session_ttl_s, settings.max_sessions)
    return RedisStore(settings.redis_url, settings.session_ttl_s, settings.redis_timeout_s)


@asynccontextmanager
async def open_core(settings: Settings) -> AsyncIterator[Core]:
    """Load the models and run the service on them."""
    folder = settings.model_dir or shipped_models()
    model = find_model(folder, settings.model, settings.model_version)
    network = FaceNetwork(model, settings.device, threads=1)
    detector = Detector(
        find_model(folder if (folder / "yunet").is_dir() else shipped_models(), "yunet"),
        threshold=settings.detector_threshold,
        max_side=settings.detector_max_side,
    )
    await asyncio.to_thread(network.warm_up, [1, settings.max_batch_size])
    async with run_core(settings, network, detector) as core:
        yield core


@asynccontextmanager
async def run_core(
    settings: Settings, network: FaceNetwork, detector: Detector
) -> AsyncIterator[Core]:
    """Start the batcher and the threads around loaded models, connect the store; close them."""
    model = network.model
    cores = settings.threads or max(1, available_cores() // settings.workers)
    # On the CPU several runs on one thread each finish more faces than one run on all threads.
    parallel = cores if network.provider == "CPUExecutionProvider" else 1
    metrics = Metrics()
    metrics.model.labels(model.name, model.version, network.provider).set(1)
    store = open_store(settings)
    log.info("model %s/%s on %s", model.name, model.version, network.provider)
    with ThreadPoolExecutor(cores, "atpn-image") as threads:
        try:
            async with Batcher(
                predict(network),
                max_batch_size=settings.max_batch_size,
                max_queue=settings.max_queue_faces,
                max_wait_ms=settings.max_wait_ms,
                parallel=parallel,
                observer=metrics,
            ) as batcher:
                aligner = Aligner(batcher, detector, threads, settings.max_pixels)
                limiter = RateLimiter(settings.rate_limit_per_s, settings.rate_limit_burst)
                yield Core(
                    settings,
                    model,
                    network.provider,
                    aligner,
                    batcher,
                    store,
                    metrics,
                    cores,
                    limiter,
                )
        finally:
            await store.close()
