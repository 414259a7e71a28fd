"""Images in, answers out: drives the steps of a `Job` over threads and the network's batches.

A job begins on one of the image threads: header, decoding, detection, crops. Where the network
runs on the CPU, that thread runs it as well and goes on with the next step, for hops cost; of a
queue it takes a few jobs at a time, whose crops share a run. Elsewhere crops of all jobs share the
batches of the GPU or of the server.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar

import numpy as np

from atpn.engine.batching import Batcher
from atpn.engine.inference import CPU, Network, Prediction
from atpn.engine.lanes import Priority
from atpn.errors import AtpnError, ClientGone, InferenceFailed
from atpn.faces.detection import Detector
from atpn.faces.encoded_image import EncodedImage
from atpn.faces.face import Face, faces_of
from atpn.faces.looking import Look, Steps
from atpn.geometry import Box, Image
from atpn.settings import Settings

if TYPE_CHECKING:
    from atpn.metrics import Metrics

T = TypeVar("T")

REMOTE_RUNS = 8
#: Jobs that an image thread takes at a time where it runs the network, and for how long: four
#: crops in a run cost a sixth less than four runs.
MOST_TOGETHER, TOGETHER_S = 4, 0.04
TOGETHER_PX = 4_000_000  # pixels of images that are decoded together; a larger one is alone


@dataclass(frozen=True)
class Job(Generic[T]):
    """What is to be done with one encoded image."""

    data: bytes
    steps: Callable[[int, int], Steps[T]]  # for the image's width and height; may refuse them
    faces: int = 1  # expected: what it takes of the queue
    whole: bool = False  # the picture at its own size is wanted
    pose: bool = True  # head poses are wanted


@dataclass(frozen=True)
class Timings:
    """Where the time went, in seconds."""

    decode_s: float
    detect_s: float
    queue_s: float
    inference_s: float


@dataclass(frozen=True)
class Finished(Generic[T]):
    """A job's result, its image, and what it took."""

    value: T
    image: EncodedImage
    timings: Timings


@dataclass
class _UnderWay(Generic[T]):
    """A job between its steps; on one thread at a time."""

    job: Job[T]
    image: EncodedImage | None = None
    steps: Steps[T] | None = None
    rois: list[Box] = field(default_factory=list)  # that the network is to see next
    crops: list[Image] = field(default_factory=list)
    value: T | None = None
    abandoned: bool = False  # nobody waits for it any more
    error: Exception | None = None
    queue_s: float = 0.0
    inference_s: float = 0.0
    left_at: float = 0.0  # when its thread turned to others

    def has_waited(self) -> None:
        """Count the time since then: its thread comes back to it."""
        now = time.monotonic()
        self.queue_s += now - self.left_at
        self.left_at = now


class Pipeline:
    """Finds and aligns faces. ``network`` may be replaced by another version at any time.

    Use it as ``async with Pipeline(...) as pipeline``.
    """

    def __init__(
        self,
        network: Network,
        detector: Detector,
        settings: Settings,
        metrics: "Metrics",
        threads: int,
    ) -> None:
        self.network = network
        self.settings = settings
        self.metrics = metrics
        self.threads = threads
        self._detector = detector
        #: Crops of one image that its own thread runs; more are shared out among the threads.
        self._inline = settings.max_batch_size // 2 if network.provider == CPU else 0
        self._jobs: Batcher[Any, Any] = Batcher(
            self._advance_all,
            max_batch_size=MOST_TOGETHER if self._inline else 1,
            max_queue=settings.max_queue_faces,
            parallel=threads + 1,  # while one waits for the interpreter, the others compute
            longest_s=TOGETHER_S,
            observer=metrics.queue(),
            name="atpn-image",
        )
        self._batches: Batcher[Image, Prediction] = Batcher(
            self._run,
            max_batch_size=settings.max_batch_size,
            max_queue=settings.max_queue_faces,
            max_wait_ms=settings.max_wait_ms,
            parallel=parallel_runs(network.provider, threads),
            observer=metrics.queue(self._count_run),
        )
        self._open = AsyncExitStack()

    async def __aenter__(self) -> Self:
        await self._open.enter_async_context(self._batches)
        await self._open.enter_async_context(self._jobs)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._open.aclose()

    @property
    def waiting(self) -> int:
        """Faces in the queues."""
        return self._jobs.waiting + self._batches.waiting

    def check_room(self, timeout_s: float, priority: Priority) -> None:
        """Overloaded where a job would be refused now, or could not be done in time."""
        self._jobs.check_room(1, priority, timeout_s)

    async def infer(
        self, crops: Sequence[Image], timeout_s: float, priority: Priority = Priority.PHOTO
    ) -> list[Prediction]:
        """The network's answers to (112, 112, 3) crops; raises what `Batcher.submit` raises."""
        runs = await self._batches.submit(crops, timeout_s, priority)
        self.metrics.queue_seconds.observe(max((run.queue_s for run in runs), default=0.0))
        return [run.value for run in runs]

    async def do(self, job: Job[T], timeout_s: float, priority: Priority) -> Finished[T]:
        """Do the job; raises what its steps, decoding and `Batcher.submit` raise."""
        ends = time.monotonic() + timeout_s
        work = _UnderWay(job)
        predictions: list[Prediction] = []
        weight = max(1, job.faces)
        try:
            while True:
                left_s = max(0.0, ends - time.monotonic())
                step = (work, predictions)
                (done,) = await self._jobs.submit([step], left_s, priority, weight)
                if done.value is not None:
                    raise done.value
                work.queue_s += done.queue_s
                if not work.crops:
                    break
                weight = 0  # it was let in: its further steps always find room
                left_s = max(0.0, ends - time.monotonic())
                runs = await self._batches.submit(work.crops, left_s, priority)
                work.queue_s += max(run.queue_s for run in runs)
                work.inference_s += max(run.run_s for run in runs)
                predictions = [run.value for run in runs]
        finally:
            work.abandoned = True
        self.metrics.queue_seconds.observe(work.queue_s)
        return self._finished(work)

    def _finished(self, work: _UnderWay[T]) -> Finished[T]:
        image = work.image
        assert image is not None  # noqa: S101 - the first step opened it
        timings = Timings(image.decode_s, sum(image.detect_s), work.queue_s, work.inference_s)
        return Finished(work.value, image, timings)  # type: ignore[arg-type]

    def _advance_all(
        self, steps: list[tuple[_UnderWay[Any], list[Prediction]]]
    ) -> list[Exception | None]:
        """Go on with jobs, each up to crops that the batches are to run, or to its end (no crops).

        What went wrong with each: its own error, none of the others'.
        """
        started = time.monotonic()
        for work, _ in steps:
            work.left_at = started
            if work.steps is None:
                work.error = tried(self._begin, work)
        for group in _by_size(steps):
            self._advance_together(group)
        for work, _ in steps:
            work.has_waited()
        return [work.error for work, _ in steps]

    def _advance_together(self, group: list[tuple[_UnderWay[Any], list[Prediction]]]) -> None:
        for work, predictions in group:
            if work.error is None:
                self._go_on(work, predictions)
        works = [work for work, _ in group]
        while here := [w for w in works if w.error is None and 0 < len(w.crops) <= self._inline]:
            for sharing in self._sharing(here):
                for work, seen in self._run_here(sharing):
                    self._go_on(work, seen)

    def _go_on(self, work: _UnderWay[Any], predictions: list[Prediction]) -> None:
        """Send the network's answer about the last crops, if there were any."""
        work.has_waited()
        work.error = tried(self._answer, work, predictions)
        work.left_at = time.monotonic()

    def _answer(self, work: _UnderWay[Any], predictions: list[Prediction]) -> None:
        self._prepare(work, faces_of(work.rois, predictions) if work.rois else None)

    def _sharing(self, works: list[_UnderWay[Any]]) -> list[list[_UnderWay[Any]]]:
        """Jobs that share a run: those that want the same of it, up to a batch of crops."""
        runs: list[list[_UnderWay[Any]]] = []
        for work in sorted(works, key=lambda work: work.job.pose):
            last = runs[-1] if runs else []
            crops = sum(len(other.crops) for other in [*last, work])
            alike = bool(last) and last[0].job.pose == work.job.pose
            if alike and crops <= self.settings.max_batch_size:
                last.append(work)
            else:
                runs.append([work])
        return runs

    def _run_here(
        self, works: list[_UnderWay[Any]]
    ) -> Iterator[tuple[_UnderWay[Any], list[Prediction]]]:
        """The network's answers to the crops of each job, in one run of this thread."""
        crops = [crop for work in works for crop in work.crops]
        for work in works:
            work.has_waited()
        started = time.monotonic()
        try:
            seen = iter(self._run(crops, works[0].job.pose))
        except Exception as error:
            if len(works) > 1:  # one of them may be the reason
                for work in works:
                    yield from self._run_here([work])
                return
            known = isinstance(error, AtpnError)
            works[0].error = error if known else InferenceFailed.by(error)
            return
        ended = time.monotonic()
        self._count_run(len(crops), ended - started)
        for work in works:
            work.inference_s += ended - started
            work.left_at = ended
            yield work, [next(seen) for _ in work.crops]

    def _begin(self, work: _UnderWay[T]) -> None:
        job = work.job
        work.image = EncodedImage(job.data, self.settings.max_pixels, self._detector, job.whole)
        work.steps = job.steps(work.image.width, work.image.height)

    def _prepare(self, work: _UnderWay[T], answer: list[Face] | list[Box] | None) -> None:
        """Send the answer to the steps and cut out what they want to look at next."""
        image, steps = work.image, work.steps
        assert image is not None  # noqa: S101 - `_begin` was first
        assert steps is not None  # noqa: S101
        work.rois, work.crops = [], []
        while True:
            if work.abandoned:
                raise ClientGone("nobody waits for this any more")
            try:
                asked = steps.send(answer)
            except StopIteration as end:
                work.value = end.value
                if not work.job.whole:
                    image.forget()
                return
            if isinstance(asked, Look):
                work.rois, work.crops = asked.rois, image.crops(asked.rois)
                return
            answer = image.search(asked)

    def _count_run(self, faces: int, seconds: float) -> None:
        self.metrics.batch_faces.observe(faces)
        self.metrics.inference_seconds.observe(seconds)

    def _run(self, crops: list[Image], pose: bool = True) -> list[Prediction]:
        return self.network.run(np.array(crops), pose).each()


def _by_size(
    steps: list[tuple[_UnderWay[Any], list[Prediction]]],
) -> Iterator[list[tuple[_UnderWay[Any], list[Prediction]]]]:
    """Those whose images are in memory together."""
    group: list[tuple[_UnderWay[Any], list[Prediction]]] = []
    pixels = 0
    for step in steps:
        image = step[0].image
        own = 0 if image is None else image.width * image.height
        if group and pixels + own > TOGETHER_PX:
            yield group
            group, pixels = [], 0
        group.append(step)
        pixels += own
    if group:
        yield group


def tried(step: Callable[..., None], *arguments: object) -> Exception | None:
    """What went wrong with a step."""
    try:
        step(*arguments)
    except Exception as error:
        return error
    return None


def parallel_runs(provider: str, cores: int) -> int:
    """Runs of the network at once.

    On the CPU several runs on one thread each finish more faces than one run on all threads; a
    server elsewhere batches for itself, and should not wait for our round trips.
    """
    if provider == CPU:
        return cores
    return REMOTE_RUNS if provider.startswith("oip+") else 1
