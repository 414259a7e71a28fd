"""The work of a command between its inputs and its sinks, one input after the other."""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack
from dataclasses import replace
from itertools import islice

from typing_extensions import override

from atpn.cli.backends import Backend
from atpn.cli.inputs import ImageFile, Unreadable
from atpn.cli.output import Entry, Sink, count
from atpn.cli.report import Report
from atpn.cli.sources import Source
from atpn.cli.video import Shot
from atpn.client import ClientError, Frame, Result
from atpn.client.pictures import Picture
from atpn.client.protocol import Follow
from atpn.client.requests import Wanted
from atpn.faces.smoothing import Smoother


class WithoutLandmarks(Sink):
    """Passes on head poses alone."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink

    @override
    def add(self, entry: Entry) -> None:
        answer = entry.result.answer
        faces = [
            {name: value for name, value in face.items() if name != "landmarks"}
            for face in answer.get("faces", [])
        ]
        result = replace(entry.result, answer=answer | {"faces": faces})
        self._sink.add(replace(entry, result=result))

    @override
    def close(self) -> None:
        self._sink.close()


class Smoothed(Sink):
    """Passes on landmarks with their jitter filtered out, by the time of the video itself."""

    def __init__(self, sinks: Sequence[Sink]) -> None:
        self._sinks = sinks
        self._smoother = Smoother()

    @override
    def add(self, entry: Entry) -> None:
        """A frame that failed changes nothing, a face that is gone is forgotten."""
        if entry.result.error is None and entry.time_s is not None:
            entry = replace(entry, result=self._smoothed(entry.name, entry.result, entry.time_s))
        for sink in self._sinks:
            sink.add(entry)

    def _smoothed(self, name: str, result: Result, time_s: float) -> Result:
        seen = [((name, face.track_id), face.landmarks, face.roi.width) for face in result.faces]
        size = result.answer["image"]["width"], result.answer["image"]["height"]
        faces = [
            {**face.answer, "landmarks": points.astype(float).round(2).tolist()}
            for face, points in zip(result.faces, self._smoother(seen, time_s, size), strict=True)
        ]
        return replace(result, answer={**result.answer, "faces": faces})

    @override
    def close(self) -> None:
        """Each, whatever becomes of the others."""
        with ExitStack() as stack:
            for sink in self._sinks:
                stack.enter_context(sink)


def look_at_all(
    opening: AbstractContextManager[Backend],
    files: Sequence[ImageFile],
    wanted: Wanted,
    sinks: Iterable[Sink],
    report: Report,
) -> None:
    """The faces of images to the sinks; what fails is reported and the others are done."""
    with ExitStack() as stack:
        backend = stack.enter_context(opening)
        for sink in sinks:
            stack.enter_context(sink)
        bar = stack.enter_context(report.progress("images", len(files)))
        for name, result in aligned(backend, files, wanted):
            if isinstance(result, Result):
                for sink in sinks:
                    sink.add(Entry(name, result))
            else:
                report.failed(name, result)
            bar.advance()


def follow_all(
    opening: AbstractContextManager[Backend],
    sources: Sequence[Source],
    follow: Follow,
    most: int | None,
    sinks: Iterable[Sink],
    report: Report,
) -> None:
    """The faces of each frame of each source to the sinks; what fails is reported."""
    with ExitStack() as stack:
        backend = stack.enter_context(opening)
        for sink in sinks:
            stack.enter_context(sink)
        for source in sources:
            follow_one(backend, source, follow, most, sinks, report)


def aligned(
    backend: Backend, files: Iterable[ImageFile], wanted: Wanted
) -> Iterator[tuple[str, Result | Exception]]:
    """Each file's result or error, in order; a few are in work at once.

    None is waited for after an interrupt.
    """

    def one(file: ImageFile) -> tuple[str, Result | Exception]:
        try:
            return file.name, backend.align(file.read(), wanted)
        except (ClientError, OSError) as error:
            return file.name, error

    threads = ThreadPoolExecutor(backend.parallel)
    ahead: deque[Future[tuple[str, Result | Exception]]] = deque()
    try:
        for file in files:
            ahead.append(threads.submit(one, file))
            if len(ahead) > 2 * backend.parallel:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()
    finally:
        threads.shutdown(wait=False, cancel_futures=True)


def follow_one(
    backend: Backend,
    source: Source,
    follow: Follow,
    most: int | None,
    sinks: Iterable[Sink],
    report: Report,
) -> None:
    """Track one source to its end; what fails is reported, and what a camera's frames came to."""
    try:
        with ExitStack() as stack:
            footage = stack.enter_context(source.open())
            follow = replace(follow, fps=footage.fps if follow.signals else None)
            shots = Shots(islice(footage.shots, most))
            if footage.live:
                stack.callback(lambda: report.say(f"{source.name}: {shots}"))
            total = footage.count
            if total is not None and most is not None:
                total = min(total, most)
            with report.progress(source.name, total) as bar:
                for frame in backend.track(shots.images(), follow, footage.live):
                    put(source.name, frame, shots.time_s(frame), sinks, report)
                    bar.advance()
    except (ClientError, Unreadable, OSError) as error:
        report.failed(source.name, error)


class Shots:
    """Remembers when each frame was taken while it is on its way; counts what came of them."""

    def __init__(self, shots: Iterable[Shot]) -> None:
        self._shots = shots
        self._times: dict[int, float] = {}  # index -> seconds
        self._answered = self._dropped = 0

    def __str__(self) -> str:
        return f"{count(self._answered, 'frame')}, {self._dropped} dropped"

    def images(self) -> Iterator[Picture]:
        """What to track."""
        for index, shot in enumerate(self._shots):
            self._times[index] = shot.time_s
            yield shot.image

    def time_s(self, frame: Frame) -> float:
        """When an answered frame was taken."""
        self._answered, self._dropped = self._answered + 1, self._dropped + frame.dropped
        taken = self._times[frame.index]
        for index in range(frame.index - frame.dropped, frame.index + 1):
            self._times.pop(index, None)
        return taken


def put(name: str, frame: Frame, time_s: float, sinks: Iterable[Sink], report: Report) -> None:
    """Hand a frame's result on."""
    if frame.error is not None:
        report.failed(f"{name}, frame {frame.index}", frame.error)
    for sink in sinks:
        sink.add(Entry(name, frame, time_s))
