"""What is measured inside this process: the bare network, the batcher, and decode + crop + run."""

import asyncio
import statistics
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from operator import attrgetter

import cv2
import numpy as np
import onnxruntime as ort
import skimage.data

from atpn.assembly import open_core
from atpn.engine.batching import Batcher
from atpn.engine.inference import (
    FaceNetwork,
    ModelFile,
    Prediction,
    find_model,
    shipped_models,
)
from atpn.engine.lanes import Priority
from atpn.faces.images import decode
from atpn.faces.photographs import Photograph, look_at
from atpn.faces.pipeline import Pipeline
from atpn.geometry import Box, Image, crop, roi_from_detection
from atpn.metrics import Metrics
from atpn.settings import Settings
from loadtests.client import cpu_seconds, event_loop

FACE = Box(205, 93, 341, 263)  # in the picture below, as the detector gives it


@dataclass(frozen=True)
class Rate:
    """Faces per second, of the clock and of CPU time."""

    per_s: float
    per_cpu_s: float


#: Measures for about so many seconds.
Measure = Callable[[float], Rate]


def picture(scale: int = 1) -> bytes:
    """A JPEG of quality 90 of ``scale`` x (640, 480), one face of about ``scale`` x 150 pixels."""
    photo: Image = skimage.data.astronaut()
    size = scale * 768, scale * 768
    larger = cv2.resize(photo, size, interpolation=cv2.INTER_CUBIC)
    larger = larger[: scale * 480, scale * 64 : scale * 704]
    flags = [cv2.IMWRITE_JPEG_QUALITY, 90]
    ok, data = cv2.imencode(".jpg", cv2.cvtColor(larger, cv2.COLOR_RGB2BGR), flags)
    if not ok:
        raise RuntimeError("the picture could not be encoded")
    return data.tobytes()


def face_crop(data: bytes, max_pixels: int) -> Image:
    """Decode and cut the picture's face: (112, 112, 3)."""
    return crop(decode(data, max_pixels), roi_from_detection(FACE))


def model_file(settings: Settings) -> ModelFile:
    """The face model that the service would serve."""
    folder = settings.model_dir or shipped_models()
    return find_model(folder, settings.model, settings.model_version)


def rate(seconds: float, parallel: int, work: Callable[[], int]) -> Rate:
    """``work``, which returns how many faces it did, again and again in ``parallel`` threads."""

    def loop(_: int) -> int:
        count = work()
        while time.perf_counter() < end:
            count += work()
        return count

    with ThreadPoolExecutor(parallel) as threads:
        cpu_s, started = cpu_seconds(), time.perf_counter()
        end = started + seconds
        faces = sum(threads.map(loop, range(parallel)))
        return rate_of(faces, started, cpu_s)


def rate_of(faces: int, started: float, cpu_s: float) -> Rate:
    """``faces`` since ``started`` on the clock, when the process had used ``cpu_s``."""
    # A run may be shorter than the clock of CPU time can tell.
    return Rate(faces / (time.perf_counter() - started), faces / max(cpu_seconds() - cpu_s, 1e-3))


def bare_session(model: ModelFile, threads: int) -> ort.InferenceSession:
    """ONNX Runtime as it comes, but for the number of threads of one run."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    return ort.InferenceSession(str(model.path), options, providers=["CPUExecutionProvider"])


def run_of(session: ort.InferenceSession, face: Image, batch: int) -> Callable[[], int]:
    """One ``session.run`` of ``batch`` faces and nothing else."""
    feed = {"image": np.repeat(face[None], batch, 0)}

    def work() -> int:
        session.run(None, feed)
        return batch

    return work


def raw_candidates(
    model: ModelFile, face: Image, cores: int, batches: Sequence[int]
) -> dict[str, Measure]:
    """The bare network: one run at a time on all cores or one on each core, in all batch sizes."""
    found: dict[str, Measure] = {}
    for parallel, threads in dict.fromkeys([(1, cores), (cores, 1)]):
        session = bare_session(model, threads)
        for batch in batches:
            name = f"{parallel} run(s) at a time on {threads} thread(s) each, batch {batch}"
            found[name] = partial(rate, parallel=parallel, work=run_of(session, face, batch))
    return found


def pipeline_candidates(
    network: FaceNetwork, data: bytes, max_pixels: int, cores: int, batches: Sequence[int]
) -> dict[str, Measure]:
    """Decode + crop + run of ``data`` in threads, each a micro-batch at a time."""

    def step(batch: int) -> int:
        return len(network.run(np.stack([face_crop(data, max_pixels) for _ in range(batch)])))

    return {
        f"{threads} threads, micro-batch {batch}": partial(
            rate, parallel=threads, work=partial(step, batch)
        )
        for threads in (cores, 2 * cores)
        for batch in batches
    }


def fastest(
    candidates: dict[str, Measure],
    seconds: float,
    tries: int,
    by: Callable[[Rate], float] = attrgetter("per_s"),
) -> tuple[str, Measure]:
    """The candidate with the best of ``tries`` rounds ``by`` what is compared, with its name.

    All are tried in turn, and the winner is to be measured anew: its luck here does not count.
    """
    best = dict.fromkeys(candidates, 0.0)
    for _ in range(tries):
        for name, measure in candidates.items():
            best[name] = max(best[name], by(measure(seconds)))
    winner = max(best, key=lambda name: best[name])
    return winner, candidates[winner]


def batcher_rate(
    seconds: float, network: FaceNetwork, face: Image, settings: Settings, cores: int
) -> Rate:
    """Faces through the batcher as the service sets it up; callers of one face keep it full."""
    callers = min(3 * cores * settings.max_batch_size, settings.max_queue_faces)

    async def calls(batcher: Batcher[Image, Prediction], end: float) -> int:
        count = 0
        while time.perf_counter() < end:
            count += len(await batcher.submit([face], settings.request_timeout_s))
        return count

    async def run() -> Rate:
        batches: Batcher[Image, Prediction] = Batcher(
            lambda crops: network.run(np.stack(crops)).each(),
            max_batch_size=settings.max_batch_size,
            max_queue=settings.max_queue_faces,
            max_wait_ms=settings.max_wait_ms,
            parallel=cores,
            observer=Metrics().queue(),
        )
        async with batches as batcher:
            cpu_s, started = cpu_seconds(), time.perf_counter()
            each = (calls(batcher, started + seconds) for _ in range(callers))
            return rate_of(sum(await asyncio.gather(*each)), started, cpu_s)

    with asyncio.Runner(loop_factory=event_loop) as runner:
        return runner.run(run())


def search_ms(settings: Settings, data: bytes, repeats: int) -> list[tuple[float, float]]:
    """Milliseconds of a photograph as the service looks at it, and decoded at its own size."""

    async def look(pipeline: Pipeline, photo: Photograph) -> None:
        await look_at(pipeline, photo, settings.request_timeout_s, Priority.PHOTO, "/align")

    async def run() -> list[tuple[float, float]]:
        async with open_core(settings) as core:
            times = []
            for _ in range(repeats + 1):
                started = time.perf_counter()
                await look(core.pipeline, Photograph(data))
                between = time.perf_counter()
                await look(core.pipeline, Photograph(data, whole=True))
                ended = time.perf_counter()
                times.append((1000 * (between - started), 1000 * (ended - between)))
            return times[1:]  # the first warmed both up

    with asyncio.Runner(loop_factory=event_loop) as runner:
        return runner.run(run())


def run_median_ms(seconds: float, work: Callable[[], int]) -> float:
    """Median milliseconds of one ``work``."""
    times = []
    started = now = time.perf_counter()
    while now - started < seconds:
        before = now
        work()
        now = time.perf_counter()
        times.append(now - before)
    return 1000 * statistics.median(times)
