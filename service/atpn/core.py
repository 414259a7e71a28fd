"""What one process holds while it runs, and how much is open in it now."""

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field

from atpn.engine.inference import ModelFile
from atpn.errors import Overloaded, ShuttingDown, StoreUnavailable, TooManyStreams
from atpn.faces.pipeline import Pipeline
from atpn.limits import RateLimiter
from atpn.metrics import Metrics
from atpn.reloading import Reloader
from atpn.sessions import MemoryStore, Store, Tokens
from atpn.settings import Settings

#: A probe is answered sooner than whoever asks gives up, whatever the store does.
STORE_PROBE_S = 0.5


@dataclass
class Core:
    """The collaborators that the endpoints are given, and the counts that limit them."""

    settings: Settings
    metrics: Metrics
    pipeline: Pipeline
    store: Store
    tokens: Tokens
    limiter: RateLimiter
    reloader: Reloader
    drawers: ThreadPoolExecutor  # draw pictures: `threads` at once
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
        return self.pipeline.network.model

    @property
    def provider(self) -> str:
        """Where it runs."""
        return self.pipeline.network.provider

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
        """Count a stream while it is open; ShuttingDown, or TooManyStreams beyond the limit."""
        if self.draining.is_set():
            raise ShuttingDown("this replica is shutting down; reconnect to another")
        if self.streams >= self.settings.max_streams:
            raise TooManyStreams(f"{self.streams} streams are open; try again later")
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
            await asyncio.wait_for(self.store.ping(), STORE_PROBE_S)
        except (StoreUnavailable, TimeoutError):
            return "degraded"
        return "ok"
