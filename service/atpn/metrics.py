"""What the service counts, as Prometheus metrics in a registry of its own.

Where several workers share a port, PROMETHEUS_MULTIPROC_DIR is set, each keeps its figures in
files there, and whichever is scraped adds them up.
"""

import os
from collections.abc import Callable
from functools import partial

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.multiprocess import MultiProcessCollector

SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10)
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


def _ignored(size: int, seconds: float) -> None:
    """A run that nobody counts."""


class Metrics:
    """All metrics of one process."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._count_requests(self.registry)
        self._count_work(self.registry)
        self._count_streams(self.registry)
        self._describe(self.registry)
        if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:  # of one process only
            ProcessCollector(registry=self.registry)

    def _count_requests(self, registry: CollectorRegistry) -> None:
        """HTTP requests and errors."""
        seconds = partial(Histogram, buckets=SECONDS, registry=registry)
        self.requests = Counter(
            "atpn_requests",
            "HTTP requests by route and status",
            ["route", "status"],
            registry=registry,
        )
        self.request_seconds = seconds(
            "atpn_request_seconds", "Time from request to answer", ["route"]
        )
        self.errors = Counter(
            "atpn_errors", "Errors answered, by stable code", ["code"], registry=registry
        )

    def _count_work(self, registry: CollectorRegistry) -> None:
        """What images and faces cost."""
        seconds = partial(Histogram, buckets=SECONDS, registry=registry)
        self.faces = Counter("atpn_faces", "Faces answered", ["route"], registry=registry)
        self.decode_seconds = seconds(
            "atpn_decode_seconds", "Time to check and decode one image or frame"
        )
        self.detect_seconds = seconds("atpn_detect_seconds", "Time of one run of the face detector")
        self.detections = Counter(
            "atpn_detections", "Runs of the face detector", ["route"], registry=registry
        )
        self.queue_seconds = seconds(
            "atpn_queue_seconds", "Time an image or frame waits for a thread and for its batches"
        )
        self.inference_seconds = seconds("atpn_inference_seconds", "Time of one run of the network")
        self.batch_faces = Histogram(
            "atpn_batch_faces",
            "Faces in one run of the network",
            buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256),
            registry=registry,
        )
        self.dropped = Counter(
            "atpn_dropped_faces",
            "Faces that left the queue without being run",
            ["reason"],
            registry=registry,
        )
        self.queue_faces = Gauge(
            "atpn_queue_faces",
            "Faces in the queue",
            registry=registry,
            multiprocess_mode="livesum",
        )

    def _count_streams(self, registry: CollectorRegistry) -> None:
        """Streams, their frames, tracks and sessions."""
        seconds = partial(Histogram, buckets=SECONDS, registry=registry)
        self.streams = Gauge(
            "atpn_streams",
            "Open /track connections",
            registry=registry,
            multiprocess_mode="livesum",
        )
        self.frames = Counter(
            "atpn_frames", "Frames of streams by outcome", ["state"], registry=registry
        )
        self.frame_seconds = seconds(
            "atpn_frame_seconds", "Time from a frame's arrival to its answer"
        )
        self.dropped_frames = Counter(
            "atpn_dropped_frames", "Frames replaced by newer ones", registry=registry
        )
        self.lost_tracks = Counter(
            "atpn_lost_tracks", "Tracked faces that fell below the threshold", registry=registry
        )
        self.retries = Counter(
            "atpn_retries",
            "Faces looked for in other ROIs before the detector was asked, by outcome",
            ["outcome"],
            registry=registry,
        )
        self.resumes = Counter(
            "atpn_resumes", "Streams by how they began", ["state"], registry=registry
        )
        self.store_errors = Counter(
            "atpn_store_errors",
            "Failed calls of the session store",
            ["operation"],
            registry=registry,
        )
        self.stale_writes = Counter(
            "atpn_stale_writes",
            "States refused because a newer frame was stored",
            registry=registry,
        )

    def _describe(self, registry: CollectorRegistry) -> None:
        """What this process is, and is allowed."""
        self.model = Gauge(
            "atpn_model_info",
            "Model and execution provider in use",
            ["name", "version", "provider"],
            registry=registry,
            multiprocess_mode="livemax",
        )
        self.limits = Gauge(
            "atpn_limit",
            "Limits of one process, by their setting",
            ["setting"],
            registry=registry,
            multiprocess_mode="max",
        )
        self.draining = Gauge(
            "atpn_draining",
            "1 while the process ends its work after SIGTERM",
            registry=registry,
            multiprocess_mode="livesum",
        )

    def answered(self, route: str, status: int, seconds: float) -> None:
        """Count one HTTP request."""
        self.requests.labels(route, str(status)).inc()
        self.request_seconds.labels(route).observe(seconds)

    def looked_at(self, route: str, decode_s: float, detect_s: list[float]) -> None:
        """Count one image: how long decoding took, and each run of the face detector."""
        self.decode_seconds.observe(decode_s)
        for seconds in detect_s:
            self.detections.labels(route).inc()
            self.detect_seconds.observe(seconds)

    def queue(self, ran: Callable[[int, float], None] = _ignored) -> "Queue":
        """An observer for one of the queues; ``ran`` is told the size and seconds of each run."""
        return Queue(self, ran)

    def render(self) -> bytes:
        """The text that Prometheus scrapes; of all workers, where there are several."""
        if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
            return generate_latest(self.registry)
        together = CollectorRegistry()
        MultiProcessCollector(together)  # type: ignore[no-untyped-call]
        return generate_latest(together)


class Queue:
    """What one queue tells of its work (a `batching.Observer`): the gauge is the sum of all."""

    def __init__(self, metrics: Metrics, ran: Callable[[int, float], None]) -> None:
        self._metrics = metrics
        self.batch_ran = ran
        self._length = 0

    def item_dropped(self, reason: str, weight: int) -> None:
        """Count its faces; a further step of an image that was let in weighs nothing, and is 1."""
        self._metrics.dropped.labels(reason).inc(max(1, weight))

    def queue_is(self, length: int) -> None:
        """Add what has changed; called under the queue's lock."""
        change, self._length = length - self._length, length
        if change:
            self._metrics.queue_faces.inc(change)
