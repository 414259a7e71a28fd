"""What Kubernetes would do by the manifests, done to the same containers by this file.

No control plane is asked: the test takes the numbers from k8s/base, starts and ends containers as
the Deployment, a drained node and the autoscaler would, and looks at what streams notice.
"""

import asyncio
import math
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.deploy.files import K8S, Document, document
from tests.engine.compose import START_S, Compose, wait_for
from tests.engine.docker import DockerError, docker
from tests.load import Streamed

pytestmark = pytest.mark.engine

REPLICAS, MOST = 2, 4
#: The autoscaler's windows, in parts of those of the manifest: nobody waits five minutes.
HASTE = 10
STAGES = ("ready", "draining, with streams", "draining", "gone")
WINDOW_S = 30  # of its metric, in place of the rule's two minutes: three scrapes


def spec(name: str) -> Document:
    """What a manifest of k8s/base asks for."""
    found: Document = document(K8S / "base" / f"{name}.yaml")["spec"]
    return found


def scaling() -> Document:
    """What the autoscaler is asked for where there is an adapter."""
    patch = document(K8S / "components" / "queue-time" / "horizontalpodautoscaler.yaml")
    return {**spec("horizontalpodautoscaler"), **patch["spec"]}


@dataclass
class Watch:
    """How many replicas the proxy held for good, and how the one that is ended leaves."""

    least: int = 99
    leaving: str | None = None
    stages: list[str] = field(default_factory=list)

    def look(self, compose: Compose) -> None:
        """Once."""
        with suppress(DockerError):
            self.least = min(self.least, compose.proxied())
        leaving = self.leaving
        if leaving is not None:
            stage = stage_of(compose, leaving)
            if stage not in self.stages[-1:]:
                self.stages.append(stage)


def stage_of(compose: Compose, replica: str) -> str:
    """How far a replica is that was told to end."""
    try:
        ready = compose.ready(replica)
    except (DockerError, ValueError):
        return "gone"
    if ready["status"] == "ready":
        return "ready"
    return "draining, with streams" if ready["streams"] else "draining"


@contextmanager
def watched(compose: Compose) -> Iterator[Watch]:
    """Look all the time, until the end of the block."""
    watch, ended = Watch(), threading.Event()

    def look() -> None:
        while not ended.is_set():
            watch.look(compose)

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield watch
    finally:
        ended.set()
        thread.join()


@contextmanager
def streamed(compose: Compose, count: int, pause_s: float) -> Iterator[list[Streamed]]:
    """Streams that are at work during the block, in a thread with a loop of its own; afterwards
    none of their frames has failed.
    """
    streams = [Streamed(1) for _ in range(count)]
    ended = asyncio.Event()
    loop = asyncio.new_event_loop()

    async def work() -> None:
        await asyncio.gather(*(s.run(compose.url, ended, pause_s) for s in streams))

    thread = threading.Thread(target=loop.run_until_complete, args=(work(),))
    thread.start()
    try:
        go_on(streams)
        yield streams
        go_on(streams)
    finally:
        loop.call_soon_threadsafe(ended.set)
        thread.join()
        loop.close()
    for stream in streams:
        stream.check()
        assert all(frame.error is None for frame in stream.frames)


def go_on(streams: list[Streamed]) -> None:
    """Return when every stream has five more answers."""
    wanted = [len(stream.frames) + 5 for stream in streams]
    ends = time.monotonic() + START_S
    while any(len(s.frames) < count for s, count in zip(streams, wanted, strict=True)):
        assert time.monotonic() < ends, "a stream stands still"
        time.sleep(0.1)


def departed(watch: Watch, replica: str) -> list[str]:
    """End a replica as the kubelet does, by SIGTERM and time to drain; the stages it passed."""
    watch.stages, watch.leaving = [], replica
    docker("stop", replica)
    wait_for(lambda: watch.stages[-1:] == ["gone"], "the replica does not end")
    watch.leaving = None
    docker("rm", replica)
    return watch.stages


def test_a_rollout_leaves_no_moment_with_fewer_replicas_and_no_frame_without_answer(
    compose: Compose,
) -> None:
    rolling = spec("deployment")["strategy"]["rollingUpdate"]
    most = REPLICAS + rolling["maxSurge"]
    passed = []
    with streamed(compose, 8, 0.1), watched(compose) as watch:
        for replica in compose.containers("atpn"):
            compose.scale(most)
            compose.wait_well(most)
            passed.append(departed(watch, replica))
        compose.wait_well(REPLICAS)
    print(f"never fewer than {watch.least} replicas; they passed {passed}")  # noqa: T201
    assert watch.least >= REPLICAS - rolling["maxUnavailable"]
    for stages in passed:
        assert [s for s in STAGES if s in stages] == stages  # in this order
        assert "draining, with streams" in stages


def test_a_node_that_is_drained_takes_one_replica_at_a_time(compose: Compose) -> None:
    allowed = spec("poddisruptionbudget")["maxUnavailable"]
    with streamed(compose, 8, 0.1), watched(compose) as watch:
        for replica in compose.containers("atpn"):
            assert REPLICAS - compose.proxied() < allowed  # else the eviction is refused
            departed(watch, replica)
            compose.scale(REPLICAS)
            compose.wait_well(REPLICAS)
    print(f"never fewer than {watch.least} replicas")  # noqa: T201
    assert watch.least >= REPLICAS - allowed


class Autoscaler:
    """The algorithm of a HorizontalPodAutoscaler with one metric, as Kubernetes documents it."""

    def __init__(self, spec: Document) -> None:
        metric = spec["metrics"][0]["pods"]
        assert metric["metric"]["name"] == "atpn_queue_seconds_mean"
        self.target_s = float(metric["target"]["averageValue"].removesuffix("m")) / 1000
        self._least = int(spec["minReplicas"])
        self._up, self._down = (spec["behavior"][way] for way in ("scaleUp", "scaleDown"))
        self._wished: list[tuple[float, int]] = []  # when, and how many
        self._changed = -math.inf

    def replicas(self, current: int, value_s: float, now: float) -> int:
        """How many there should be now."""
        wish = self._stable(current, value_s / self.target_s, now)
        policy = (self._up if wish > current else self._down)["policies"][0]
        if wish == current or now - self._changed < policy["periodSeconds"] / HASTE:
            return current
        self._changed = now
        step = math.ceil(current * int(policy["value"]) / 100)
        return min(wish, current + step) if wish > current else max(wish, current - step)

    def _stable(self, current: int, ratio: float, now: float) -> int:
        """The wish; of one for fewer, the largest in the window."""
        wish = current if abs(ratio - 1) <= 0.1 else math.ceil(current * ratio)
        wish = max(self._least, min(MOST, wish))
        window_s = self._down["stabilizationWindowSeconds"] / HASTE
        self._wished = [(at, n) for at, n in self._wished if now - at <= window_s] + [(now, wish)]
        return wish if wish >= current else min(current, max(n for _, n in self._wished))


def queue_s(compose: Compose) -> float:
    """The adapter's metric, mean over the replicas."""
    (rule,) = document(K8S / "prometheus-adapter" / "rules.yaml")["rules"]
    query = rule["metricsQuery"].replace("<<.LabelMatchers>>", 'job="atpn"')
    query = query.replace("<<.GroupBy>>", "instance").replace("[2m]", f"[{WINDOW_S}s]")
    values: list[Any] = [float(series["value"][1]) for series in compose.series(query)]
    return sum(values) / len(values) if values else 0.0


def scaled(compose: Compose, autoscaler: Autoscaler, until: int) -> list[str]:
    """Ask the autoscaler every few seconds until there are so many; what it decided."""
    decisions: list[str] = []
    ends = time.monotonic() + START_S
    while (current := len(compose.containers("atpn"))) != until:
        assert time.monotonic() < ends, f"no {until} replicas: {decisions}"
        value_s = queue_s(compose)
        wanted = autoscaler.replicas(current, value_s, time.monotonic())
        if wanted != current:
            decisions.append(f"{1000 * value_s:.0f} ms: {current} -> {wanted}")
            compose.scale(wanted)
            compose.wait_well(wanted)
        time.sleep(2)
    return decisions


def test_the_autoscaler_doubles_the_replicas_under_load_and_takes_them_back(
    compose: Compose,
) -> None:
    if "prometheus" not in compose.services:
        pytest.skip("no image of Prometheus here, and none can be pulled")
    autoscaler = Autoscaler(scaling())
    with streamed(compose, 4, 0.2):
        with streamed(compose, 24, 0.0):
            up = scaled(compose, autoscaler, MOST)
        down = scaled(compose, autoscaler, REPLICAS)
    print(f"target {1000 * autoscaler.target_s:.0f} ms; {'; '.join(up + down)}")  # noqa: T201
