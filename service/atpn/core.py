"""What one process holds while it runs, built once at start and closed in reverse at the end."""

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field

from atpn.engine.batching import Batcher
from atpn.engine.inference import (
    CPU,
    Engine,
    FaceNetwork,
    ModelFile,
    Network,
    available_cores,
    find_model,
    shipped_models,
    warm_sizes,
)
from atpn.engine.remote import RemoteNetwork
from atpn.errors import ConfigurationError, EngineUnavailable, Overloaded, StoreUnavailable
from atpn.faces.detection import Detector
from atpn.faces.pipeline import Aligner, Prediction, predict
from atpn.geometry import Image
from atpn.limits import RateLimiter
from atpn.metrics import Metrics
from atpn.sessions import MemoryStore, RedisStore, Store, Tokens
from atpn.settings import Settings

log = logging.getLogger("atpn")

REMOTE_RUNS = 8


@dataclass
class Core:
    """The collaborators that the endpoints are given."""

    settings: Settings
    engine: Engine
    aligner: Aligner
    batcher: Batcher[Image, Prediction]
    store: Store
    tokens: Tokens
    metrics: Metrics
    image_threads: int
    limiter: RateLimiter
    leaving: bool = False  # no traffic is wanted; what comes is served until the draining
    draining: asyncio.Event = field(default_factory=asyncio.Event)
    no_streams: asyncio.Event = field(default_factory=asyncio.Event)
    streams: int = 0
    requests: int = 0

    def __post_init__(self) -> None:
        self.no_streams.set()

    @property
    def wanted(self) -> bool:
        """Whether a load balancer should send traffic."""
        return not (self.leaving or self.draining.is_set())

    @property
    def model(self) -> ModelFile:
        """The model in use."""
        return self.engine.network.model

    @property
    def provider(self) -> str:
        """Where it runs."""
        return self.engine.network.provider

    async def reload(self) -> bool:
        """Take the newest version of the model into use; False where it is in use already.

        Batches that run end on the old version. ConfigurationError, and the old version stays
        in use, where the new one cannot be loaded.
        """
        settings, old = self.settings, self.model
        if settings.engine != "local" or settings.model_version is not None:
            return False
        model = find_model(settings.model_dir or shipped_models(), old.name)
        if model == old:
            return False
        self.engine.network = await asyncio.to_thread(open_network, settings, model)
        self.metrics.model.labels(old.name, old.version, self.provider).set(0)
        self.metrics.model.labels(model.name, model.version, self.provider).set(1)
        log.info("model %s/%s in place of version %s", model.name, model.version, old.version)
        return True

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


def open_network(settings: Settings, model: ModelFile | None = None) -> Network:
    """The network of these settings, warm; ``model`` instead of the version they name.

    ConfigurationError where it cannot be had.
    """
    largest = settings.max_batch_size
    if settings.engine != "local":
        timeout_s = settings.request_timeout_s
        network: Network = RemoteNetwork(
            settings.engine, settings.model, settings.model_version, timeout_s
        )
        try:
            network.warm_up([1, largest])
        except EngineUnavailable as error:
            network.close()
            raise ConfigurationError(f"engine {settings.engine}: {error.detail}") from error
        return network
    folder = settings.model_dir or shipped_models()
    chosen = model or find_model(folder, settings.model, settings.model_version)
    network = FaceNetwork(chosen, settings.device, threads=1, pad_up_to=largest)
    network.warm_up([1, largest] if network.provider == CPU else warm_sizes(largest))
    return network


@asynccontextmanager
async def open_core(settings: Settings) -> AsyncIterator[Core]:
    """Load the models and run the service on them."""
    folder = settings.model_dir or shipped_models()
    network = await asyncio.to_thread(open_network, settings)
    detector = Detector(
        find_model(folder if (folder / "yunet").is_dir() else shipped_models(), "yunet"),
        threshold=settings.detector_threshold,
        max_side=settings.detector_max_side,
    )
    async with run_core(settings, network, detector) as core:
        yield core


@asynccontextmanager
async def run_core(settings: Settings, network: Network, detector: Detector) -> AsyncIterator[Core]:
    """Start the batcher and the threads around loaded models, connect the store; close them."""
    engine, model = Engine(network), network.model
    cores = settings.threads or max(1, available_cores() // settings.workers)
    metrics = Metrics()
    metrics.model.labels(model.name, model.version, network.provider).set(1)
    for name in ("max_batch_size", "max_queue_faces", "max_requests", "max_streams"):
        metrics.limits.labels(name).set(getattr(settings, name))
    store = open_store(settings)
    log.info("model %s/%s on %s", model.name, model.version, network.provider)
    with ThreadPoolExecutor(cores, "atpn-image") as threads:
        try:
            async with Batcher(
                predict(engine),
                max_batch_size=settings.max_batch_size,
                max_queue=settings.max_queue_faces,
                max_wait_ms=settings.max_wait_ms,
                parallel=parallel_runs(network.provider, cores),
                observer=metrics,
            ) as batcher:
                core = Core(
                    settings=settings,
                    engine=engine,
                    aligner=Aligner(batcher, detector, threads, settings.max_pixels),
                    batcher=batcher,
                    store=store,
                    tokens=Tokens([key.get_secret_value() for key in settings.token_keys]),
                    metrics=metrics,
                    image_threads=cores,
                    limiter=RateLimiter(settings.rate_limit_per_s, settings.rate_limit_burst),
                )
                async with reloading(core, settings.reload_every_s):
                    yield core
        finally:
            engine.network.close()
            await store.close()


def parallel_runs(provider: str, cores: int) -> int:
    """Runs of the network at once.

    On the CPU several runs on one thread each finish more faces than one run on all threads; a
    server elsewhere batches for itself, and should not wait for our round trips.
    """
    if provider == CPU:
        return cores
    return REMOTE_RUNS if provider.startswith("oip+") else 1


@asynccontextmanager
async def reloading(core: Core, every_s: float) -> AsyncIterator[None]:
    """Look for a newer model every ``every_s`` seconds while the block runs; 0: never."""
    if not every_s:
        yield
        return

    async def look() -> None:
        while True:
            await asyncio.sleep(every_s)
            try:
                await core.reload()
            except ConfigurationError as error:
                log.error("reload: %s", error)

    task = asyncio.create_task(look(), name="reload")
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
